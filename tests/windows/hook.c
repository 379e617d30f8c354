/* Stands between one loaded module and Winsock, for tests of a system without SIO_RCVALL (Wine).
 *
 * It patches the import table of an unmodified .pyd, so that what is tested is the shipped binary.
 * Every call of the functions below is recorded when it begins, with its arguments and input bytes,
 * and its outcome when it ends. A call can be made to fail without being carried out. What the
 * module allocates is counted, and no more. And what Wine does not have is stood in for, over real
 * sockets:
 *
 *   raw sockets of IPPROTO_IP and IPPROTO_IPV6 are opened with a protocol that Wine has, and real
 *   datagrams of that protocol are received, while SIO_RCVALL is not off; SIO_RCVALL,
 *   SIO_RCVALL_MCAST, SIO_RCVALL_IGMPMCAST and SIO_LOOPBACK_FAST_PATH are checked by the rules in
 *   refusal(), then they succeed, or stay pending.
 *
 * The rules are our reading of Microsoft's reference pages, the contract's R1 to R3 and F1 to F4.
 * They are not Windows itself.
 */
#define WIN32_LEAN_AND_MEAN
#include <winsock2.h>
#include <ws2tcpip.h>
#include <mstcpip.h>
#include <mswsock.h>
#include <iphlpapi.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifndef SIO_LOOPBACK_FAST_PATH
#define SIO_LOOPBACK_FAST_PATH _WSAIOW(IOC_VENDOR, 16)
#endif

#ifndef STATUS_CANCELLED
#define STATUS_CANCELLED 0xC0000120 /* ntstatus.h, which does not go with windows.h */
#endif

/* No library has it: it comes from SIO_GET_EXTENSION_FUNCTION_POINTER. */
int WSAAPI WSARecvMsg(SOCKET socket, LPWSAMSG message, LPDWORD received, LPWSAOVERLAPPED overlapped,
                      LPWSAOVERLAPPED_COMPLETION_ROUTINE routine);

#define FUNCTIONS(X)                                                                               \
    X(ws2_32, WSAStartup)                                                                          \
    X(ws2_32, WSASocketW)                                                                          \
    X(ws2_32, bind)                                                                                \
    X(ws2_32, closesocket)                                                                         \
    X(ws2_32, setsockopt)                                                                          \
    X(ws2_32, getsockopt)                                                                          \
    X(ws2_32, ioctlsocket)                                                                         \
    X(ws2_32, WSAIoctl)                                                                            \
    X(ws2_32, WSARecv)                                                                             \
    X(ws2_32, WSARecvFrom)                                                                         \
    X(ws2_32, WSARecvMsg)                                                                          \
    X(ws2_32, recv)                                                                                \
    X(ws2_32, recvfrom)                                                                            \
    X(ws2_32, WSAEventSelect)                                                                      \
    X(ws2_32, WSAEnumNetworkEvents)                                                                \
    X(ws2_32, WSAGetOverlappedResult)                                                              \
    X(ws2_32, WSACreateEvent)                                                                      \
    X(ws2_32, WSACloseEvent)                                                                       \
    X(ws2_32, WSAWaitForMultipleEvents)                                                            \
    X(kernel32, CreateEventW)                                                                      \
    X(kernel32, WaitForMultipleObjects)                                                            \
    X(kernel32, WaitForSingleObject)                                                               \
    X(kernel32, CloseHandle)                                                                       \
    X(kernel32, CancelIoEx)                                                                        \
    X(iphlpapi, GetAdaptersAddresses)                                                              \
    X(ucrtbase, malloc)                                                                            \
    X(ucrtbase, calloc)                                                                            \
    X(ucrtbase, realloc)

#define X(dll, name) F_##name,
enum function { FUNCTIONS(X) FUNCTION_COUNT };
#undef X

#define X(dll, name) static __typeof__(name) hook_##name;
FUNCTIONS(X)
#undef X

static struct {
    const char *dll, *name;
    void *hook, *real;
} functions[] = {
#define X(dll, name) {#dll ".dll", #name, (void *)hook_##name, NULL},
    FUNCTIONS(X)
#undef X
};

#define REAL(name) ((__typeof__(name) *)functions[F_##name].real)

enum note {
    NOTE_ENDED = 1,
    NOTE_FAULT = 2,    /* made to fail */
    NOTE_STOOD_IN = 4, /* something else was done, because Wine cannot do this */
    NOTE_OVERLAPPED = 8,
    NOTE_COMPLETION_ROUTINE = 16,
};

/* hook.py reads this. */
typedef struct {
    uint64_t number; /* by order of beginning */
    uint64_t socket; /* or another handle */
    int64_t result;
    uint32_t function;
    uint32_t notes;
    int32_t error;
    uint32_t thread;
    uint32_t arguments[4];
    uint32_t input_size;
    uint8_t input[60];
} call_t;

typedef struct {
    uint32_t function;
    uint32_t code; /* of WSAIoctl; 0 for any */
    uint32_t pass; /* so many calls are carried out first */
    uint32_t times;
    int32_t error;
} rule_t;

#define CALL_LIMIT (1 << 14)
#define RULE_LIMIT 16
#define SOCKET_LIMIT 256
#define ANSWER_LIMIT 512
#define HELD_LIMIT 64
#define LATE_BYTE 0xEE /* what the system still writes into an output before it lets go */

static SRWLOCK lock = SRWLOCK_INIT;
static call_t calls[CALL_LIMIT]; /* a ring */
static uint64_t call_count, first_call;
static uint32_t counts[FUNCTION_COUNT];
static rule_t rules[RULE_LIMIT];
static uint32_t rule_count;
static int raw_protocol = IPPROTO_UDP;
static uint32_t pending_code;
static HANDLE pending_over; /* set while no code is to stay pending */

static struct {
    uint32_t code, size;
    uint8_t bytes[ANSWER_LIMIT];
} answer;

/* Overlapped calls of one code, held until they are completed here. */
static uint32_t held_code, cancel_delay_ms;
static struct held {
    SOCKET socket;
    OVERLAPPED *overlapped;
    void *output;
    DWORD output_size;
    bool ending; /* cancelled, and not over yet */
} held[HELD_LIMIT];
static uint32_t held_count;
static uint32_t lost_count; /* ended when the event was closed already */

/* The protocol that the module asked for where another one was opened, and its SIO_RCVALL. */
static struct {
    SOCKET socket;
    int family, protocol;
    uint32_t mode;
} raw_sockets[SOCKET_LIMIT];
static uint32_t raw_socket_count;

/* With the lock held. */
static int32_t
next_fault(const call_t *call)
{
    for (uint32_t i = 0; i < rule_count; i++) {
        rule_t *rule = &rules[i];
        if (rule->function != call->function ||
            (rule->code != 0 && rule->code != call->arguments[0])) {
            continue;
        }
        if (rule->pass > 0) {
            rule->pass--;
        } else if (rule->times > 0) {
            rule->times--;
            return rule->error;
        }
    }
    return 0;
}

/* False if the call is to fail: then it is not carried out, and the last error is set. */
static bool
begin(call_t *call, const void *input, size_t input_size)
{
    call->thread = GetCurrentThreadId();
    call->input_size = (uint32_t)input_size;
    if (input != NULL) {
        memcpy(call->input, input, min(input_size, sizeof call->input));
    }
    AcquireSRWLockExclusive(&lock);
    call->error = next_fault(call);
    if (call->error != 0) {
        call->notes |= NOTE_FAULT;
    }
    counts[call->function]++;
    call->number = call_count++;
    calls[call->number % CALL_LIMIT] = *call;
    ReleaseSRWLockExclusive(&lock);
    if (call->error != 0) {
        WSASetLastError(call->error);
    }
    return call->error == 0;
}

static void
end(call_t *call, int64_t result, bool failed)
{
    int last_error = WSAGetLastError();
    call->result = result;
    call->error = failed ? last_error : 0;
    call->notes |= NOTE_ENDED;
    AcquireSRWLockExclusive(&lock);
    if (call_count - call->number <= CALL_LIMIT) {
        calls[call->number % CALL_LIMIT] = *call;
    }
    ReleaseSRWLockExclusive(&lock);
    WSASetLastError(last_error);
}

#define CARRY_OUT(type, failure, input, input_size, expression)                                    \
    type result = (failure);                                                                       \
    if (begin(&call, input, input_size)) {                                                         \
        result = (expression);                                                                     \
    }                                                                                              \
    end(&call, (int64_t)result, result == (failure));                                              \
    return result

/* For functions that return their error. */
#define CARRY_OUT_STATUS(type, expression)                                                         \
    type result = begin(&call, NULL, 0) ? (expression) : (type)call.error;                         \
    WSASetLastError((int)result);                                                                  \
    end(&call, (int64_t)result, result != 0);                                                      \
    return result

static uint32_t
overlapped_notes(const OVERLAPPED *overlapped, LPWSAOVERLAPPED_COMPLETION_ROUTINE routine)
{
    return (overlapped != NULL ? NOTE_OVERLAPPED : 0u) |
           (routine != NULL ? NOTE_COMPLETION_ROUTINE : 0u);
}

static int WSAAPI
hook_WSAStartup(WORD version, LPWSADATA data)
{
    call_t call = {.function = F_WSAStartup, .arguments = {version}};
    CARRY_OUT_STATUS(int, REAL(WSAStartup)(version, data));
}

/* Wine has raw sockets of a few protocols only, and never of IPPROTO_IP. */
static bool
needs_other_protocol(int family, int type, int protocol)
{
    return type == SOCK_RAW &&
           ((family == AF_INET && protocol == IPPROTO_IP) ||
            (family == AF_INET6 && (protocol == IPPROTO_IP || protocol == IPPROTO_IPV6)));
}

static void
remember_raw_socket(SOCKET socket, int family, int protocol)
{
    AcquireSRWLockExclusive(&lock);
    if (raw_socket_count < SOCKET_LIMIT) {
        raw_sockets[raw_socket_count].socket = socket;
        raw_sockets[raw_socket_count].family = family;
        raw_sockets[raw_socket_count].mode = RCVALL_OFF;
        raw_sockets[raw_socket_count++].protocol = protocol;
    }
    ReleaseSRWLockExclusive(&lock);
}

static void
forget_raw_socket(SOCKET socket)
{
    AcquireSRWLockExclusive(&lock);
    for (uint32_t i = 0; i < raw_socket_count; i++) {
        if (raw_sockets[i].socket == socket) {
            raw_sockets[i] = raw_sockets[--raw_socket_count];
            break;
        }
    }
    ReleaseSRWLockExclusive(&lock);
}

/* The system delivers nothing while SIO_RCVALL is off: what Wine received then goes. */
static void
discard(SOCKET socket)
{
    static char wasted[1 << 16]; /* written by many, read by nobody */
    WSAPOLLFD ready = {.fd = socket, .events = POLLRDNORM};
    while (WSAPoll(&ready, 1, 0) == 1 && (ready.revents & POLLRDNORM) != 0) {
        if (REAL(recv)(socket, wasted, sizeof wasted, 0) < 0 && WSAGetLastError() != WSAEMSGSIZE) {
            break;
        }
    }
}

static void
set_mode(SOCKET socket, uint32_t mode)
{
    bool begins = false;
    AcquireSRWLockExclusive(&lock);
    for (uint32_t i = 0; i < raw_socket_count; i++) {
        if (raw_sockets[i].socket == socket && mode != RCVALL_SOCKETLEVELONLY) {
            begins = raw_sockets[i].mode == RCVALL_OFF && mode != RCVALL_OFF;
            raw_sockets[i].mode = mode;
        }
    }
    ReleaseSRWLockExclusive(&lock);
    if (begins) {
        discard(socket);
    }
}

/* Whether it is a raw socket whose SIO_RCVALL is off: then nothing is there. */
static bool
is_off(SOCKET socket)
{
    bool off = false;
    AcquireSRWLockShared(&lock);
    for (uint32_t i = 0; i < raw_socket_count; i++) {
        off = off || (raw_sockets[i].socket == socket && raw_sockets[i].mode == RCVALL_OFF);
    }
    ReleaseSRWLockShared(&lock);
    if (off) {
        discard(socket);
    }
    return off;
}

static int
nothing_there(void)
{
    WSASetLastError(WSAEWOULDBLOCK);
    return SOCKET_ERROR;
}

static SOCKET WSAAPI
hook_WSASocketW(int family, int type, int protocol, LPWSAPROTOCOL_INFOW info, GROUP group,
                DWORD flags)
{
    call_t call = {.function = F_WSASocketW,
                   .arguments = {(uint32_t)family, (uint32_t)type, (uint32_t)protocol, flags}};
    bool other = info == NULL && needs_other_protocol(family, type, protocol);
    if (other) {
        call.notes |= NOTE_STOOD_IN;
    }
    SOCKET result = INVALID_SOCKET;
    if (begin(&call, NULL, 0)) {
        result =
            REAL(WSASocketW)(family, type, other ? raw_protocol : protocol, info, group, flags);
        if (other && result != INVALID_SOCKET) {
            remember_raw_socket(result, family, protocol);
        }
    }
    end(&call, (int64_t)result, result == INVALID_SOCKET);
    return result;
}

static int WSAAPI
hook_bind(SOCKET socket, const struct sockaddr *address, int size)
{
    call_t call = {.function = F_bind, .socket = socket};
    CARRY_OUT(int, SOCKET_ERROR, address, (size_t)size, REAL(bind)(socket, address, size));
}

static bool cancel_held(SOCKET socket, const OVERLAPPED *overlapped);

static int WSAAPI
hook_closesocket(SOCKET socket)
{
    call_t call = {.function = F_closesocket, .socket = socket};
    int result = SOCKET_ERROR;
    if (begin(&call, NULL, 0)) {
        forget_raw_socket(socket);
        cancel_held(socket, NULL);
        result = REAL(closesocket)(socket);
    }
    end(&call, result, result == SOCKET_ERROR);
    return result;
}

static int WSAAPI
hook_setsockopt(SOCKET socket, int level, int name, const char *value, int size)
{
    call_t call = {
        .function = F_setsockopt, .socket = socket, .arguments = {(uint32_t)level, (uint32_t)name}};
    CARRY_OUT(int, SOCKET_ERROR, value, (size_t)size,
              REAL(setsockopt)(socket, level, name, value, size));
}

static int WSAAPI
hook_getsockopt(SOCKET socket, int level, int name, char *value, int *size)
{
    call_t call = {
        .function = F_getsockopt, .socket = socket, .arguments = {(uint32_t)level, (uint32_t)name}};
    CARRY_OUT(int, SOCKET_ERROR, NULL, 0, REAL(getsockopt)(socket, level, name, value, size));
}

static int WSAAPI
hook_ioctlsocket(SOCKET socket, long code, u_long *argument)
{
    call_t call = {.function = F_ioctlsocket, .socket = socket, .arguments = {(uint32_t)code}};
    CARRY_OUT(int, SOCKET_ERROR, argument, argument != NULL ? sizeof *argument : 0,
              REAL(ioctlsocket)(socket, code, argument));
}

static bool
is_stood_in(DWORD code)
{
    return code == SIO_RCVALL || code == SIO_RCVALL_MCAST || code == SIO_RCVALL_IGMPMCAST ||
           code == SIO_LOOPBACK_FAST_PATH;
}

/* Type and protocol as the module knows them. Wine tells nothing of raw sockets of IPv6. */
static int
describe(SOCKET socket, int *type, int *protocol)
{
    WSAPROTOCOL_INFOW info;
    int size = sizeof info;
    bool found = false;
    *protocol = -1;
    if (getsockopt(socket, SOL_SOCKET, SO_TYPE, (char *)type, &(int){sizeof *type}) != 0) {
        return WSAGetLastError();
    }
    AcquireSRWLockShared(&lock);
    for (uint32_t i = 0; i < raw_socket_count && !found; i++) {
        found = raw_sockets[i].socket == socket;
        if (found) {
            *type = SOCK_RAW;
            *protocol = raw_sockets[i].protocol;
        }
    }
    ReleaseSRWLockShared(&lock);
    if (!found && getsockopt(socket, SOL_SOCKET, SO_PROTOCOL_INFOW, (char *)&info, &size) == 0) {
        *protocol = info.iProtocol;
    }
    return 0;
}

static bool
is_bound_to_one_address(SOCKET socket)
{
    struct sockaddr_storage address;
    int size = sizeof address;
    if (getsockname(socket, (struct sockaddr *)&address, &size) != 0) {
        return false;
    }
    if (address.ss_family == AF_INET) {
        return ((struct sockaddr_in *)&address)->sin_addr.s_addr != INADDR_ANY;
    }
    return memcmp(&((struct sockaddr_in6 *)&address)->sin6_addr, &in6addr_any,
                  sizeof in6addr_any) != 0;
}

/* F1: a Boolean and no output; F2: TCP; F4: before the connection is there. */
static int
fast_path_refusal(SOCKET socket, int type, DWORD output_size)
{
    struct sockaddr_storage peer;
    int size = sizeof peer;
    bool connected = getpeername(socket, (struct sockaddr *)&peer, &size) == 0;
    return type != SOCK_STREAM || output_size != 0 || connected ? WSAEINVAL : 0;
}

/* R1: one of four values; R2: a raw socket of the code's protocol; R3: bound to one address. */
static int
receive_all_refusal(SOCKET socket, DWORD code, uint32_t value, int type, int protocol)
{
    bool fits = code == SIO_RCVALL         ? protocol == IPPROTO_IP || protocol == IPPROTO_IPV6
                : code == SIO_RCVALL_MCAST ? protocol == IPPROTO_UDP
                                           : protocol == IPPROTO_IGMP;
    return value > RCVALL_IPLEVEL || type != SOCK_RAW || !fits || !is_bound_to_one_address(socket)
               ? WSAEINVAL
               : 0;
}

/* The error that a code which Wine does not have is refused with; 0 if it is accepted. */
static int
refusal(SOCKET socket, DWORD code, const void *input, DWORD input_size, DWORD output_size)
{
    int type, protocol, error = describe(socket, &type, &protocol);
    uint32_t value;
    if (error != 0) {
        return error;
    }
    if (input == NULL || input_size < sizeof value) {
        return WSAEINVAL;
    }
    memcpy(&value, input, sizeof value);
    return code == SIO_LOOPBACK_FAST_PATH
               ? fast_path_refusal(socket, type, output_size)
               : receive_all_refusal(socket, code, value, type, protocol);
}

/* SIO_UDP_CONNRESET is accepted by Wine on every socket and completes in every way there is:
 * at once, by event, by routine and by port. */
static int
succeed(SOCKET socket, LPDWORD returned, LPWSAOVERLAPPED overlapped,
        LPWSAOVERLAPPED_COMPLETION_ROUTINE routine)
{
    DWORD off = 0;
    return REAL(WSAIoctl)(socket, SIO_UDP_CONNRESET, &off, sizeof off, NULL, 0, returned,
                          overlapped, routine);
}

/* SIO_ADDRESS_LIST_CHANGE really stays pending: until it is cancelled, its socket is closed, its
 * thread ends, or an address of the machine changes. */
static int
stay_pending(SOCKET socket, LPDWORD returned, LPWSAOVERLAPPED overlapped,
             LPWSAOVERLAPPED_COMPLETION_ROUTINE routine)
{
    if (overlapped == NULL) {
        WaitForSingleObject(pending_over, INFINITE);
        return succeed(socket, returned, NULL, NULL);
    }
    overlapped->Internal = STATUS_PENDING; /* Wine forgets to, and it would count as done */
    return REAL(WSAIoctl)(socket, SIO_ADDRESS_LIST_CHANGE, NULL, 0, NULL, 0, returned, overlapped,
                          routine);
}

/* What the system does last: it writes the output and the status, then it sets the event. */
static bool
end_held(const OVERLAPPED *overlapped, const void *output, DWORD size, DWORD status)
{
    struct held one = {0};
    AcquireSRWLockExclusive(&lock);
    for (uint32_t i = 0; i < held_count; i++) {
        if (held[i].overlapped == overlapped) {
            one = held[i];
            held[i] = held[--held_count];
            break;
        }
    }
    ReleaseSRWLockExclusive(&lock);
    if (one.overlapped == NULL) {
        return false;
    }
    DWORD flags;
    HANDLE event = (HANDLE)((uintptr_t)one.overlapped->hEvent & ~(uintptr_t)1);
    if (!GetHandleInformation(event, &flags)) { /* the memory went before the system let go */
        AcquireSRWLockExclusive(&lock);
        lost_count++;
        ReleaseSRWLockExclusive(&lock);
        return false;
    }
    if (one.output_size > 0) {
        memset(one.output, LATE_BYTE, one.output_size);
        memcpy(one.output, output, min(size, one.output_size));
    }
    one.overlapped->InternalHigh = size;
    one.overlapped->Internal = status;
    return SetEvent(event);
}

static DWORD WINAPI
end_cancelled(void *overlapped)
{
    Sleep(cancel_delay_ms);
    end_held(overlapped, "", 0, (DWORD)STATUS_CANCELLED);
    return 0;
}

/* Of one socket, or one operation of it; whether there is any. */
static bool
cancel_held(SOCKET socket, const OVERLAPPED *overlapped)
{
    bool found = false;
    AcquireSRWLockExclusive(&lock);
    for (uint32_t i = 0; i < held_count; i++) {
        if (held[i].socket == socket && !held[i].ending &&
            (overlapped == NULL || held[i].overlapped == overlapped)) {
            found = held[i].ending = true;
            CloseHandle(CreateThread(NULL, 0, end_cancelled, held[i].overlapped, 0, NULL));
        }
    }
    ReleaseSRWLockExclusive(&lock);
    return found;
}

static int
hold(SOCKET socket, void *output, DWORD output_size, LPWSAOVERLAPPED overlapped)
{
    AcquireSRWLockExclusive(&lock);
    bool room = held_count < HELD_LIMIT;
    if (room) {
        overlapped->Internal = STATUS_PENDING;
        held[held_count++] = (struct held){socket, overlapped, output, output_size, false};
    }
    ReleaseSRWLockExclusive(&lock);
    WSASetLastError(room ? WSA_IO_PENDING : WSAENOBUFS);
    return SOCKET_ERROR;
}

static int
give_answer(void *output, DWORD output_size, LPDWORD returned)
{
    AcquireSRWLockShared(&lock);
    bool fits = output_size >= answer.size;
    if (fits) {
        memcpy(output, answer.bytes, answer.size);
    }
    *returned = fits ? answer.size : 0;
    ReleaseSRWLockShared(&lock);
    WSASetLastError(fits ? 0 : WSAEFAULT);
    return fits ? 0 : SOCKET_ERROR;
}

static int
control(SOCKET socket, DWORD code, void *input, DWORD input_size, void *output, DWORD output_size,
        LPDWORD returned, LPWSAOVERLAPPED overlapped, LPWSAOVERLAPPED_COMPLETION_ROUTINE routine)
{
    int type, error = 0;
    if (is_stood_in(code)) {
        error = refusal(socket, code, input, input_size, output_size);
    } else if (getsockopt(socket, SOL_SOCKET, SO_TYPE, (char *)&type, &(int){sizeof type}) != 0) {
        error = WSAGetLastError(); /* for most codes Wine does not look whether it is a socket */
    }
    if (error != 0) {
        WSASetLastError(error);
        return SOCKET_ERROR;
    }
    if (code != 0 && code == held_code && overlapped != NULL) {
        return hold(socket, output, output_size, overlapped);
    }
    if (code != 0 && code == pending_code) {
        return stay_pending(socket, returned, overlapped, routine);
    }
    if (is_stood_in(code)) {
        if (code == SIO_RCVALL) {
            set_mode(socket, *(const uint32_t *)input);
        }
        return succeed(socket, returned, overlapped, routine);
    }
    if (code != 0 && code == answer.code && overlapped == NULL) {
        return give_answer(output, output_size, returned);
    }
    int result = REAL(WSAIoctl)(socket, code, input, input_size, output, output_size, returned,
                                overlapped, routine);
    GUID wanted = WSAID_WSARECVMSG;
    if (result == 0 && code == SIO_GET_EXTENSION_FUNCTION_POINTER &&
        memcmp(input, &wanted, sizeof wanted) == 0) {
        memcpy(&functions[F_WSARecvMsg].real, output, sizeof(void *));
        memcpy(output, &functions[F_WSARecvMsg].hook, sizeof(void *));
    }
    return result;
}

static int WSAAPI
hook_WSAIoctl(SOCKET socket, DWORD code, LPVOID input, DWORD input_size, LPVOID output,
              DWORD output_size, LPDWORD returned, LPWSAOVERLAPPED overlapped,
              LPWSAOVERLAPPED_COMPLETION_ROUTINE routine)
{
    call_t call = {.function = F_WSAIoctl,
                   .socket = socket,
                   .notes = overlapped_notes(overlapped, routine),
                   .arguments = {code, output_size}};
    if (is_stood_in(code) ||
        (code != 0 && (code == pending_code || code == answer.code || code == held_code))) {
        call.notes |= NOTE_STOOD_IN;
    }
    CARRY_OUT(int, SOCKET_ERROR, input, input_size,
              control(socket, code, input, input_size, output, output_size, returned, overlapped,
                      routine));
}

static int WSAAPI
hook_WSARecv(SOCKET socket, LPWSABUF buffers, DWORD buffer_count, LPDWORD received, LPDWORD flags,
             LPWSAOVERLAPPED overlapped, LPWSAOVERLAPPED_COMPLETION_ROUTINE routine)
{
    call_t call = {.function = F_WSARecv,
                   .socket = socket,
                   .notes = overlapped_notes(overlapped, routine),
                   .arguments = {buffer_count, buffers[0].len, *flags}};
    CARRY_OUT(int, SOCKET_ERROR, NULL, 0,
              is_off(socket) ? nothing_there()
                             : REAL(WSARecv)(socket, buffers, buffer_count, received, flags,
                                             overlapped, routine));
}

static int WSAAPI
hook_WSARecvFrom(SOCKET socket, LPWSABUF buffers, DWORD buffer_count, LPDWORD received,
                 LPDWORD flags, struct sockaddr *from, LPINT from_size, LPWSAOVERLAPPED overlapped,
                 LPWSAOVERLAPPED_COMPLETION_ROUTINE routine)
{
    call_t call = {.function = F_WSARecvFrom,
                   .socket = socket,
                   .notes = overlapped_notes(overlapped, routine),
                   .arguments = {buffer_count, buffers[0].len, *flags}};
    CARRY_OUT(int, SOCKET_ERROR, NULL, 0,
              REAL(WSARecvFrom)(socket, buffers, buffer_count, received, flags, from, from_size,
                                overlapped, routine));
}

static int WSAAPI
hook_WSARecvMsg(SOCKET socket, LPWSAMSG message, LPDWORD received, LPWSAOVERLAPPED overlapped,
                LPWSAOVERLAPPED_COMPLETION_ROUTINE routine)
{
    call_t call = {.function = F_WSARecvMsg,
                   .socket = socket,
                   .notes = overlapped_notes(overlapped, routine),
                   .arguments = {message->dwBufferCount, message->lpBuffers[0].len,
                                 message->dwFlags, message->Control.len}};
    CARRY_OUT(int, SOCKET_ERROR, NULL, 0,
              is_off(socket) ? nothing_there()
                             : REAL(WSARecvMsg)(socket, message, received, overlapped, routine));
}

static int WSAAPI
hook_recv(SOCKET socket, char *buffer, int size, int flags)
{
    call_t call = {
        .function = F_recv, .socket = socket, .arguments = {(uint32_t)size, (uint32_t)flags}};
    CARRY_OUT(int, SOCKET_ERROR, NULL, 0, REAL(recv)(socket, buffer, size, flags));
}

static int WSAAPI
hook_recvfrom(SOCKET socket, char *buffer, int size, int flags, struct sockaddr *from,
              int *from_size)
{
    call_t call = {
        .function = F_recvfrom, .socket = socket, .arguments = {(uint32_t)size, (uint32_t)flags}};
    CARRY_OUT(int, SOCKET_ERROR, NULL, 0,
              REAL(recvfrom)(socket, buffer, size, flags, from, from_size));
}

static int WSAAPI
hook_WSAEventSelect(SOCKET socket, WSAEVENT event, long network_events)
{
    call_t call = {.function = F_WSAEventSelect,
                   .socket = socket,
                   .arguments = {(uint32_t)network_events, event != NULL}};
    CARRY_OUT(int, SOCKET_ERROR, NULL, 0, REAL(WSAEventSelect)(socket, event, network_events));
}

static int WSAAPI
hook_WSAEnumNetworkEvents(SOCKET socket, WSAEVENT event, LPWSANETWORKEVENTS events)
{
    call_t call = {.function = F_WSAEnumNetworkEvents, .socket = socket};
    CARRY_OUT(int, SOCKET_ERROR, NULL, 0, REAL(WSAEnumNetworkEvents)(socket, event, events));
}

/* Carried out even if it is to fail: the operation must be over before its memory goes. */
static BOOL WSAAPI
hook_WSAGetOverlappedResult(SOCKET socket, LPWSAOVERLAPPED overlapped, LPDWORD transferred,
                            BOOL wait, LPDWORD flags)
{
    call_t call = {
        .function = F_WSAGetOverlappedResult, .socket = socket, .arguments = {(uint32_t)wait}};
    bool succeeds = begin(&call, NULL, 0);
    int fault = call.error;
    BOOL result = REAL(WSAGetOverlappedResult)(socket, overlapped, transferred, wait, flags);
    if (!succeeds && (result || WSAGetLastError() != WSA_IO_INCOMPLETE)) {
        result = FALSE;
        WSASetLastError(fault);
    }
    end(&call, result, !result);
    return result;
}

static WSAEVENT WSAAPI
hook_WSACreateEvent(void)
{
    call_t call = {.function = F_WSACreateEvent};
    CARRY_OUT(WSAEVENT, WSA_INVALID_EVENT, NULL, 0, REAL(WSACreateEvent)());
}

static BOOL WSAAPI
hook_WSACloseEvent(WSAEVENT event)
{
    call_t call = {.function = F_WSACloseEvent, .socket = (uint64_t)event};
    CARRY_OUT(BOOL, FALSE, NULL, 0, REAL(WSACloseEvent)(event));
}

static DWORD WSAAPI
hook_WSAWaitForMultipleEvents(DWORD count, const WSAEVENT *events, BOOL all, DWORD timeout,
                              BOOL alertable)
{
    call_t call = {.function = F_WSAWaitForMultipleEvents,
                   .arguments = {count, (uint32_t)all, timeout, (uint32_t)alertable}};
    CARRY_OUT(DWORD, WSA_WAIT_FAILED, NULL, 0,
              REAL(WSAWaitForMultipleEvents)(count, events, all, timeout, alertable));
}

static HANDLE WINAPI
hook_CreateEventW(LPSECURITY_ATTRIBUTES attributes, BOOL manual_reset, BOOL set, LPCWSTR name)
{
    call_t call = {.function = F_CreateEventW,
                   .arguments = {(uint32_t)manual_reset, (uint32_t)set}};
    CARRY_OUT(HANDLE, NULL, NULL, 0, REAL(CreateEventW)(attributes, manual_reset, set, name));
}

static DWORD WINAPI
hook_WaitForMultipleObjects(DWORD count, const HANDLE *objects, BOOL all, DWORD timeout)
{
    call_t call = {.function = F_WaitForMultipleObjects,
                   .arguments = {count, (uint32_t)all, timeout}};
    CARRY_OUT(DWORD, WAIT_FAILED, NULL, 0,
              REAL(WaitForMultipleObjects)(count, objects, all, timeout));
}

static DWORD WINAPI
hook_WaitForSingleObject(HANDLE object, DWORD timeout)
{
    call_t call = {
        .function = F_WaitForSingleObject, .socket = (uint64_t)object, .arguments = {timeout}};
    CARRY_OUT(DWORD, WAIT_FAILED, NULL, 0, REAL(WaitForSingleObject)(object, timeout));
}

static BOOL WINAPI
hook_CloseHandle(HANDLE handle)
{
    call_t call = {.function = F_CloseHandle, .socket = (uint64_t)handle};
    CARRY_OUT(BOOL, FALSE, NULL, 0, REAL(CloseHandle)(handle));
}

static BOOL WINAPI
hook_CancelIoEx(HANDLE handle, LPOVERLAPPED overlapped)
{
    call_t call = {
        .function = F_CancelIoEx, .socket = (uint64_t)handle, .arguments = {overlapped != NULL}};
    CARRY_OUT(BOOL, FALSE, NULL, 0,
              cancel_held((SOCKET)handle, overlapped) || REAL(CancelIoEx)(handle, overlapped));
}

static ULONG WINAPI
hook_GetAdaptersAddresses(ULONG family, ULONG flags, PVOID reserved, PIP_ADAPTER_ADDRESSES adapters,
                          PULONG size)
{
    call_t call = {.function = F_GetAdaptersAddresses, .arguments = {family, flags}};
    CARRY_OUT_STATUS(ULONG, REAL(GetAdaptersAddresses)(family, flags, reserved, adapters, size));
}

static void
count_call(enum function function)
{
    AcquireSRWLockExclusive(&lock);
    counts[function]++;
    ReleaseSRWLockExclusive(&lock);
}

static void *
hook_malloc(size_t size)
{
    count_call(F_malloc);
    return REAL(malloc)(size);
}

static void *
hook_calloc(size_t count, size_t size)
{
    count_call(F_calloc);
    return REAL(calloc)(count, size);
}

static void *
hook_realloc(void *memory, size_t size)
{
    count_call(F_realloc);
    return REAL(realloc)(memory, size);
}

#define EXPORT __declspec(dllexport)

/* The name of a function; NULL behind the last one. */
EXPORT const char *
hook_name(uint32_t function)
{
    return function < FUNCTION_COUNT ? functions[function].name : NULL;
}

/* What a patched module calls. */
EXPORT void *
hook_address(uint32_t function)
{
    return functions[function].hook;
}

static void
find_real_functions(void)
{
    if (pending_over != NULL) {
        return;
    }
    for (uint32_t i = 0; i < FUNCTION_COUNT; i++) {
        FARPROC real = GetProcAddress(LoadLibraryA(functions[i].dll), functions[i].name);
        memcpy(&functions[i].real, &real, sizeof real);
    }
    pending_over = CreateEventW(NULL, TRUE, TRUE, NULL);
}

/* Patches the import table of a module, or undoes it; a mask of the functions that it imports. */
EXPORT uint64_t
hook_patch(uint8_t *module, int on)
{
    find_real_functions();
    const IMAGE_NT_HEADERS *header =
        (IMAGE_NT_HEADERS *)(module + ((IMAGE_DOS_HEADER *)module)->e_lfanew);
    DWORD where = header->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT].VirtualAddress;
    uint64_t found = 0;
    IMAGE_IMPORT_DESCRIPTOR *dll = (IMAGE_IMPORT_DESCRIPTOR *)(module + where);
    for (; where != 0 && dll->Name != 0; dll++) {
        for (void **entry = (void **)(module + dll->FirstThunk); *entry != NULL; entry++) {
            for (uint32_t i = 0; i < FUNCTION_COUNT; i++) {
                void *from = on ? functions[i].real : functions[i].hook;
                DWORD protection;
                if (*entry == from && from != NULL &&
                    VirtualProtect(entry, sizeof *entry, PAGE_READWRITE, &protection)) {
                    *entry = on ? functions[i].hook : functions[i].real;
                    VirtualProtect(entry, sizeof *entry, protection, &protection);
                    found |= 1ull << i;
                    break;
                }
            }
        }
    }
    return found;
}

/* Forgets the calls so far. */
EXPORT void
hook_forget(void)
{
    AcquireSRWLockExclusive(&lock);
    first_call = call_count;
    memset(counts, 0, sizeof counts);
    ReleaseSRWLockExclusive(&lock);
}

/* How often a function was called. */
EXPORT uint32_t
hook_count(uint32_t function)
{
    AcquireSRWLockShared(&lock);
    uint32_t count = counts[function];
    ReleaseSRWLockShared(&lock);
    return count;
}

/* How many raw sockets of a family have SIO_RCVALL set to a value. */
EXPORT uint32_t
hook_count_mode(int family, uint32_t mode)
{
    uint32_t count = 0;
    AcquireSRWLockShared(&lock);
    for (uint32_t i = 0; i < raw_socket_count; i++) {
        count += raw_sockets[i].family == family && raw_sockets[i].mode == mode;
    }
    ReleaseSRWLockShared(&lock);
    return count;
}

/* Copies the last calls; gives how many. */
EXPORT uint64_t
hook_calls(call_t *copy, uint64_t room)
{
    AcquireSRWLockShared(&lock);
    uint64_t count = min(call_count - first_call, min(room, CALL_LIMIT));
    for (uint64_t i = 0; i < count; i++) {
        copy[i] = calls[(call_count - count + i) % CALL_LIMIT];
    }
    ReleaseSRWLockShared(&lock);
    return count;
}

/* Lets calls of a function fail: `pass` are carried out, then `times` fail. 0 if there is no room.
 */
EXPORT int
hook_fail(uint32_t function, uint32_t code, uint32_t pass, uint32_t times, int32_t error)
{
    AcquireSRWLockExclusive(&lock);
    bool room = rule_count < RULE_LIMIT;
    if (room) {
        rules[rule_count++] = (rule_t){function, code, pass, times, error};
    }
    ReleaseSRWLockExclusive(&lock);
    return room;
}

/* Lets one control code stay pending; 0 ends that, also for calls that wait. */
EXPORT void
hook_pend(uint32_t code)
{
    pending_code = code;
    if (code != 0) {
        ResetEvent(pending_over);
    } else {
        SetEvent(pending_over);
    }
}

/* Holds overlapped calls of one control code, 0 for none, until they are completed or cancelled;
 * then they end after a delay. */
EXPORT void
hook_hold(uint32_t code, uint32_t delay_ms)
{
    AcquireSRWLockExclusive(&lock);
    held_code = code;
    cancel_delay_ms = delay_ms;
    lost_count = 0;
    ReleaseSRWLockExclusive(&lock);
}

/* Ends the held call that began first; 0 if there is none or if its memory is gone. */
EXPORT int
hook_complete(const void *output, uint32_t size, uint32_t status)
{
    AcquireSRWLockShared(&lock);
    const OVERLAPPED *first = held_count > 0 ? held[0].overlapped : NULL;
    ReleaseSRWLockShared(&lock);
    return first != NULL && end_held(first, output, size, status);
}

/* How many calls are held, and how many ended after their memory went. */
EXPORT uint32_t
hook_held(void)
{
    return held_count;
}

EXPORT uint32_t
hook_lost(void)
{
    return lost_count;
}

/* Gives the output of one control code, where the call is not overlapped. 0 if it is too long. */
EXPORT int
hook_answer(uint32_t code, const void *bytes, uint32_t size)
{
    if (size > ANSWER_LIMIT) {
        return 0;
    }
    AcquireSRWLockExclusive(&lock);
    answer.code = code;
    answer.size = size;
    memcpy(answer.bytes, bytes, size);
    ReleaseSRWLockExclusive(&lock);
    return 1;
}

/* The bytes that a heap has handed out: the walk of process_heap.py, with the heap locked. */
EXPORT uint64_t
hook_heap_size(HANDLE heap)
{
    uint64_t size = 0;
    PROCESS_HEAP_ENTRY entry = {0};
    HeapLock(heap);
    while (HeapWalk(heap, &entry)) {
        size += (entry.wFlags & PROCESS_HEAP_ENTRY_BUSY) != 0 ? entry.cbData : 0;
    }
    HeapUnlock(heap);
    return size;
}

/* The protocol that raw sockets are opened with in place of IPPROTO_IP and IPPROTO_IPV6. */
EXPORT void
hook_set_raw_protocol(int protocol)
{
    raw_protocol = protocol;
}

/* Everything but the calls as it was at first. */
EXPORT void
hook_reset(void)
{
    hook_pend(0);
    hook_hold(0, 0);
    while (held_count > 0) {
        hook_complete("", 0, (DWORD)STATUS_CANCELLED);
    }
    AcquireSRWLockExclusive(&lock);
    raw_socket_count = 0;
    rule_count = 0;
    answer.code = 0;
    raw_protocol = IPPROTO_UDP;
    ReleaseSRWLockExclusive(&lock);
}
