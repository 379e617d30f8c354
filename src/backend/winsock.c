/* Capturing with Winsock alone: a raw socket, bind, WSAIoctl(SIO_RCVALL).
 * https://learn.microsoft.com/windows/win32/winsock/sio-rcvall
 *
 * A channel for both families has two sockets and one event for them.
 */
#include "backend/windows.h"

#include <mstcpip.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/control_code.h"
#include "core/ipv6_header.h"

/* The largest datagram, 65,535 bytes behind an IPv6 header, fits before each receive. */
#define DATAGRAM_ROOM ((size_t)65535 + IPV6_HEADER_SIZE)
#define BUFFER_ROOM ((size_t)1 << 20)
#define BUFFER_RECORDS 8192

/* A batch of fewer bytes is copied to a block of its size; a larger one takes the buffer with it.
 */
#define SMALLEST_LENT ((size_t)1 << 16)

/* 1601-01-01 to 1970-01-01, in 100 ns */
#define EPOCH_DIFFERENCE 116444736000000000LL

typedef struct {
    SOCKET socket;
    enum ip_family family;
    int protocol;
    bool bound;
    uint8_t address[16]; /* that it is bound to */
    uint32_t interface_index;
} end_t;

typedef struct {
    channel_t channel;
    end_t ends[2];
    size_t end_count;
    WSAEVENT arrived;
    waker_t wake;
    LPFN_WSARECVMSG receive_message;
    uint64_t buffer_size; /* asked for */
    uint32_t snaplen;
    int64_t latency_ns;
    block_t *buffer; /* receives into it; NULL after it went with a batch */
    LONG ended_by;   /* R14: the error of why nothing more will come, or 0; atomic */
} winsock_t;

static int
last_error(failure_t *failure, const char *call)
{
    return windows_fail(failure, call, (DWORD)WSAGetLastError());
}

static void
close_end(end_t *end)
{
    if (end->socket != INVALID_SOCKET) {
        closesocket(end->socket);
        end->socket = INVALID_SOCKET;
    }
    end->bound = false;
}

/* IPv6 comes without its header; what is told besides makes a new one. */
static int
ask_for_control_data(winsock_t *self, SOCKET socket, failure_t *failure)
{
    static const struct {
        int option;
        const char *call;
    } options[] = {
        {IPV6_PKTINFO, "setsockopt(IPV6_PKTINFO)"},
        {IPV6_HOPLIMIT, "setsockopt(IPV6_HOPLIMIT)"},
        {IPV6_RECVTCLASS, "setsockopt(IPV6_RECVTCLASS)"},
    };
    const DWORD on = 1;
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        /* Only the packet information must be there; what else is not told is marked as unknown. */
        if (setsockopt(socket, IPPROTO_IPV6, options[i].option, (const char *)&on, sizeof on) !=
                0 &&
            options[i].option == IPV6_PKTINFO) {
            return last_error(failure, options[i].call);
        }
    }
    GUID guid = WSAID_WSARECVMSG;
    DWORD returned;
    if (WSAIoctl(socket, SIO_GET_EXTENSION_FUNCTION_POINTER, &guid, sizeof guid,
                 &self->receive_message, sizeof self->receive_message, &returned, NULL,
                 NULL) != 0) {
        return last_error(failure, "WSAIoctl(SIO_GET_EXTENSION_FUNCTION_POINTER)");
    }
    return 0;
}

static int
set_receive_buffer(winsock_t *self, SOCKET socket, failure_t *failure)
{
    int size = self->buffer_size > INT32_MAX ? INT32_MAX : (int)self->buffer_size;
    int size_length = sizeof size;
    if (setsockopt(socket, SOL_SOCKET, SO_RCVBUF, (const char *)&size, sizeof size) != 0) {
        return last_error(failure, "setsockopt(SO_RCVBUF)");
    }
    if (getsockopt(socket, SOL_SOCKET, SO_RCVBUF, (char *)&size, &size_length) != 0) {
        return last_error(failure, "getsockopt(SO_RCVBUF)");
    }
    self->channel.buffer_size += (uint64_t)size;
    return 0;
}

static int
open_end(winsock_t *self, end_t *end, failure_t *failure)
{
    end->socket =
        WSASocketW(end->family == FAMILY_IPV4 ? AF_INET : AF_INET6, SOCK_RAW, end->protocol, NULL,
                   0, WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    if (end->socket == INVALID_SOCKET) {
        return last_error(failure, "socket");
    }
    if (set_receive_buffer(self, end->socket, failure) < 0 ||
        (end->family == FAMILY_IPV6 && ask_for_control_data(self, end->socket, failure) < 0)) {
        close_end(end);
        return -1;
    }
    return 0;
}

static int
check_protocol(const channel_options_t *options, failure_t *failure) /* R2 */
{
    int protocol = options->protocol;
    if (protocol == -1 || protocol == IPPROTO_IP ||
        (protocol == IPPROTO_IPV6 && options->family == FAMILY_IPV6)) {
        return 0;
    }
    return fail(failure, "socket", WSAEINVAL,
                "the protocol must be IPPROTO_IP, or IPPROTO_IPV6 for AF_INET6");
}

static void
winsock_close(channel_t *channel)
{
    winsock_t *self = (winsock_t *)channel;
    for (size_t i = 0; i < self->end_count; i++) {
        if (channel->rcvall.mode != MODE_OFF && self->ends[i].bound) { /* R15 */
            DWORD off = MODE_OFF, returned;
            WSAIoctl(self->ends[i].socket, SIO_RCVALL, &off, sizeof off, NULL, 0, &returned, NULL,
                     NULL);
        }
        close_end(&self->ends[i]);
    }
    if (self->arrived != WSA_INVALID_EVENT) {
        WSACloseEvent(self->arrived);
    }
    if (self->wake != 0) {
        waker_close(self->wake);
    }
    if (self->buffer != NULL) {
        self->buffer->release(self->buffer);
    }
    channel_close_filter(channel);
    free(self);
}

static channel_t *
winsock_open(const channel_options_t *options, failure_t *failure)
{
    static const enum ip_family families[] = {FAMILY_IPV4, FAMILY_IPV6};
    if (check_protocol(options, failure) < 0 || windows_start(failure) < 0) {
        return NULL;
    }
    if (options->has_fanout) {
        fail(failure, "socket", WSAEOPNOTSUPP,
             "Windows gives every capture all datagrams: leave out fanout");
        return NULL;
    }
    winsock_t *self = calloc(1, sizeof *self);
    if (self == NULL) {
        windows_fail(failure, "malloc", ERROR_NOT_ENOUGH_MEMORY);
        return NULL;
    }
    *self = (winsock_t){
        .channel = {.backend = &winsock_backend, .family = options->family},
        .buffer_size = options->buffer_size,
        .snaplen = options->snaplen,
        .latency_ns = options->latency_ns,
    };
    self->arrived = WSA_INVALID_EVENT;
    if (channel_open_filter(&self->channel, options->filter) < 0) {
        windows_fail(failure, "malloc", ERROR_NOT_ENOUGH_MEMORY);
        goto failed;
    }
    self->arrived = WSACreateEvent();
    if (self->arrived == WSA_INVALID_EVENT) {
        last_error(failure, "WSACreateEvent");
        goto failed;
    }
    if (waker_open(&self->wake, failure) < 0) {
        goto failed;
    }
    for (size_t i = 0; i < 2; i++) {
        if (options->family != FAMILY_ANY && options->family != families[i]) {
            continue;
        }
        end_t *end = &self->ends[self->end_count];
        *end = (end_t){
            .family = families[i],
            /* IPPROTO_IPV6 is what the page says; in the field only IPPROTO_IP delivers. */
            .protocol = options->protocol == -1 ? IPPROTO_IP : options->protocol,
        };
        if (open_end(self, end, failure) == 0) {
            self->end_count++;
        } else if (failure->code != WSAEAFNOSUPPORT || options->family != FAMILY_ANY) {
            goto failed;
        }
    }
    if (self->end_count == 0) {
        goto failed;
    }
    return &self->channel;

failed:
    winsock_close(&self->channel);
    return NULL;
}

/* The address of the interface that an end is bound to; NULL if it has none of the family. */
static const char *
address_for(const interface_t *target, const address_t *asked, enum ip_family family)
{
    if (asked->family != FAMILY_ANY) {
        return asked->family == family ? asked->text : NULL;
    }
    for (size_t i = 0; i < target->address_count; i++) {
        if (platform_parse_address(target->addresses[i]).family == family) {
            return target->addresses[i];
        }
    }
    return NULL;
}

static int
bind_end(winsock_t *self, end_t *end, const interface_t *target, const char *address,
         failure_t *failure)
{
    struct sockaddr_storage storage = {0};
    int size;
    if (end->bound) {
        /* bind() takes a socket once. */
        close_end(end);
        if (open_end(self, end, failure) < 0) {
            return -1;
        }
    }
    if (end->family == FAMILY_IPV4) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)&storage;
        v4->sin_family = AF_INET;
        InetPtonA(AF_INET, address, &v4->sin_addr);
        memcpy(end->address, &v4->sin_addr, 4);
        size = sizeof *v4;
    } else {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&storage;
        v6->sin6_family = AF_INET6;
        InetPtonA(AF_INET6, address, &v6->sin6_addr);
        memcpy(end->address, &v6->sin6_addr, 16);
        if (IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr)) {
            v6->sin6_scope_id = target->index;
        }
        size = sizeof *v6;
    }
    if (bind(end->socket, (const struct sockaddr *)&storage, size) != 0) {
        return last_error(failure, "bind");
    }
    if (WSAEventSelect(end->socket, self->arrived, FD_READ | FD_CLOSE) != 0) {
        return last_error(failure, "WSAEventSelect");
    }
    end->interface_index = target->index;
    end->bound = true;
    return 0;
}

static int
bind_ends(winsock_t *self, const interface_t *target, const address_t *asked, failure_t *failure)
{
    size_t bound = 0;
    for (size_t i = 0; i < self->end_count; i++) {
        end_t *end = &self->ends[i];
        const char *address = address_for(target, asked, end->family);
        if (address != NULL) {
            if (bind_end(self, end, target, address, failure) < 0) {
                return -1;
            }
            bound++;
        } else if (end->bound) {
            close_end(end);
            if (open_end(self, end, failure) < 0) {
                return -1;
            }
        }
    }
    if (bound == 0) {
        return fail(failure, "bind", WSAEADDRNOTAVAIL,
                    "the interface has no address of that family: 'winsockctl interfaces' lists "
                    "the addresses");
    }
    return 0;
}

static int
winsock_bind(channel_t *channel, const interface_choice_t *choice, failure_t *failure)
{
    winsock_t *self = (winsock_t *)channel;
    address_t asked = {.family = FAMILY_ANY};
    interface_t *list;
    size_t count;
    if (rcvall_check_bind(&channel->rcvall, failure) < 0) {
        return -1;
    }
    if (choice->text != NULL) {
        asked = platform_parse_address(choice->text);
    }
    if (interface_check_address(&asked, channel->family, failure) < 0 ||
        platform_interfaces(&list, &count, failure) < 0) {
        return -1;
    }
    const interface_t *found = interface_find(list, count, choice, &asked, failure);
    int result = found == NULL ? -1 : bind_ends(self, found, &asked, failure);
    interface_list_free(list, count);
    if (result == 0) {
        InterlockedExchange(&self->ended_by, 0);
        channel->rcvall.bound = true;
    }
    return result;
}

static int
set_mode(winsock_t *self, uint32_t value, failure_t *failure)
{
    for (size_t i = 0; i < self->end_count; i++) {
        DWORD returned;
        if (self->ends[i].bound && WSAIoctl(self->ends[i].socket, SIO_RCVALL, &value, sizeof value,
                                            NULL, 0, &returned, NULL, NULL) != 0) {
            last_error(failure, SIO_RCVALL_CALL);
            while (i-- > 0) {
                DWORD before = self->channel.rcvall.mode;
                WSAIoctl(self->ends[i].socket, SIO_RCVALL, &before, sizeof before, NULL, 0,
                         &returned, NULL, NULL);
            }
            return -1;
        }
    }
    return 0;
}

static int
winsock_control(channel_t *channel, uint32_t code, const void *input, size_t input_size,
                void *output, size_t output_size, size_t *returned, failure_t *failure)
{
    winsock_t *self = (winsock_t *)channel;
    if (code != (uint32_t)CODE_SIO_RCVALL) {
        return platform_control((intptr_t)self->ends[0].socket, code, input, input_size, output,
                                output_size, returned, failure);
    }
    uint32_t mode, value;
    *returned = 0;
    if (rcvall_check_control(&channel->rcvall, input, input_size, &mode, failure) < 0) {
        return -1;
    }
    memcpy(&value, input, sizeof value);
    if (set_mode(self, value, failure) < 0) {
        return -1;
    }
    channel->rcvall.mode = mode;
    return 0;
}

static int64_t
time_stamp(void)
{
    FILETIME now;
    GetSystemTimePreciseAsFileTime(&now);
    int64_t ticks = (int64_t)((uint64_t)now.dwHighDateTime << 32 | now.dwLowDateTime);
    return (ticks - EPOCH_DIFFERENCE) * 100;
}

/* By the two addresses: from us, to us, or else not told. */
static uint8_t
direction_of(const end_t *end, const uint8_t *source, const uint8_t *destination, size_t size)
{
    if (memcmp(destination, end->address, size) == 0) {
        return DIRECTION_INCOMING;
    }
    return memcmp(source, end->address, size) == 0 ? DIRECTION_OUTGOING : DIRECTION_UNKNOWN;
}

static void
add_record(winsock_t *self, record_t record, uint32_t length)
{
    block_t *block = self->buffer;
    if (!channel_wants(&self->channel, block->bytes + block->size, length,
                       record.original_length)) {
        return;
    }
    record.timestamp_ns = time_stamp();
    record.offset = block->size;
    record.length = length > self->snaplen ? self->snaplen : length;
    if (record.length < record.original_length) {
        record.flags |= RECORD_TRUNCATED;
    }
    block->size += record.length;
    block->records[block->count++] = record;
    block_count(block, &record);
}

/* 0, or the error of the one call that receives one datagram; WSAEMSGSIZE is a truncated one. */
static int
receive_ipv4(winsock_t *self, const end_t *end)
{
    uint8_t *place = (uint8_t *)self->buffer->bytes + self->buffer->size;
    WSABUF room = {(ULONG)DATAGRAM_ROOM, (char *)place};
    DWORD length = 0, flags = 0;
    if (WSARecv(end->socket, &room, 1, &length, &flags, NULL, NULL) != 0) {
        int error = WSAGetLastError();
        if (error != WSAEMSGSIZE) {
            return error;
        }
        length = (DWORD)DATAGRAM_ROOM;
    }
    record_t record = {
        .original_length = length,
        .interface_index = end->interface_index,
        .version = 4,
    };
    if (length >= 20) {
        record.direction = direction_of(end, place + 12, place + 16, 4);
        if (length == DATAGRAM_ROOM && big_endian_16(place + 2) > length) {
            record.original_length = big_endian_16(place + 2);
        }
    }
    add_record(self, record, (uint32_t)length);
    return 0;
}

static void
read_control_data(WSAMSG *message, ipv6_facts_t *facts)
{
    const size_t alignment = _Alignof(WSACMSGHDR);
    size_t offset = 0;
    while (offset < message->Control.len && message->Control.len - offset >= sizeof(WSACMSGHDR)) {
        WSACMSGHDR *part = (WSACMSGHDR *)(message->Control.buf + offset);
        const void *data = WSA_CMSG_DATA(part);
        if (part->cmsg_len < sizeof *part) {
            break;
        }
        offset += (part->cmsg_len + alignment - 1) / alignment * alignment;
        int value;
        if (part->cmsg_level != IPPROTO_IPV6) {
            continue;
        }
        memcpy(&value, data, sizeof value);
        if (part->cmsg_type == IPV6_PKTINFO) {
            memcpy(facts->destination, data, sizeof facts->destination);
            facts->has_destination = true;
        } else if (part->cmsg_type == IPV6_HOPLIMIT) {
            facts->hop_limit = value;
        } else if (part->cmsg_type == IPV6_TCLASS) {
            facts->traffic_class = value;
        }
    }
}

static int
receive_ipv6(winsock_t *self, const end_t *end)
{
    uint8_t *place = (uint8_t *)self->buffer->bytes + self->buffer->size;
    uint8_t *payload = place + IPV6_HEADER_SIZE;
    struct sockaddr_in6 source = {0};
    _Alignas(WSACMSGHDR) char control[256];
    WSABUF room = {(ULONG)(DATAGRAM_ROOM - IPV6_HEADER_SIZE), (char *)payload};
    WSAMSG message = {
        .name = (struct sockaddr *)&source,
        .namelen = sizeof source,
        .lpBuffers = &room,
        .dwBufferCount = 1,
        .Control = {sizeof control, control},
    };
    DWORD length = 0;
    if (self->receive_message(end->socket, &message, &length, NULL, NULL) != 0) {
        int error = WSAGetLastError();
        if (error != WSAEMSGSIZE) {
            return error;
        }
        length = room.len;
    }
    record_t record = {.interface_index = end->interface_index, .version = 6};
    ipv6_facts_t facts = {.hop_limit = -1, .traffic_class = -1, .flow_label = -1};
    memcpy(facts.source, &source.sin6_addr, sizeof facts.source);
    read_control_data(&message, &facts);
    if (ipv6_header_is_there(payload, (uint32_t)length, (uint32_t)length, facts.source)) {
        memmove(place, payload, length);
    } else {
        record.flags =
            ipv6_header_rebuild(place, &facts, payload, (uint32_t)length, (uint32_t)length);
        length += IPV6_HEADER_SIZE;
    }
    record.original_length = (uint32_t)length;
    record.direction = direction_of(end, place + 8, place + 24, 16);
    add_record(self, record, (uint32_t)length);
    return 0;
}

static bool
has_room(const winsock_t *self)
{
    return self->buffer->count < BUFFER_RECORDS &&
           BUFFER_ROOM - self->buffer->size >= DATAGRAM_ROOM;
}

static bool
is_due(const winsock_t *self)
{
    const block_t *block = self->buffer;
    return block->count > 0 &&
           block->records[block->count - 1].timestamp_ns - block->records[0].timestamp_ns >
               self->latency_ns;
}

static bool
has_ended(winsock_t *self)
{
    return InterlockedCompareExchange(&self->ended_by, 0, 0) != 0;
}

/* Receives what is there, without waiting. */
static void
drain(winsock_t *self)
{
    for (size_t i = 0; i < self->end_count && !has_ended(self); i++) {
        const end_t *end = &self->ends[i];
        int error = 0;
        while (end->bound && error == 0 && has_room(self) && !is_due(self)) {
            error = end->family == FAMILY_IPV4 ? receive_ipv4(self, end) : receive_ipv6(self, end);
        }
        /* WSAECONNRESET and WSAENETRESET tell of an ICMP message, which was received as well. */
        if (error != 0 && error != WSAEWOULDBLOCK && error != WSAECONNRESET &&
            error != WSAENETRESET) {
            InterlockedExchange(&self->ended_by, error);
        }
    }
}

static block_t *
take_buffer(winsock_t *self)
{
    block_t *full = self->buffer;
    if (full->size >= SMALLEST_LENT) {
        self->buffer = NULL;
        return full;
    }
    block_t *copy = block_new(full->size, full->count);
    for (size_t i = 0; copy != NULL && i < full->count; i++) {
        const record_t *record = &full->records[i];
        block_append(copy, full->bytes + record->offset, *record);
    }
    if (copy == NULL) {
        self->buffer = NULL;
        return full;
    }
    full->size = full->count = 0;
    full->datagram_bytes = full->truncated = 0;
    return copy;
}

static enum receive_outcome
wait_for_more(winsock_t *self, int64_t deadline_ns)
{
    const HANDLE events[] = {(HANDLE)self->wake, self->arrived};
    switch (WaitForMultipleObjects(2, events, FALSE, windows_wait_ms(deadline_ns))) {
    case WAIT_OBJECT_0:
        return RECEIVE_WOKEN;
    case WAIT_OBJECT_0 + 1:
        return RECEIVE_BLOCK;
    default:
        return RECEIVE_TIMED_OUT;
    }
}

static enum receive_outcome
winsock_receive(channel_t *channel, int64_t deadline_ns, block_t **block, failure_t *failure)
{
    winsock_t *self = (winsock_t *)channel;
    for (;;) {
        if (self->buffer == NULL) {
            self->buffer = block_new(BUFFER_ROOM, BUFFER_RECORDS);
            if (self->buffer == NULL) {
                windows_fail(failure, "malloc", ERROR_NOT_ENOUGH_MEMORY);
                return RECEIVE_FAILED;
            }
        }
        /* Before the drain: what comes during it sets the event again. */
        WSAResetEvent(self->arrived);
        lock_take(channel->filter_lock);
        drain(self);
        lock_release(channel->filter_lock);
        if (self->buffer->count > 0) {
            *block = take_buffer(self);
            return RECEIVE_BLOCK;
        }
        if (has_ended(self)) {
            return (enum receive_outcome)windows_fail(failure, "receive", (DWORD)self->ended_by);
        }
        enum receive_outcome outcome = wait_for_more(self, deadline_ns);
        if (outcome != RECEIVE_BLOCK) {
            return outcome;
        }
    }
}

static void
winsock_wake(channel_t *channel)
{
    waker_set(((winsock_t *)channel)->wake);
}

/* The system does not count them for a socket. */
static int64_t
winsock_dropped(channel_t *channel)
{
    (void)channel;
    return -1;
}

static intptr_t
winsock_descriptor(const channel_t *channel)
{
    return (intptr_t)((const winsock_t *)channel)->ends[0].socket;
}

const backend_t winsock_backend = {
    .name = "winsock",
    .open = winsock_open,
    .bind = winsock_bind,
    .control = winsock_control,
    .set_filter = channel_change_filter,
    .receive = winsock_receive,
    .wake = winsock_wake,
    .dropped = winsock_dropped,
    .descriptor = winsock_descriptor,
    .close = winsock_close,
};
