/* What the Windows files of the backend floor share. */
#ifndef WINSOCKCTL_WINDOWS_H
#define WINSOCKCTL_WINDOWS_H

#include <winsock2.h>
#include <ws2tcpip.h>
#include <mswsock.h>
#include <windows.h>

#include "backend/backend.h"
#include "backend/platform.h"

/* Takes the number from WSAGetLastError or GetLastError. Always -1. */
int windows_fail(failure_t *failure, const char *call, DWORD error);

/* The same for a control code that the system refused. */
int windows_fail_control(failure_t *failure, uint32_t code, DWORD error);

/* Winsock is started once for the process. */
int windows_start(failure_t *failure);

/* C2: a handle that is no socket is told as WSAENOTSOCK by getsockopt, whatever the control code
 * would make of it. 0 or -1. */
int windows_check_socket(SOCKET socket, uint32_t code, failure_t *failure);

/* Milliseconds from now to the deadline, rounded up; INFINITE for ever. */
DWORD windows_wait_ms(int64_t deadline_ns);

/* What Windows accepts and the contract does not. */
int windows_check_control(SOCKET socket, uint32_t code, failure_t *failure);

extern const backend_t winsock_backend;

#endif
