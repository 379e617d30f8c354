/* SIO_RCVALL as a state machine: what the contract says of the order of the three calls.
 * The backends that are not Winsock keep its rules with this. */
#ifndef WINSOCKCTL_RCVALL_H
#define WINSOCKCTL_RCVALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/failure.h"

#define SIO_RCVALL_CALL "WSAIoctl(SIO_RCVALL)"

/* The prefix keeps them apart from the RCVALL_VALUE of mstcpip.h. */
enum rcvall_mode {
    MODE_OFF = 0,
    MODE_ON = 1,
    MODE_SOCKETLEVELONLY = 2,
    MODE_IPLEVEL = 3,
};

typedef struct {
    bool bound;
    uint32_t mode;
} rcvall_t;

/* R13: whether the socket may be bound (anew) now. 0 or -1 with the failure. */
int rcvall_check_bind(const rcvall_t *state, failure_t *failure);

/* R1, R3, R6: reads the input of SIO_RCVALL. On 0 *mode is the mode to go to, which is the one
 * that the socket is in for a request without effect. */
int rcvall_check_control(const rcvall_t *state, const void *input, size_t input_size,
                         uint32_t *mode, failure_t *failure);

#endif
