/* The Winsock error numbers of the contract (C7), on every platform.
 * https://learn.microsoft.com/windows/win32/winsock/windows-sockets-error-codes-2
 */
#ifndef WINSOCKCTL_WINSOCK_ERRORS_H
#define WINSOCKCTL_WINSOCK_ERRORS_H

#define WINSOCK_ERRORS(X)                                                                          \
    X(WSA_INVALID_HANDLE, 6)                                                                       \
    X(WSA_NOT_ENOUGH_MEMORY, 8)                                                                    \
    X(WSA_INVALID_PARAMETER, 87)                                                                   \
    X(WSA_OPERATION_ABORTED, 995)                                                                  \
    X(WSA_IO_INCOMPLETE, 996)                                                                      \
    X(WSA_IO_PENDING, 997)                                                                         \
    X(WSAEINTR, 10004)                                                                             \
    X(WSAEBADF, 10009)                                                                             \
    X(WSAEACCES, 10013)                                                                            \
    X(WSAEFAULT, 10014)                                                                            \
    X(WSAEINVAL, 10022)                                                                            \
    X(WSAEMFILE, 10024)                                                                            \
    X(WSAEWOULDBLOCK, 10035)                                                                       \
    X(WSAEINPROGRESS, 10036)                                                                       \
    X(WSAEALREADY, 10037)                                                                          \
    X(WSAENOTSOCK, 10038)                                                                          \
    X(WSAEDESTADDRREQ, 10039)                                                                      \
    X(WSAEMSGSIZE, 10040)                                                                          \
    X(WSAEPROTOTYPE, 10041)                                                                        \
    X(WSAENOPROTOOPT, 10042)                                                                       \
    X(WSAEPROTONOSUPPORT, 10043)                                                                   \
    X(WSAESOCKTNOSUPPORT, 10044)                                                                   \
    X(WSAEOPNOTSUPP, 10045)                                                                        \
    X(WSAEPFNOSUPPORT, 10046)                                                                      \
    X(WSAEAFNOSUPPORT, 10047)                                                                      \
    X(WSAEADDRINUSE, 10048)                                                                        \
    X(WSAEADDRNOTAVAIL, 10049)                                                                     \
    X(WSAENETDOWN, 10050)                                                                          \
    X(WSAENETUNREACH, 10051)                                                                       \
    X(WSAENETRESET, 10052)                                                                         \
    X(WSAECONNABORTED, 10053)                                                                      \
    X(WSAECONNRESET, 10054)                                                                        \
    X(WSAENOBUFS, 10055)                                                                           \
    X(WSAEISCONN, 10056)                                                                           \
    X(WSAENOTCONN, 10057)                                                                          \
    X(WSAESHUTDOWN, 10058)                                                                         \
    X(WSAETIMEDOUT, 10060)                                                                         \
    X(WSAECONNREFUSED, 10061)                                                                      \
    X(WSAEHOSTUNREACH, 10065)                                                                      \
    X(WSASYSNOTREADY, 10091)                                                                       \
    X(WSAVERNOTSUPPORTED, 10092)                                                                   \
    X(WSANOTINITIALISED, 10093)

/* The WINSOCK_ prefix keeps them apart from the system's own macros of these names. */
enum winsock_error {
#define X(name, number) WINSOCK_##name = number,
    WINSOCK_ERRORS(X)
#undef X
};

/* "WSAEINVAL" for 10022; "UNKNOWN" for a number that is not in the table. */
const char *winsock_error_symbol(int number);

#endif
