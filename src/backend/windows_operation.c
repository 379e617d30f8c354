#include "backend/operation.h"

#include "backend/windows.h"

#include <stdlib.h>
#include <string.h>

/* How long operation_free waits for an operation that the system does not know any more and that
 * has not been signalled; then the memory is left to it for ever. */
#define LAST_WAIT_MS 2000

struct operation {
    OVERLAPPED overlapped;
    SOCKET socket;
    HANDLE event;
    uint32_t code;
    size_t output_size;
    uint8_t *output;
    uint8_t input[];
};

static void
discard(operation_t *self)
{
    if (self->event != NULL) {
        CloseHandle(self->event);
    }
    free(self->output);
    free(self);
}

static operation_t *
new_operation(size_t input_size, size_t output_size, failure_t *failure)
{
    operation_t *self = calloc(1, sizeof *self + input_size);
    if (self != NULL) {
        self->output = calloc(1, output_size + 1);
        self->output_size = output_size;
        self->event = CreateEventW(NULL, TRUE, FALSE, NULL);
        if (self->output != NULL && self->event != NULL) {
            return self;
        }
        discard(self);
    }
    windows_fail(failure, "CreateEvent", ERROR_NOT_ENOUGH_MEMORY);
    return NULL;
}

static void
finish(operation_t *self, size_t size)
{
    self->overlapped.Internal = 0;
    self->overlapped.InternalHigh = size;
    SetEvent(self->event);
}

operation_t *
operation_start_done(const void *output, size_t size, failure_t *failure)
{
    operation_t *self = new_operation(0, size, failure);
    if (self != NULL) {
        memcpy(self->output, output, size);
        finish(self, size);
    }
    return self;
}

operation_t *
operation_start(intptr_t descriptor, uint32_t code, const void *input, size_t input_size,
                size_t output_size, failure_t *failure)
{
    if (windows_start(failure) < 0 || windows_check_socket((SOCKET)descriptor, code, failure) < 0 ||
        windows_check_control((SOCKET)descriptor, code, failure) < 0) {
        return NULL;
    }
    operation_t *self = new_operation(input_size, output_size, failure);
    if (self == NULL) {
        return NULL;
    }
    self->socket = (SOCKET)descriptor;
    self->code = code;
    if (input_size > 0) {
        memcpy(self->input, input, input_size);
    }
    /* The low bit keeps the completion off a port that the socket may be tied to (asyncio does):
     * https://learn.microsoft.com/windows/win32/api/ioapiset/nf-ioapiset-getqueuedcompletionstatus
     */
    self->overlapped.hEvent = (HANDLE)((uintptr_t)self->event | 1);
    DWORD returned = 0;
    if (WSAIoctl(self->socket, code, input_size == 0 ? NULL : self->input, (DWORD)input_size,
                 output_size == 0 ? NULL : self->output, (DWORD)output_size, &returned,
                 &self->overlapped, NULL) != 0) {
        DWORD error = (DWORD)WSAGetLastError();
        if (error != WSA_IO_PENDING) {
            windows_fail_control(failure, code, error);
            discard(self);
            return NULL;
        }
    } else {
        /* A socket without the overlapped attribute ignores the OVERLAPPED (C5). */
        finish(self, returned);
    }
    return self;
}

enum operation_outcome
operation_wait(operation_t *self, int64_t deadline_ns)
{
    return WaitForSingleObject(self->event, windows_wait_ms(deadline_ns)) == WAIT_OBJECT_0
               ? OPERATION_DONE
               : OPERATION_PENDING;
}

int
operation_result(const operation_t *self, const void **output, size_t *size, failure_t *failure)
{
    DWORD returned = 0, flags = 0;
    /* The status is in the OVERLAPPED: a socket that is closed meanwhile does not change it. */
    if (self->overlapped.Internal != 0) {
        OVERLAPPED overlapped = self->overlapped;
        DWORD error = WSA_OPERATION_ABORTED;
        if (!WSAGetOverlappedResult(self->socket, &overlapped, &returned, FALSE, &flags)) {
            error = (DWORD)WSAGetLastError();
        }
        /* Whoever closes the socket ends the operation (C6). */
        if (error == WSAENOTSOCK) {
            error = WSA_OPERATION_ABORTED;
        }
        return windows_fail_control(failure, self->code, error);
    }
    *output = self->output;
    *size = self->overlapped.InternalHigh < self->output_size ? self->overlapped.InternalHigh
                                                              : self->output_size;
    return 0;
}

void
operation_cancel(operation_t *self)
{
    if (WaitForSingleObject(self->event, 0) != WAIT_OBJECT_0) {
        CancelIoEx((HANDLE)self->socket, &self->overlapped);
    }
}

void
operation_free(operation_t *self)
{
    DWORD patience = INFINITE;
    if (WaitForSingleObject(self->event, 0) != WAIT_OBJECT_0 &&
        !CancelIoEx((HANDLE)self->socket, &self->overlapped)) {
        patience = LAST_WAIT_MS;
    }
    if (WaitForSingleObject(self->event, patience) == WAIT_OBJECT_0) {
        discard(self);
    }
}
