/* Receiving with recvmmsg(2) into heap blocks: for kernels and containers that refuse the ring. */
#include "backend/packet.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "core/winsock_errors.h"

#define MESSAGES 64

/* The largest datagram is 65,535 bytes behind an IPv4 header and 65,575 with one of IPv6; a
 * packet that was coalesced to more is truncated and marked. */
#define MESSAGE_ROOM ((size_t)65600)

/* One reception; its datagrams are copied to a block that is as large as they are, so that a
 * program that keeps a view does not keep four megabytes with it. */
struct message_buffer {
    struct mmsghdr messages[MESSAGES];
    struct iovec vectors[MESSAGES];
    struct sockaddr_ll links[MESSAGES];
    _Alignas(struct cmsghdr) uint8_t control[MESSAGES][CMSG_SPACE(sizeof(struct timespec)) +
                                                       CMSG_SPACE(sizeof(struct tpacket_auxdata))];
    uint8_t bytes[MESSAGES][MESSAGE_ROOM];
};

static void
prepare(message_buffer_t *buffer)
{
    for (size_t i = 0; i < MESSAGES; i++) {
        buffer->vectors[i] = (struct iovec){buffer->bytes[i], MESSAGE_ROOM};
        buffer->messages[i].msg_hdr = (struct msghdr){
            .msg_name = &buffer->links[i],
            .msg_namelen = sizeof buffer->links[i],
            .msg_iov = &buffer->vectors[i],
            .msg_iovlen = 1,
            .msg_control = buffer->control[i],
            .msg_controllen = sizeof buffer->control[i],
        };
    }
}

static record_t
describe(message_buffer_t *buffer, size_t i)
{
    struct msghdr *message = &buffer->messages[i].msg_hdr;
    uint32_t length = buffer->messages[i].msg_len;
    uint32_t original_length = length;
    struct timespec stamp = {0};
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL;
         part = CMSG_NXTHDR(message, part)) {
        if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_TIMESTAMPNS) {
            memcpy(&stamp, CMSG_DATA(part), sizeof stamp);
        } else if (part->cmsg_level == SOL_PACKET && part->cmsg_type == PACKET_AUXDATA) {
            struct tpacket_auxdata auxiliary;
            memcpy(&auxiliary, CMSG_DATA(part), sizeof auxiliary);
            original_length = auxiliary.tp_len;
        }
    }
    return packet_record(&buffer->links[i], length, original_length, (uint32_t)stamp.tv_sec,
                         (uint32_t)stamp.tv_nsec);
}

static block_t *
copy_messages(packet_t *self, size_t count)
{
    message_buffer_t *buffer = self->buffer;
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        size += buffer->messages[i].msg_len;
    }
    block_t *block = block_new(size, count);
    lock_take(self->channel.filter_lock);
    for (size_t i = 0; block != NULL && i < count; i++) {
        record_t record = describe(buffer, i);
        if (packet_finish(self, buffer->bytes[i], &record)) {
            block_append(block, buffer->bytes[i], record);
        }
    }
    lock_release(self->channel.filter_lock);
    return block;
}

static enum receive_outcome
packet_message_receive(channel_t *channel, int64_t deadline_ns, block_t **block, failure_t *failure)
{
    packet_t *self = (packet_t *)channel;
    for (;;) {
        prepare(self->buffer);
        int count = recvmmsg(self->fd, self->buffer->messages, MESSAGES, MSG_DONTWAIT, NULL);
        if (count > 0) {
            *block = copy_messages(self, (size_t)count);
            if (*block == NULL) {
                errno = ENOMEM;
                linux_fail(failure, "malloc");
                return RECEIVE_FAILED;
            }
            if ((*block)->count == 0) {
                (*block)->release(*block);
                continue;
            }
            return RECEIVE_BLOCK;
        }
        if (errno == EINTR) {
            return RECEIVE_INTERRUPTED;
        }
        if (errno != EAGAIN) {
            /* Reading the error cleared it; what is in the queue comes out first. R14 */
            packet_set_ended(self, errno);
            continue;
        }
        if (packet_has_ended(self)) {
            return packet_end(self, failure);
        }
        enum receive_outcome outcome = packet_wait(self, deadline_ns);
        if (outcome != RECEIVE_BLOCK) {
            return outcome;
        }
    }
}

static int
set_receive_buffer(packet_t *self, uint64_t size)
{
    int wanted = size > INT32_MAX / 2 ? INT32_MAX / 2 : (int)size;
    int got = 0;
    socklen_t got_size = sizeof got;
    /* FORCE passes net.core.rmem_max and needs CAP_NET_ADMIN. */
    if (setsockopt(self->fd, SOL_SOCKET, SO_RCVBUFFORCE, &wanted, sizeof wanted) < 0 &&
        setsockopt(self->fd, SOL_SOCKET, SO_RCVBUF, &wanted, sizeof wanted) < 0) {
        return -1;
    }
    if (getsockopt(self->fd, SOL_SOCKET, SO_RCVBUF, &got, &got_size) < 0) {
        return -1;
    }
    self->channel.buffer_size = (uint64_t)got / 2; /* the kernel doubles it, socket(7) */
    return 0;
}

static void
packet_message_close(channel_t *channel)
{
    packet_t *self = (packet_t *)channel;
    free(self->buffer);
    packet_close(self);
}

static channel_t *
packet_message_open(const channel_options_t *options, failure_t *failure)
{
    packet_t *self = packet_open(&packet_message_backend, options, failure);
    if (self == NULL) {
        return NULL;
    }
    const int on = 1;
    /* When the queue of before a change has been read cannot be told. */
    self->recheck_span = UINT64_MAX;
    self->buffer = malloc(sizeof *self->buffer);
    if (self->buffer == NULL) {
        linux_fail(failure, "malloc");
    } else if (setsockopt(self->fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) < 0) {
        linux_fail(failure, "setsockopt(SO_TIMESTAMPNS)");
    } else if (setsockopt(self->fd, SOL_PACKET, PACKET_AUXDATA, &on, sizeof on) < 0) {
        linux_fail(failure, "setsockopt(PACKET_AUXDATA)");
    } else if (set_receive_buffer(self, options->buffer_size) < 0) {
        linux_fail(failure, "setsockopt(SO_RCVBUF)");
    } else {
        return &self->channel;
    }
    packet_message_close(&self->channel);
    return NULL;
}

const backend_t packet_message_backend = {
    .name = "packet-message",
    .open = packet_message_open,
    .bind = packet_bind,
    .control = packet_control,
    .set_filter = packet_set_filter,
    .receive = packet_message_receive,
    .wake = packet_wake,
    .dropped = packet_dropped,
    .descriptor = packet_descriptor,
    .close = packet_message_close,
};
