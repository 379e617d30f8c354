/* A backend is a table of functions; its sockets begin with a channel_t and are private to it.
 *
 * receive() runs without the GIL. The binding sees to it that at most one thread is inside
 * receive() and at most one inside bind(), control(), set_filter() or dropped() of a channel, that
 * nobody is inside any of them when close() comes, and that wake() comes before close().
 */
#ifndef WINSOCKCTL_BACKEND_H
#define WINSOCKCTL_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/platform.h"
#include "core/block.h"
#include "core/failure.h"
#include "core/filter.h"
#include "core/interface.h"
#include "core/rcvall.h"

enum receive_outcome {
    RECEIVE_FAILED = -1,
    RECEIVE_BLOCK,
    RECEIVE_TIMED_OUT,
    RECEIVE_INTERRUPTED, /* a signal came: look at it, then call again */
    RECEIVE_WOKEN,       /* wake() was called */
    RECEIVE_ENDED,       /* there will be no more datagrams */
};

/* Which call of a replayed socket is to fail; 0 lets it succeed. Winsock numbers. */
typedef struct {
    int socket;
    int bind;
    int control;
    int receive; /* behind the last datagram */
} replay_faults_t;

typedef struct {
    block_t **blocks; /* malloc'ed; open() takes the array and the blocks on success */
    size_t count;
    bool wait; /* behind the last datagram: wait like an idle interface */
    replay_faults_t faults;
} replay_source_t;

typedef struct {
    enum ip_family family;
    int protocol; /* IPPROTO_*, -1 for the default */
    uint64_t buffer_size;
    uint32_t snaplen; /* UINT32_MAX keeps the whole datagram */
    int64_t latency_ns;
    bool has_fanout;
    uint16_t fanout;               /* the group of channels that share the load, by flow */
    const filter_t *filter;        /* NULL wants everything; open() copies it */
    const replay_source_t *replay; /* NULL but for the replay backend */
} channel_options_t;

typedef struct channel {
    const struct backend *backend;
    enum ip_family family;
    rcvall_t rcvall;
    /* Owned; NULL wants everything. Read under the lock or inside control(), changed under the lock
     * and inside set_filter(). */
    filter_t *filter;
    lock_t *filter_lock;
    uint64_t buffer_size; /* what was really got */
} channel_t;

typedef struct backend {
    const char *name;
    channel_t *(*open)(const channel_options_t *options, failure_t *failure);
    int (*bind)(channel_t *channel, const interface_choice_t *where, failure_t *failure);
    int (*control)(channel_t *channel, uint32_t code, const void *input, size_t input_size,
                   void *output, size_t output_size, size_t *returned, failure_t *failure);
    /* Also while another thread is inside receive(), which does not wait with the filter's lock.
     * What a later receive() gives has passed the filter, also if it came before. NULL wants
     * everything; the filter is copied. */
    int (*set_filter)(channel_t *channel, const filter_t *filter, failure_t *failure);
    /* deadline_ns by platform_now_ns(); INT64_MAX waits for ever. */
    enum receive_outcome (*receive)(channel_t *channel, int64_t deadline_ns, block_t **block,
                                    failure_t *failure);
    void (*wake)(channel_t *channel);       /* from any thread; receive() ends, also later ones */
    int64_t (*dropped)(channel_t *channel); /* since open(); -1 where it cannot be known */
    intptr_t (*descriptor)(const channel_t *channel); /* -1 if there is none */
    void (*close)(channel_t *channel);
} backend_t;

/* The backends of this platform, the best first, the replay backend last; ends with NULL. */
extern const backend_t *const platform_backends[];
extern const backend_t replay_backend;

/* Whether the channel's filter wants a datagram of which captured bytes of length are here. The
 * filter's lock is held. */
static inline bool
channel_wants(const channel_t *channel, const uint8_t *bytes, uint32_t captured, uint32_t length)
{
    return channel->filter == NULL || filter_run(channel->filter, bytes, captured, length) != 0;
}

/* channel.c: the filter and its lock. -1 when there is no memory. */
int channel_open_filter(channel_t *channel, const filter_t *filter);
void channel_close_filter(channel_t *channel);
int channel_change_filter(channel_t *channel, const filter_t *filter, failure_t *failure);

/* Drops what the filter refuses from a block that was received before the filter was changed. */
void channel_refilter(channel_t *channel, block_t *block);

#endif
