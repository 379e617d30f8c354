/* The Winsock control codes that have a name, on every platform.
 * https://learn.microsoft.com/windows/win32/winsock/winsock-ioctls
 */
#ifndef WINSOCKCTL_CONTROL_CODE_H
#define WINSOCKCTL_CONTROL_CODE_H

#include <stdint.h>

#define CONTROL_CODES(X)                                                                           \
    X(FIONREAD, 0x4004667F)                                                                        \
    X(SIO_RCVALL, 0x98000001)                                                                      \
    X(SIO_RCVALL_MCAST, 0x98000002)                                                                \
    X(SIO_RCVALL_IGMPMCAST, 0x98000003)                                                            \
    X(SIO_KEEPALIVE_VALS, 0x98000004)                                                              \
    X(SIO_UDP_CONNRESET, 0x9800000C)                                                               \
    X(SIO_RCVALL_IF, 0x9800000E)                                                                   \
    X(SIO_UDP_NETRESET, 0x9800000F)                                                                \
    X(SIO_LOOPBACK_FAST_PATH, 0x98000010)                                                          \
    X(SIO_TCP_INITIAL_RTO, 0x98000011)                                                             \
    X(SIO_CPU_AFFINITY, 0x98000015)                                                                \
    X(SIO_SET_PRIORITY_HINT, 0x98000018)                                                           \
    X(SIO_ACQUIRE_PORT_RESERVATION, 0x98000064)                                                    \
    X(SIO_RELEASE_PORT_RESERVATION, 0x98000065)                                                    \
    X(SIO_ASSOCIATE_PORT_RESERVATION, 0x98000066)                                                  \
    X(SIO_GET_TX_TIMESTAMP, 0x980000EA)                                                            \
    X(SIO_TIMESTAMPING, 0x980000EB)                                                                \
    X(SIO_SET_COMPATIBILITY_MODE, 0x9800012C)                                                      \
    X(SIO_TCP_INFO, 0xD8000027)                                                                    \
    X(SIO_GET_EXTENSION_FUNCTION_POINTER, 0xC8000006)                                              \
    X(SIO_ROUTING_INTERFACE_QUERY, 0xC8000014)                                                     \
    X(SIO_ADDRESS_LIST_QUERY, 0x48000016)                                                          \
    X(SIO_ADDRESS_LIST_CHANGE, 0x28000017)                                                         \
    X(SIO_BASE_HANDLE, 0x48000022)                                                                 \
    X(SIO_QUERY_RSS_PROCESSOR_INFO, 0x48000025)                                                    \
    X(SIO_GET_INTERFACE_LIST, 0x4004747F)                                                          \
    X(SIO_IDEAL_SEND_BACKLOG_QUERY, 0x4004747B)                                                    \
    X(SIO_IDEAL_SEND_BACKLOG_CHANGE, 0x2000747A)

/* The prefix keeps them apart from the macros of the systems' headers, which are pasted from a
 * parameter and so not expanded here. */
enum control_code {
#define X(name, number) CODE_##name = (int)number,
    CONTROL_CODES(X)
#undef X
};

/* "WSAIoctl(SIO_RCVALL)" for 0x98000001; NULL for a code without a name. */
const char *control_code_call(uint32_t code);

/* F4, which no system tells. */
#define LOOPBACK_FAST_PATH_TOO_LATE                                                                \
    "the socket is connected already: ask before connect() on the connecting socket and before "   \
    "accept() on the listening one"

#endif
