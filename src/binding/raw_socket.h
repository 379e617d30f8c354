/* RawSocket: the three calls by hand, over whichever backend.
 *
 * receive_lock is held by the thread that is inside the backend's receive(), or with `waited`,
 * control_lock by the one inside bind(), control(), set_filter() or dropped(), or with `leftover`;
 * both without the GIL. `channel` may be used under either lock; close() takes both and sets it to
 * NULL. `mode` and `dropped` are written under control_lock. All other members need the GIL,
 * or the critical section (guarded.h).
 */
#ifndef WINSOCKCTL_RAW_SOCKET_H
#define WINSOCKCTL_RAW_SOCKET_H

#include "binding/binding.h"

typedef struct RawSocket {
    PyObject_HEAD
    channel_t *channel;
    PyThread_type_lock receive_lock;
    PyThread_type_lock control_lock;
    block_t *leftover; /* given back by who wanted no more of them; they come first next time */
    block_t *waited;   /* received by wait(), for the next receive() */
    const backend_t *backend;
    enum ip_family family;
    uint64_t buffer_size;
    intptr_t descriptor; /* -1 when closed, and where there is none */
    uint32_t mode;
    bool closing;
    bool ended;
    uint64_t filter_changes;
    uint64_t received;
    uint64_t truncated;
    uint64_t bytes;
    int64_t dropped; /* as of the last time that the backend was asked */
    PyObject *weak_references;
} RawSocket;

/* raw_socket_receive.c */
extern const char raw_socket_receive_doc[];
PyObject *raw_socket_receive(RawSocket *self, PyObject *args, PyObject *kwargs);
extern const char raw_socket_wait_doc[];
PyObject *raw_socket_wait(RawSocket *self, PyObject *args, PyObject *kwargs);

/* Without the GIL, as the backend's receive(). What of the block is not used is to be given back;
 * without a place for it the block is kept for the next call. */
enum receive_outcome raw_socket_fetch(RawSocket *self, int64_t deadline_ns, block_t **block,
                                      failure_t *failure);
void raw_socket_give_back(RawSocket *self, block_t *block);

/* Without the GIL: asks the backend; -1 where it is not known. */
int64_t raw_socket_dropped(RawSocket *self);

/* With the GIL: counts what was handed to the program. */
void raw_socket_count(RawSocket *self, const block_t *block);

/* With the GIL: false with an exception for an outcome that is a failure, or for a signal. */
bool raw_socket_check(RawSocket *self, enum receive_outcome outcome, const failure_t *failure);

int raw_socket_fail_closed(const char *call, failure_t *failure);

#endif
