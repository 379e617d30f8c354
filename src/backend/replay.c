/* Datagrams from memory, and errors on demand: the contract without a network or a privilege. */
#include "backend/backend.h"
#include "backend/platform.h"

#include <stdlib.h>

#include "core/control_code.h"
#include "core/winsock_errors.h"

static const char on_demand[] = "the replay was told to fail here";

typedef struct {
    channel_t channel;
    waker_t wake;
    replay_source_t source;
    size_t next; /* block */
} replay_t;

static channel_t *
replay_open(const channel_options_t *options, failure_t *failure)
{
    if (options->replay->faults.socket != 0) {
        fail(failure, "socket", options->replay->faults.socket, on_demand);
        return NULL;
    }
    replay_t *self = calloc(1, sizeof *self);
    if (self == NULL) {
        fail(failure, "malloc", WINSOCK_WSAENOBUFS, "");
        return NULL;
    }
    self->channel = (channel_t){.backend = &replay_backend, .family = options->family};
    if (channel_open_filter(&self->channel, options->filter) < 0) {
        channel_close_filter(&self->channel);
        free(self);
        fail(failure, "malloc", WINSOCK_WSAENOBUFS, "");
        return NULL;
    }
    if (waker_open(&self->wake, failure) < 0) {
        channel_close_filter(&self->channel);
        free(self);
        return NULL;
    }
    self->source = *options->replay;
    for (size_t i = 0; i < self->source.count; i++) {
        self->channel.buffer_size += self->source.blocks[i]->size;
    }
    return &self->channel;
}

static int
replay_bind(channel_t *channel, const interface_choice_t *where, failure_t *failure)
{
    const replay_t *self = (const replay_t *)channel;
    if (rcvall_check_bind(&channel->rcvall, failure) < 0) {
        return -1;
    }
    if (where->text != NULL) {
        address_t address = platform_parse_address(where->text);
        if (interface_check_address(&address, channel->family, failure) < 0) {
            return -1;
        }
    }
    if (self->source.faults.bind != 0) {
        return fail(failure, "bind", self->source.faults.bind, on_demand);
    }
    channel->rcvall.bound = true;
    return 0;
}

static int
replay_control(channel_t *channel, uint32_t code, const void *input, size_t input_size,
               void *output, size_t output_size, size_t *returned, failure_t *failure)
{
    const replay_t *self = (const replay_t *)channel;
    (void)output;
    (void)output_size;
    *returned = 0;
    if (code != (uint32_t)CODE_SIO_RCVALL) {
        return fail(failure, "WSAIoctl", WINSOCK_WSAEINVAL, "a replay carries SIO_RCVALL only");
    }
    uint32_t mode;
    if (rcvall_check_control(&channel->rcvall, input, input_size, &mode, failure) < 0) {
        return -1;
    }
    if (self->source.faults.control != 0) {
        return fail(failure, SIO_RCVALL_CALL, self->source.faults.control, on_demand);
    }
    channel->rcvall.mode = mode;
    return 0;
}

/* R5, R8 */
static bool
lets_through(const void *context, const block_t *block, const record_t *record)
{
    const channel_t *channel = context;
    if (channel->family != FAMILY_ANY && record->version != (uint8_t)channel->family) {
        return false;
    }
    if (record->direction == DIRECTION_OTHER && channel->rcvall.mode != MODE_ON) {
        return false;
    }
    return channel_wants(channel, block->bytes + record->offset, record->length,
                         record->original_length);
}

static enum receive_outcome
replay_receive(channel_t *channel, int64_t deadline_ns, block_t **block, failure_t *failure)
{
    replay_t *self = (replay_t *)channel;
    bool on = channel->rcvall.mode != MODE_OFF; /* R7 */
    while (on && self->next < self->source.count) {
        block_t *next = self->source.blocks[self->next];
        self->source.blocks[self->next++] = NULL;
        lock_take(channel->filter_lock);
        block_select(next, lets_through, channel);
        lock_release(channel->filter_lock);
        if (next->count > 0) {
            *block = next;
            return RECEIVE_BLOCK;
        }
        next->release(next);
    }
    if (on && self->source.faults.receive != 0) {
        return (enum receive_outcome)fail(failure, "receive", self->source.faults.receive,
                                          on_demand);
    }
    if (on && !self->source.wait) {
        return RECEIVE_ENDED;
    }
    switch (waker_wait(self->wake, deadline_ns)) {
    case WAKER_SET:
        return RECEIVE_WOKEN;
    case WAKER_INTERRUPTED:
        return RECEIVE_INTERRUPTED;
    default:
        return RECEIVE_TIMED_OUT;
    }
}

static void
replay_wake(channel_t *channel)
{
    waker_set(((replay_t *)channel)->wake);
}

static int64_t
replay_dropped(channel_t *channel)
{
    (void)channel;
    return 0;
}

static intptr_t
replay_descriptor(const channel_t *channel)
{
    (void)channel;
    return -1;
}

static void
replay_close(channel_t *channel)
{
    replay_t *self = (replay_t *)channel;
    for (size_t i = self->next; i < self->source.count; i++) {
        self->source.blocks[i]->release(self->source.blocks[i]);
    }
    free(self->source.blocks);
    waker_close(self->wake);
    channel_close_filter(channel);
    free(self);
}

const backend_t replay_backend = {
    .name = "replay",
    .open = replay_open,
    .bind = replay_bind,
    .control = replay_control,
    .set_filter = channel_change_filter,
    .receive = replay_receive,
    .wake = replay_wake,
    .dropped = replay_dropped,
    .descriptor = replay_descriptor,
    .close = replay_close,
};
