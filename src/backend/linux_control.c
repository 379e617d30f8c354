/* Winsock control codes on the sockets of Linux: the ones that have an equal here. */
#include "backend/linux.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "core/winsock_errors.h"

typedef struct {
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
    const char *call = "WSAIoctl(FIONREAD)";
    int waiting;
    if (request->output_size < sizeof waiting) { /* C8 */
        return fail(request->failure, call, WINSOCK_WSAEFAULT, "the output takes four bytes");
    }
    if (ioctl(request->descriptor, FIONREAD, &waiting) < 0) {
        return linux_fail(request->failure, call);
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
    const char *call = "WSAIoctl(SIO_KEEPALIVE_VALS)";
    struct {
        uint32_t on, idle_ms, interval_ms;
    } values;
    if (request->input_size < sizeof values) {
        return fail(request->failure, call, WINSOCK_WSAEFAULT,
                    "the input is a tcp_keepalive, three 32-bit numbers");
    }
    memcpy(&values, request->input, sizeof values);
    if (request->protocol != IPPROTO_TCP) {
        return fail(request->failure, call, WINSOCK_WSAEINVAL, "the socket must be a TCP socket");
    }
    int fd = request->descriptor;
    if ((values.on &&
         (set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds_of(values.idle_ms)) < 0 ||
          set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, seconds_of(values.interval_ms)) < 0)) ||
        set_option(fd, SOL_SOCKET, SO_KEEPALIVE, values.on != 0) < 0) {
        return linux_fail(request->failure, call);
    }
    return 0;
}

static int
control_loopback_fast_path(const request_t *request)
{
    const char *call = "WSAIoctl(SIO_LOOPBACK_FAST_PATH)";
    if (request->input_size < sizeof(uint32_t)) { /* F1 */
        return fail(request->failure, call, WINSOCK_WSAEINVAL,
                    "the input is one Boolean of four bytes");
    }
    if (request->output_size != 0) { /* F1 */
        return fail(request->failure, call, WINSOCK_WSAEINVAL,
                    "there is no output: ask for 0 bytes");
    }
    if (request->type != SOCK_STREAM || request->protocol != IPPROTO_TCP) { /* F2 */
        return fail(request->failure, call, WINSOCK_WSAEINVAL, "the socket must be a TCP socket");
    }
    return fail(request->failure, call, WINSOCK_WSAEOPNOTSUPP, /* F6 */
                "Linux has no loopback fast path and needs none");
}

/* The codes that contract and package know by name. A code without a function is known, but
 * nothing on Linux is its equal (C3). */
static const struct {
    uint32_t code;
    const char *call;
    int (*control)(const request_t *);
} codes[] = {
    {SIO_RCVALL_CODE, SIO_RCVALL_CALL, control_rcvall},
    {0x98000002, "WSAIoctl(SIO_RCVALL_MCAST)", NULL},
    {0x98000003, "WSAIoctl(SIO_RCVALL_IGMPMCAST)", NULL},
    {0x98000004, "WSAIoctl(SIO_KEEPALIVE_VALS)", control_keepalive},
    {0x9800000C, "WSAIoctl(SIO_UDP_CONNRESET)", NULL},
    {0x9800000F, "WSAIoctl(SIO_UDP_NETRESET)", NULL},
    {0x98000010, "WSAIoctl(SIO_LOOPBACK_FAST_PATH)", control_loopback_fast_path},
    {0x98000011, "WSAIoctl(SIO_TCP_INITIAL_RTO)", NULL},
    {0x98000015, "WSAIoctl(SIO_CPU_AFFINITY)", NULL},
    {0x98000018, "WSAIoctl(SIO_SET_PRIORITY_HINT)", NULL},
    {0x98000064, "WSAIoctl(SIO_ACQUIRE_PORT_RESERVATION)", NULL},
    {0x98000065, "WSAIoctl(SIO_RELEASE_PORT_RESERVATION)", NULL},
    {0x98000066, "WSAIoctl(SIO_ASSOCIATE_PORT_RESERVATION)", NULL},
    {0x980000EA, "WSAIoctl(SIO_GET_TX_TIMESTAMP)", NULL},
    {0x980000EB, "WSAIoctl(SIO_TIMESTAMPING)", NULL},
    {0x9800012C, "WSAIoctl(SIO_SET_COMPATIBILITY_MODE)", NULL},
    {0xD8000027, "WSAIoctl(SIO_TCP_INFO)", NULL},
    {0xC8000006, "WSAIoctl(SIO_GET_EXTENSION_FUNCTION_POINTER)", NULL},
    {0xC8000014, "WSAIoctl(SIO_ROUTING_INTERFACE_QUERY)", NULL},
    {0x48000016, "WSAIoctl(SIO_ADDRESS_LIST_QUERY)", NULL},
    {0x28000017, "WSAIoctl(SIO_ADDRESS_LIST_CHANGE)", NULL},
    {0x48000022, "WSAIoctl(SIO_BASE_HANDLE)", NULL},
    {0x48000025, "WSAIoctl(SIO_QUERY_RSS_PROCESSOR_INFO)", NULL},
    {0x4004747F, "WSAIoctl(SIO_GET_INTERFACE_LIST)", NULL},
    {0x4004747B, "WSAIoctl(SIO_IDEAL_SEND_BACKLOG_QUERY)", NULL},
    {0x2000747A, "WSAIoctl(SIO_IDEAL_SEND_BACKLOG_CHANGE)", NULL},
    {0x4004667F, "WSAIoctl(FIONREAD)", control_fionread},
};

int
platform_control(intptr_t descriptor, uint32_t code, const void *input, size_t input_size,
                 void *output, size_t output_size, size_t *returned, failure_t *failure)
{
    request_t request = {
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
        if (codes[i].code != code) {
            continue;
        }
        if (codes[i].control == NULL) {
            return fail(failure, codes[i].call, WINSOCK_WSAEOPNOTSUPP,
                        "Linux carries no equal of this control code");
        }
        return codes[i].control(&request);
    }
    return fail(failure, "WSAIoctl", WINSOCK_WSAEINVAL,
                "the control code is unknown: winsockctl.ControlCode lists the known ones");
}
