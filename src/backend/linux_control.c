/* Winsock control codes on the sockets of Linux: the ones that have an equal here. */
#include "backend/linux.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "core/control_code.h"
#include "core/winsock_errors.h"

typedef struct {
    const char *call; /* NULL for an unknown code */
    int descriptor;
    int type;     /* SOCK_* */
    int protocol; /* IPPROTO_* */
    const void *input;
    size_t input_size;
    void *output;
    size_t output_size;
    size_t *returned;
    failure_t *failure;
} request_t;

static const char only_own_sockets[] =
    "only a winsockctl.RawSocket can be told to receive everything on this system";

static int
control_rcvall(const request_t *request) /* R2 */
{
    return fail(request->failure, SIO_RCVALL_CALL, WINSOCK_WSAEINVAL, only_own_sockets);
}

static int
control_fionread(const request_t *request)
{
    int waiting;
    if (request->output_size < sizeof waiting) { /* C8 */
        return fail(request->failure, request->call, WINSOCK_WSAEFAULT,
                    "the output takes four bytes");
    }
    if (ioctl(request->descriptor, FIONREAD, &waiting) < 0) {
        return linux_fail(request->failure, request->call);
    }
    memcpy(request->output, &waiting, sizeof waiting);
    *request->returned = sizeof waiting;
    return 0;
}

static int
set_option(int descriptor, int level, int name, int value)
{
    return setsockopt(descriptor, level, name, &value, sizeof value);
}

/* Times come in milliseconds and are kept in whole seconds here, rounded up. */
static int
seconds_of(uint32_t milliseconds)
{
    return (int)(milliseconds / 1000 + (milliseconds % 1000 != 0));
}

static int
control_keepalive(const request_t *request)
{
    struct {
        uint32_t on, idle_ms, interval_ms;
    } values;
    if (request->input_size < sizeof values) {
        return fail(request->failure, request->call, WINSOCK_WSAEFAULT,
                    "the input is a tcp_keepalive, three 32-bit numbers");
    }
    memcpy(&values, request->input, sizeof values);
    if (request->protocol != IPPROTO_TCP) {
        return fail(request->failure, request->call, WINSOCK_WSAEINVAL,
                    "the socket must be a TCP socket");
    }
    int fd = request->descriptor;
    if ((values.on &&
         (set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds_of(values.idle_ms)) < 0 ||
          set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, seconds_of(values.interval_ms)) < 0)) ||
        set_option(fd, SOL_SOCKET, SO_KEEPALIVE, values.on != 0) < 0) {
        return linux_fail(request->failure, request->call);
    }
    return 0;
}

static int
control_loopback_fast_path(const request_t *request)
{
    if (request->input_size < sizeof(uint32_t)) { /* F1 */
        return fail(request->failure, request->call, WINSOCK_WSAEINVAL,
                    "the input is one Boolean of four bytes");
    }
    if (request->output_size != 0) { /* F1 */
        return fail(request->failure, request->call, WINSOCK_WSAEINVAL,
                    "there is no output: ask for 0 bytes");
    }
    if (request->type != SOCK_STREAM || request->protocol != IPPROTO_TCP) { /* F2 */
        return fail(request->failure, request->call, WINSOCK_WSAEINVAL,
                    "the socket must be a TCP socket");
    }
    struct sockaddr_storage peer;
    socklen_t size = sizeof peer;
    if (getpeername(request->descriptor, (struct sockaddr *)&peer, &size) == 0) { /* F4 */
        return fail(request->failure, request->call, WINSOCK_WSAEINVAL,
                    LOOPBACK_FAST_PATH_TOO_LATE);
    }
    return fail(request->failure, request->call, WINSOCK_WSAEOPNOTSUPP, /* F6 */
                "Linux has no loopback fast path and needs none");
}

/* The codes that have an equal on Linux. */
static const struct {
    enum control_code code;
    int (*control)(const request_t *);
} codes[] = {
    {CODE_SIO_RCVALL, control_rcvall},
    {CODE_SIO_KEEPALIVE_VALS, control_keepalive},
    {CODE_SIO_LOOPBACK_FAST_PATH, control_loopback_fast_path},
    {CODE_FIONREAD, control_fionread},
};

/* What a code without an equal in bytes is answered with: the function that does its work. */
static const char *
no_equal(uint32_t code)
{
#define INSTEAD(function) "Linux does not carry this control code; call " function " instead"
    switch ((enum control_code)code) {
    case CODE_SIO_TCP_INFO:
        return INSTEAD("winsockctl.tcp_info()");
    case CODE_SIO_ROUTING_INTERFACE_QUERY:
        return INSTEAD("winsockctl.routing_interface()");
    case CODE_SIO_ADDRESS_LIST_QUERY:
        return INSTEAD("winsockctl.address_list()");
    case CODE_SIO_ADDRESS_LIST_CHANGE:
        return INSTEAD("winsockctl.wait_address_list_change() or start_ioctl()");
    case CODE_SIO_BASE_HANDLE:
        return INSTEAD("winsockctl.base_handle()");
    case CODE_SIO_GET_INTERFACE_LIST:
        return INSTEAD("winsockctl.interface_list()");
    default:
        return "Linux does not carry this control code and has no equal";
    }
#undef INSTEAD
}

int
platform_control(intptr_t descriptor, uint32_t code, const void *input, size_t input_size,
                 void *output, size_t output_size, size_t *returned, failure_t *failure)
{
    request_t request = {
        .call = control_code_call(code),
        .descriptor = descriptor < 0 || descriptor > INT32_MAX ? -1 : (int)descriptor,
        .input = input,
        .input_size = input_size,
        .output = output,
        .output_size = output_size,
        .returned = returned,
        .failure = failure,
    };
    *returned = 0;
    socklen_t size = sizeof request.type;
    if (getsockopt(request.descriptor, SOL_SOCKET, SO_TYPE, &request.type, &size) < 0) { /* C2 */
        return linux_fail(failure, "WSAIoctl");
    }
    size = sizeof request.protocol;
    if (getsockopt(request.descriptor, SOL_SOCKET, SO_PROTOCOL, &request.protocol, &size) < 0) {
        return linux_fail(failure, "WSAIoctl");
    }
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        if (codes[i].code == (enum control_code)code) {
            return codes[i].control(&request);
        }
    }
    if (request.call != NULL) { /* C3 */
        return fail(failure, request.call, WINSOCK_WSAEOPNOTSUPP, no_equal(code));
    }
    return fail(failure, "WSAIoctl", WINSOCK_WSAEINVAL,
                "the control code is unknown: winsockctl.ControlCode lists the known ones");
}
