#include "backend/packet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/control_code.h"
#include "core/winsock_errors.h"

static int
check_protocol(const channel_options_t *options, failure_t *failure) /* R2 */
{
    int protocol = options->protocol;
    if (protocol == -1 || protocol == IPPROTO_IP ||
        (protocol == IPPROTO_IPV6 && options->family == FAMILY_IPV6)) {
        return 0;
    }
    return fail(failure, "socket", WINSOCK_WSAEINVAL,
                "the protocol must be IPPROTO_IP, or IPPROTO_IPV6 for AF_INET6");
}

static int
watch(int epoll, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

packet_t *
packet_open(const backend_t *backend, const channel_options_t *options, failure_t *failure)
{
    if (check_protocol(options, failure) < 0) {
        return NULL;
    }
    packet_t *self = calloc(1, sizeof *self);
    if (self == NULL) {
        linux_fail(failure, "malloc");
        return NULL;
    }
    *self = (packet_t){
        .channel = {.backend = backend, .family = options->family},
        .fd = -1,
        .epoll = -1,
        .wake = -1,
        .snaplen = options->snaplen,
        .has_fanout = options->has_fanout,
        .fanout = options->fanout,
    };
    /* Protocol 0 receives nothing: everything is in place before the first datagram comes. */
    self->fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (self->fd < 0) {
        linux_fail(failure, "socket");
        goto failed;
    }
    if (channel_open_filter(&self->channel, options->filter) < 0) {
        linux_fail(failure, "malloc");
        goto failed;
    }
    if (packet_filter_attach(self, MODE_OFF) < 0) {
        linux_fail(failure, "setsockopt(SO_ATTACH_FILTER)");
        goto failed;
    }
    self->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (self->epoll < 0) {
        linux_fail(failure, "epoll_create1");
        goto failed;
    }
    if (waker_open(&self->wake, failure) < 0) {
        goto failed;
    }
    /* Edge-triggered, because a level would stay up for as long as Python holds the newest block.
     */
    if (watch(self->epoll, self->fd, EPOLLIN | EPOLLET) < 0 ||
        watch(self->epoll, (int)self->wake, EPOLLIN) < 0) {
        linux_fail(failure, "epoll_ctl");
        goto failed;
    }
    return self;

failed:
    packet_close(self);
    return NULL;
}

/* The error that the kernel keeps for the socket; reading clears it. */
static int
pending_error(int fd)
{
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    return error;
}

/* The hash is that of the flow and the same both ways. A group lives as long as its members. */
static int
join_group(packet_t *self, failure_t *failure)
{
    int request = self->fanout | PACKET_FANOUT_HASH << 16;
    if (setsockopt(self->fd, SOL_PACKET, PACKET_FANOUT, &request, sizeof request) < 0) {
        linux_fail(failure, "setsockopt(PACKET_FANOUT)");
        if (failure->code == WINSOCK_WSAEINVAL) {
            failure->hint = "the captures of a fan-out group, 256 at most, are all on one "
                            "interface: choose another number";
        }
        return -1;
    }
    self->in_group = true;
    return 0;
}

int
packet_bind(channel_t *channel, const interface_choice_t *where, failure_t *failure)
{
    packet_t *self = (packet_t *)channel;
    uint32_t index;
    bool loopback;
    if (self->in_group) {
        return fail(failure, "bind", WINSOCK_WSAEINVAL,
                    "a member of a fan-out group stays on its interface: open a new one");
    }
    if (rcvall_check_bind(&channel->rcvall, failure) < 0 ||
        linux_resolve(where, channel->family, &index, &loopback, failure) < 0) {
        return -1;
    }
    /* Whatever comes of it, the socket no longer is where it was. */
    channel->rcvall.bound = false;
    const struct sockaddr_ll address = {
        .sll_family = AF_PACKET,
        /* Outgoing packets are shown to nothing less than ETH_P_ALL. */
        .sll_protocol = htons(ETH_P_ALL),
        .sll_ifindex = (int)index,
    };
    if (bind(self->fd, (const struct sockaddr *)&address, sizeof address) < 0) {
        return linux_fail(failure, "bind");
    }
    /* bind(2) succeeds on an interface that is down and leaves ENETDOWN behind. */
    errno = pending_error(self->fd);
    if (errno != 0) {
        return linux_fail(failure, "bind");
    }
    if (self->has_fanout && join_group(self, failure) < 0) {
        return -1;
    }
    self->interface_index = index;
    self->loopback = loopback;
    packet_set_ended(self, 0);
    channel->rcvall.bound = true;
    return 0;
}

static int
set_promiscuous(const packet_t *self, bool on)
{
    const struct packet_mreq request = {
        .mr_ifindex = (int)self->interface_index,
        .mr_type = PACKET_MR_PROMISC,
    };
    return setsockopt(self->fd, SOL_PACKET, on ? PACKET_ADD_MEMBERSHIP : PACKET_DROP_MEMBERSHIP,
                      &request, sizeof request);
}

static int
set_mode(packet_t *self, uint32_t mode, failure_t *failure)
{
    uint32_t before = self->channel.rcvall.mode;
    if (mode == MODE_ON && before != MODE_ON && set_promiscuous(self, true) < 0) {
        return linux_fail(failure, SIO_RCVALL_CALL);
    }
    if (packet_filter_attach(self, mode) < 0) {
        linux_fail(failure, SIO_RCVALL_CALL);
        if (mode == MODE_ON && before != MODE_ON) {
            set_promiscuous(self, false);
        }
        return -1;
    }
    if (mode != MODE_ON && before == MODE_ON) {
        set_promiscuous(self, false); /* fails only if the interface took it with it */
    }
    self->channel.rcvall.mode = mode;
    return 0;
}

int
packet_control(channel_t *channel, uint32_t code, const void *input, size_t input_size,
               void *output, size_t output_size, size_t *returned, failure_t *failure)
{
    packet_t *self = (packet_t *)channel;
    if (code != (uint32_t)CODE_SIO_RCVALL) {
        return platform_control(self->fd, code, input, input_size, output, output_size, returned,
                                failure);
    }
    uint32_t mode;
    *returned = 0;
    if (rcvall_check_control(&channel->rcvall, input, input_size, &mode, failure) < 0) {
        return -1;
    }
    return set_mode(self, mode, failure);
}

int
packet_set_filter(channel_t *channel, const filter_t *filter, failure_t *failure)
{
    packet_t *self = (packet_t *)channel;
    filter_t *copy = filter == NULL ? NULL : filter_new(filter->instructions, filter->count);
    if (filter != NULL && copy == NULL) {
        return linux_fail(failure, "malloc");
    }
    lock_take(channel->filter_lock);
    filter_t *unused = channel->filter;
    channel->filter = copy;
    int result = packet_filter_attach(self, channel->rcvall.mode);
    if (result < 0) {
        linux_fail(failure, "setsockopt(SO_ATTACH_FILTER)");
        channel->filter = unused;
        unused = copy;
    } else {
        self->recheck = self->recheck_span;
    }
    lock_release(channel->filter_lock);
    free(unused);
    return result;
}

void
packet_set_ended(packet_t *self, int error)
{
    __atomic_store_n(&self->ended_by, error, __ATOMIC_RELAXED);
}

enum receive_outcome
packet_end(const packet_t *self, failure_t *failure)
{
    errno = __atomic_load_n(&self->ended_by, __ATOMIC_RELAXED);
    return (enum receive_outcome)linux_fail(failure, "receive");
}

enum receive_outcome
packet_wait(packet_t *self, int64_t deadline_ns)
{
    for (;;) {
        struct epoll_event events[2];
        int count = epoll_wait(self->epoll, events, 2, linux_wait_ms(deadline_ns));
        if (count < 0) {
            return RECEIVE_INTERRUPTED;
        }
        enum receive_outcome outcome = RECEIVE_BLOCK;
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd != self->fd) {
                outcome = RECEIVE_WOKEN;
            } else if (events[i].events & EPOLLERR) {
                int error = pending_error(self->fd);
                if (error != 0) {
                    packet_set_ended(self, error);
                }
            }
        }
        if (count > 0) {
            return outcome;
        }
        if (platform_now_ns() >= deadline_ns) {
            return RECEIVE_TIMED_OUT;
        }
    }
}

void
packet_wake(channel_t *channel)
{
    waker_set(((packet_t *)channel)->wake);
}

int64_t
packet_dropped(channel_t *channel)
{
    packet_t *self = (packet_t *)channel;
    union tpacket_stats_u count = {0};
    socklen_t size = sizeof count;
    if (getsockopt(self->fd, SOL_PACKET, PACKET_STATISTICS, &count, &size) == 0) {
        self->dropped += count.stats1.tp_drops;
    }
    return self->dropped;
}

intptr_t
packet_descriptor(const channel_t *channel)
{
    return ((const packet_t *)channel)->fd;
}

void
packet_close(packet_t *self)
{
    if (self->wake >= 0) {
        waker_close(self->wake);
    }
    if (self->epoll >= 0) {
        close(self->epoll);
    }
    if (self->fd >= 0) {
        if (self->channel.rcvall.mode != MODE_OFF) {
            /* R15: at once, even if another process holds a copy of the descriptor. */
            set_mode(self, MODE_OFF, &(failure_t){0});
        }
        close(self->fd);
    }
    channel_close_filter(&self->channel);
    free(self);
}
