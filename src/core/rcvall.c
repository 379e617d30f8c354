#include "core/rcvall.h"

#include <string.h>

#include "core/winsock_errors.h"

int
rcvall_check_bind(const rcvall_t *state, failure_t *failure)
{
    if (state->mode != MODE_OFF) { /* R13 */
        return fail(failure, "bind", WINSOCK_WSAEINVAL,
                    "the socket is capturing: set RcvAll.OFF first, then bind anew");
    }
    return 0;
}

int
rcvall_check_control(const rcvall_t *state, const void *input, size_t input_size, uint32_t *mode,
                     failure_t *failure)
{
    uint32_t value;
    if (input_size < sizeof value) { /* R1 */
        return fail(failure, SIO_RCVALL_CALL, WINSOCK_WSAEINVAL,
                    "the input is a 32-bit RcvAll value, four bytes");
    }
    memcpy(&value, input, sizeof value);
    if (value > MODE_IPLEVEL) { /* R1 */
        return fail(failure, SIO_RCVALL_CALL, WINSOCK_WSAEINVAL,
                    "the value must be one of RcvAll: 0, 1, 2 or 3");
    }
    if (!state->bound) { /* R3 */
        return fail(failure, SIO_RCVALL_CALL, WINSOCK_WSAEINVAL,
                    "bind the socket to a local address or an interface first");
    }
    *mode = value == MODE_SOCKETLEVELONLY ? state->mode : value; /* R6 */
    return 0;
}
