/* A packet socket, and what its two ways of receiving share. packet(7) */
#ifndef WINSOCKCTL_PACKET_H
#define WINSOCKCTL_PACKET_H

#include <linux/filter.h>
#include <linux/if_packet.h>

#include "backend/linux.h"
#include "core/ip.h"

#define NANOSECONDS_PER_SECOND 1000000000
#define NANOSECONDS_PER_MILLISECOND 1000000

typedef struct ring ring_t;
typedef struct message_buffer message_buffer_t;

typedef struct {
    channel_t channel;
    int fd;
    int epoll;
    waker_t wake;
    uint32_t snaplen;
    uint32_t interface_index;
    bool loopback;
    bool has_fanout; /* packet_bind() joins the group */
    uint16_t fanout;
    bool in_group;
    int ended_by; /* R14: the errno of why nothing more will come, or 0; atomic */
    /* Blocks from now on that may hold what only an earlier filter let through, and how many do so
     * after a change; under the filter's lock. */
    uint64_t recheck;
    uint64_t recheck_span;
    int64_t dropped;          /* the kernel clears its count on reading; this one grows */
    ring_t *ring;             /* packet_ring.c, else NULL */
    message_buffer_t *buffer; /* packet_message.c, else NULL */
} packet_t;

/* A socket that nothing can reach yet, with its epoll and waker; NULL with the failure. */
packet_t *packet_open(const backend_t *backend, const channel_options_t *options,
                      failure_t *failure);
int packet_bind(channel_t *channel, const interface_choice_t *where, failure_t *failure);
int packet_control(channel_t *channel, uint32_t code, const void *input, size_t input_size,
                   void *output, size_t output_size, size_t *returned, failure_t *failure);
int packet_set_filter(channel_t *channel, const filter_t *filter, failure_t *failure);
void packet_wake(channel_t *channel);
int64_t packet_dropped(channel_t *channel);
intptr_t packet_descriptor(const channel_t *channel);
/* Frees self; ring and buffer are gone before. */
void packet_close(packet_t *self);

/* Waits until the socket has something new to say or failed (see ended_by). RECEIVE_BLOCK means:
 * look again. */
enum receive_outcome packet_wait(packet_t *self, int64_t deadline_ns);

/* R14: what ended the capture comes behind the last datagram. */
static inline bool
packet_has_ended(const packet_t *self)
{
    return __atomic_load_n(&self->ended_by, __ATOMIC_RELAXED) != 0;
}

enum receive_outcome packet_end(const packet_t *self, failure_t *failure);
void packet_set_ended(packet_t *self, int error);

/* Attaches the kernel's filter for a mode. 0 or -1 with errno. R4-R8, R10 */
int packet_filter_attach(const packet_t *packet, uint32_t mode);

/* The kernel keeps at least this of each datagram, whatever snaplen says: the filter looks at a
 * short one once more when its padding is cut off. */
static inline uint32_t
packet_kernel_snaplen(const packet_t *self)
{
    return self->snaplen > IP_PADDED_PAYLOAD_LIMIT ? self->snaplen : IP_PADDED_PAYLOAD_LIMIT;
}

/* What the kernel tells of one datagram. */
static inline record_t
packet_record(const struct sockaddr_ll *link, uint32_t length, uint32_t original_length,
              uint32_t seconds, uint32_t nanoseconds)
{
    static const uint8_t directions[] = {
        [PACKET_HOST] = DIRECTION_INCOMING,      [PACKET_BROADCAST] = DIRECTION_INCOMING,
        [PACKET_MULTICAST] = DIRECTION_INCOMING, [PACKET_OTHERHOST] = DIRECTION_OTHER,
        [PACKET_OUTGOING] = DIRECTION_OUTGOING,
    };
    return (record_t){
        .timestamp_ns = (int64_t)seconds * NANOSECONDS_PER_SECOND + nanoseconds,
        .length = length,
        .original_length = original_length,
        .interface_index = (uint32_t)link->sll_ifindex,
        .direction = link->sll_pkttype < sizeof directions ? directions[link->sll_pkttype]
                                                           : (uint8_t)DIRECTION_UNKNOWN,
        /* ETH_P_IP in network order is 0x0008 or 0x0800; the filter lets nothing else through. */
        .version = link->sll_protocol == __builtin_bswap16(0x0800) ? 4 : 6,
    };
}

/* Cuts off the padding of an Ethernet frame and what is beyond snaplen (R11). False if the filter
 * refuses the datagram: the kernel's program took the padding for a part of it, or the filter was
 * changed after the datagram came. The filter's lock is held. */
static inline bool
packet_finish(const packet_t *self, const uint8_t *data, record_t *record)
{
    const filter_t *filter = self->channel.filter;
    bool check = self->recheck > 0;
    if (record->original_length <= IP_PADDED_PAYLOAD_LIMIT) {
        uint32_t length = ip_datagram_length(data, record->length, record->original_length);
        check |= length < record->original_length || (filter != NULL && filter->reads_length);
        record->original_length = length;
        record->length = record->length > length ? length : record->length;
    }
    if (check && !channel_wants(&self->channel, data, record->length, record->original_length)) {
        return false;
    }
    record->length = record->length > self->snaplen ? self->snaplen : record->length;
    record->flags = record->length < record->original_length ? RECORD_TRUNCATED : 0;
    return true;
}

#endif
