/* Receiving: RawSocket.receive and wait, and what a recorder takes without a Python object. */
#include "binding/raw_socket.h"

#include "core/winsock_errors.h"

#define NANOSECONDS_PER_MICROSECOND 1000

/* The first of them whose datagrams the filter still wants; the others are dropped. */
static block_t *
first_wanted(RawSocket *self, block_t **kept)
{
    while (*kept != NULL) {
        block_t *block = *kept;
        channel_refilter(self->channel, block);
        if (block->count > 0) {
            return block;
        }
        *kept = block->next;
        block->release(block);
    }
    return NULL;
}

/* Whether there is a block that need not be received; it is taken if there is a place for it. The
 * receive lock is held. */
static bool
take_kept(RawSocket *self, block_t **block)
{
    PyThread_acquire_lock(self->control_lock, WAIT_LOCK);
    block_t **kept = &self->leftover;
    block_t *first = first_wanted(self, kept);
    if (first == NULL) {
        kept = &self->waited;
        first = first_wanted(self, kept);
    }
    if (first != NULL && block != NULL) {
        *kept = first->next;
        first->next = NULL;
        *block = first;
    }
    PyThread_release_lock(self->control_lock);
    return first != NULL;
}

/* A wait for another thread's receive() counts against the deadline. */
enum receive_outcome
raw_socket_fetch(RawSocket *self, int64_t deadline_ns, block_t **block, failure_t *failure)
{
    PY_TIMEOUT_T patience = -1; /* microseconds, for ever */
    if (deadline_ns != INT64_MAX) {
        int64_t rest = deadline_ns - platform_now_ns();
        patience = rest > 0 ? rest / NANOSECONDS_PER_MICROSECOND : 0;
    }
    switch (PyThread_acquire_lock_timed(self->receive_lock, patience, 1)) {
    case PY_LOCK_FAILURE:
        return RECEIVE_TIMED_OUT;
    case PY_LOCK_INTR:
        return RECEIVE_INTERRUPTED;
    case PY_LOCK_ACQUIRED:
        break;
    }
    enum receive_outcome outcome = RECEIVE_WOKEN;
    if (self->channel != NULL) {
        block_t **place = block != NULL ? block : &self->waited;
        outcome = take_kept(self, block)
                      ? RECEIVE_BLOCK
                      : self->backend->receive(self->channel, deadline_ns, place, failure);
    }
    PyThread_release_lock(self->receive_lock);
    return outcome;
}

void
raw_socket_give_back(RawSocket *self, block_t *block)
{
    PyThread_acquire_lock(self->control_lock, WAIT_LOCK);
    if (block->count > 0 && self->channel != NULL) {
        block->next = self->leftover;
        self->leftover = block;
        block = NULL;
    }
    PyThread_release_lock(self->control_lock);
    if (block != NULL) {
        block->release(block);
    }
}

int64_t
raw_socket_dropped(RawSocket *self)
{
    PyThread_acquire_lock(self->control_lock, WAIT_LOCK);
    if (self->channel != NULL) {
        self->dropped = self->backend->dropped(self->channel);
    }
    int64_t dropped = self->dropped;
    PyThread_release_lock(self->control_lock);
    return dropped;
}

/* Without the GIL: what a filter that was changed meanwhile still wants. */
static void
refilter(RawSocket *self, block_t *block)
{
    PyThread_acquire_lock(self->control_lock, WAIT_LOCK);
    if (self->channel != NULL) {
        channel_refilter(self->channel, block);
    }
    PyThread_release_lock(self->control_lock);
}

void
raw_socket_count(RawSocket *self, const block_t *block)
{
    self->received += block->count;
    self->truncated += block->truncated;
    self->bytes += block->datagram_bytes;
}

bool
raw_socket_check(RawSocket *self, enum receive_outcome outcome, const failure_t *failure)
{
    module_state_t *state = state_of((PyObject *)self);
    failure_t closed;
    switch (outcome) {
    case RECEIVE_INTERRUPTED:
        return PyErr_CheckSignals() == 0;
    case RECEIVE_WOKEN:
        fail(&closed, "receive", WINSOCK_WSAEINTR, "the socket was closed meanwhile");
        raise_failure(state, &closed);
        return false;
    case RECEIVE_FAILED:
        raise_failure(state, failure);
        return false;
    case RECEIVE_ENDED:
        self->ended = true;
        return true;
    default:
        return true;
    }
}

static bool
check_open(RawSocket *self)
{
    failure_t failure;
    if (self->closing) {
        raw_socket_fail_closed("receive", &failure);
        raise_failure(state_of((PyObject *)self), &failure);
    }
    return !self->closing;
}

/* RECEIVE_INTERRUPTED also if it is time to look for signals. */
static enum receive_outcome
fetch_or_pause(RawSocket *self, int64_t deadline_ns, block_t **block, failure_t *failure)
{
    enum receive_outcome outcome;
    int64_t slice_ns = platform_now_ns() + platform_signal_interval_ns;
    bool is_slice = slice_ns < deadline_ns;
    Py_BEGIN_ALLOW_THREADS
    outcome = raw_socket_fetch(self, is_slice ? slice_ns : deadline_ns, block, failure);
    Py_END_ALLOW_THREADS
    return outcome == RECEIVE_TIMED_OUT && is_slice ? RECEIVE_INTERRUPTED : outcome;
}

/* Waits until there is something to tell: true with the batch filled or left empty, false with an
 * exception. */
static bool
receive_into(RawSocket *self, Batch *batch, int64_t deadline_ns)
{
    failure_t failure;
    if (!check_open(self)) {
        return false;
    }
    for (;;) {
        block_t *block = NULL;
        uint64_t changes = self->filter_changes;
        enum receive_outcome outcome = fetch_or_pause(self, deadline_ns, &block, &failure);
        /* Between the backend's look at the filter and now another thread may have changed it. */
        while (outcome == RECEIVE_BLOCK && changes != self->filter_changes) {
            changes = self->filter_changes;
            Py_BEGIN_ALLOW_THREADS
            refilter(self, block);
            Py_END_ALLOW_THREADS
        }
        if (outcome == RECEIVE_BLOCK && block->count > 0) {
            batch_adopt(batch, block);
            raw_socket_count(self, block);
            return true;
        }
        if (outcome == RECEIVE_BLOCK) {
            block->release(block);
            continue;
        }
        if (!raw_socket_check(self, outcome, &failure)) {
            return false;
        }
        if (outcome != RECEIVE_INTERRUPTED) {
            return true;
        }
    }
}

const char raw_socket_receive_doc[] = PyDoc_STR(
    "receive($self, /, timeout=None)\n--\n\n"
    "Wait for datagrams and return them as a ``Batch``; an empty one if none came in time\n"
    "or if there will be no more (``ended``).\n"
    "\n"
    "Args:\n"
    "    timeout: seconds; ``None`` waits for ever, 0 does not wait.\n"
    "\n"
    "Raises:\n"
    "    WinsockError: WSAENETDOWN when the interface went down or away, behind the last\n"
    "        datagram (contract R14); WSAENOTSOCK if the socket is closed; WSAEINTR if\n"
    "        another thread closes it meanwhile (R15).");

PyObject *
raw_socket_receive(RawSocket *self, PyObject *args, PyObject *kwargs)
{
    int64_t deadline_ns;
    if (parse_timeout(args, kwargs, "|O:receive", &deadline_ns) < 0) {
        return NULL;
    }
    Batch *batch = batch_new(state_of((PyObject *)self));
    if (batch != NULL && !receive_into(self, batch, deadline_ns)) {
        Py_CLEAR(batch);
    }
    return (PyObject *)batch;
}

const char raw_socket_wait_doc[] = PyDoc_STR(
    "wait($self, /, timeout=None)\n--\n\n"
    "Wait until ``receive()`` has something to tell: datagrams, the end, or a failure. What came\n"
    "stays with the socket until somebody receives it, so that nothing is lost.\n"
    "\n"
    "Args:\n"
    "    timeout: seconds; ``None`` waits for ever, 0 does not wait.\n"
    "\n"
    "Returns:\n"
    "    Whether there is something to tell; False if nothing came in time.\n"
    "\n"
    "Raises:\n"
    "    WinsockError: WSAENOTSOCK if the socket is closed; WSAEINTR if another thread closes it\n"
    "        meanwhile (contract R15).");

PyObject *
raw_socket_wait(RawSocket *self, PyObject *args, PyObject *kwargs)
{
    int64_t deadline_ns;
    failure_t failure;
    if (parse_timeout(args, kwargs, "|O:wait", &deadline_ns) < 0 || !check_open(self)) {
        return NULL;
    }
    for (;;) {
        enum receive_outcome outcome = fetch_or_pause(self, deadline_ns, NULL, &failure);
        if (outcome == RECEIVE_FAILED) { /* which receive() meets again */
            Py_RETURN_TRUE;
        }
        if (!raw_socket_check(self, outcome, &failure)) {
            return NULL;
        }
        if (outcome != RECEIVE_INTERRUPTED) {
            return PyBool_FromLong(outcome != RECEIVE_TIMED_OUT);
        }
    }
}
