/* What the floors above need of the operating system apart from sockets that capture. */
#ifndef WINSOCKCTL_PLATFORM_H
#define WINSOCKCTL_PLATFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/failure.h"
#include "core/interface.h"

/* Monotonic. */
int64_t platform_now_ns(void);

/* How long a wait may last before the caller looks for signals by itself: here a signal does not
 * end the wait, or only if it comes during it. */
extern const int64_t platform_signal_interval_ns;

/* The number that errno would have for a Winsock error; 0 if there is none. */
int platform_errno(int winsock_error);

/* A waker stays set once it was set. Linux: an eventfd; Windows: an event. */
typedef intptr_t waker_t;

enum waker_outcome {
    WAKER_SET,
    WAKER_TIMED_OUT,
    WAKER_INTERRUPTED,
};

int waker_open(waker_t *waker, failure_t *failure);
void waker_set(waker_t waker);
enum waker_outcome waker_wait(waker_t waker, int64_t deadline_ns);
void waker_close(waker_t waker);

/* For moments only: nobody waits for anything else with it. NULL when there is no memory. */
typedef struct lock lock_t;

lock_t *lock_new(void);
void lock_take(lock_t *lock);
void lock_release(lock_t *lock);
void lock_free(lock_t *lock);

/* The interfaces by ascending index; the caller gives them back with interface_list_free. */
int platform_interfaces(interface_t **list, size_t *count, failure_t *failure);

/* Reads an address in its usual forms; any other text is of FAMILY_ANY. */
address_t platform_parse_address(const char *text);

/* WSAIoctl on a socket that is not ours, or for a code that is not the backend's own (C1-C3, C8).
 */
int platform_control(intptr_t descriptor, uint32_t code, const void *input, size_t input_size,
                     void *output, size_t output_size, size_t *returned, failure_t *failure);

#endif
