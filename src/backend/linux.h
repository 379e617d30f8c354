/* What the Linux files of the backend floor share. */
#ifndef WINSOCKCTL_LINUX_H
#define WINSOCKCTL_LINUX_H

#include "backend/backend.h"
#include "backend/platform.h"

/* Reads errno first. Always -1. */
int linux_fail(failure_t *failure, const char *call);

/* R3: which interface is meant. */
int linux_resolve(const interface_choice_t *choice, enum ip_family family, uint32_t *index,
                  bool *loopback, failure_t *failure);

/* Milliseconds from now to the deadline for poll(2) and epoll_wait(2), rounded up; -1 for ever. */
int linux_wait_ms(int64_t deadline_ns);

extern const backend_t packet_ring_backend;
extern const backend_t packet_message_backend;

#endif
