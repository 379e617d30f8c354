/* The filter of a channel, which is changed while another thread receives. */
#include "backend/backend.h"

#include <stdlib.h>

#include "core/winsock_errors.h"

int
channel_open_filter(channel_t *channel, const filter_t *filter)
{
    channel->filter_lock = lock_new();
    if (filter != NULL) {
        channel->filter = filter_new(filter->instructions, filter->count);
    }
    return channel->filter_lock == NULL || (filter != NULL && channel->filter == NULL) ? -1 : 0;
}

void
channel_close_filter(channel_t *channel)
{
    if (channel->filter_lock != NULL) {
        lock_free(channel->filter_lock);
    }
    free(channel->filter);
}

int
channel_change_filter(channel_t *channel, const filter_t *filter, failure_t *failure)
{
    filter_t *copy = filter == NULL ? NULL : filter_new(filter->instructions, filter->count);
    if (filter != NULL && copy == NULL) {
        return fail(failure, "malloc", WINSOCK_WSAENOBUFS, "");
    }
    lock_take(channel->filter_lock);
    filter_t *before = channel->filter;
    channel->filter = copy;
    lock_release(channel->filter_lock);
    free(before);
    return 0;
}

void
channel_refilter(channel_t *channel, block_t *block)
{
    lock_take(channel->filter_lock);
    block_filter(block, channel->filter);
    lock_release(channel->filter_lock);
}
