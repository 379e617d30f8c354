/* What went wrong, carried from the place that saw it to the exception that tells it. */
#ifndef WINSOCKCTL_FAILURE_H
#define WINSOCKCTL_FAILURE_H

typedef struct {
    int code; /* Winsock number (enum winsock_error); 0 for a failure of a file, not a socket */
    int system_error; /* the system's own number (errno, GetLastError) */
    const char *call; /* static text: the call that failed, as "WSAIoctl(SIO_RCVALL)" */
    const char *hint; /* static text: one sentence that says what to do, or "" */
} failure_t;

/* Always -1, so that a caller can write: return fail(...). */
static inline int
fail(failure_t *failure, const char *call, int code, const char *hint)
{
    *failure = (failure_t){.code = code, .call = call, .hint = hint};
    return -1;
}

#endif
