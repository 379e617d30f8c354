/* A control operation that was started and not waited for (C4-C6): the overlapped WSAIoctl.
 *
 * The operation owns its buffers. It ends by itself, by operation_cancel, or by operation_free,
 * which cancels it and waits until the system no longer writes to them.
 */
#ifndef WINSOCKCTL_OPERATION_H
#define WINSOCKCTL_OPERATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/failure.h"

typedef struct operation operation_t;

enum operation_outcome {
    OPERATION_DONE,
    OPERATION_PENDING,     /* the deadline came first */
    OPERATION_INTERRUPTED, /* a signal came: look at it, then call again */
};

/* NULL with the failure if it could not be started. */
operation_t *operation_start(intptr_t descriptor, uint32_t code, const void *input,
                             size_t input_size, size_t output_size, failure_t *failure);

/* One that was done by other means, with its output. */
operation_t *operation_start_done(const void *output, size_t size, failure_t *failure);

/* Any number of threads may wait; deadline_ns by platform_now_ns(). */
enum operation_outcome operation_wait(operation_t *self, int64_t deadline_ns);

/* Of one that is done: the output and its size, or -1 with the failure. */
int operation_result(const operation_t *self, const void **output, size_t *size,
                     failure_t *failure);

/* WSA_OPERATION_ABORTED, unless it is done already. */
void operation_cancel(operation_t *self);

/* Nobody waits for it any more. */
void operation_free(operation_t *self);

#endif
