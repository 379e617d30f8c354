#include "backend/operation.h"

#include "backend/linux.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/control_code.h"
#include "core/winsock_errors.h"

/* How long a closed socket may go unnoticed. */
#define LOOK_INTERVAL_NS (50 * 1000000LL)

/* Control operations are done at once on Linux, but for the one that waits for a change of the
 * machine's addresses: rtnetlink(7) announces it. */
struct operation {
    pthread_mutex_t lock; /* guards done, result and failure */
    bool done;
    int result;
    failure_t failure;
    waker_t ended;  /* set when it is done */
    int netlink;    /* -1 if it is no wait for a change of addresses */
    int descriptor; /* of the socket that it is for, */
    ino_t inode;    /* which is this one */
    pid_t thread;   /* that started it */
    size_t size;
    uint8_t output[];
};

static void
finish(operation_t *self, int result)
{
    self->done = true;
    self->result = result;
    waker_set(self->ended);
}

/* C6: no call tells that the socket was closed or that the thread ended. */
static bool
is_abandoned(const operation_t *self)
{
    struct stat status;
    return fstat(self->descriptor, &status) < 0 || status.st_ino != self->inode ||
           (syscall(SYS_tgkill, getpid(), self->thread, 0) < 0 && errno == ESRCH);
}

static int
abort_operation(operation_t *self, const char *hint)
{
    return fail(&self->failure, "WSAIoctl(SIO_ADDRESS_LIST_CHANGE)", WINSOCK_WSA_OPERATION_ABORTED,
                hint);
}

/* Sees what became of a wait for a change of addresses; with the lock held. */
static void
look(operation_t *self)
{
    struct pollfd change = {.fd = self->netlink, .events = POLLIN};
    if (self->done || self->netlink < 0) {
        return;
    }
    if (poll(&change, 1, 0) > 0) {
        finish(self, 0);
    } else if (is_abandoned(self)) {
        finish(self, abort_operation(self, "its socket was closed, or the thread that started it "
                                           "has ended"));
    }
}

static int
watch_addresses(operation_t *self, intptr_t descriptor, failure_t *failure)
{
    const char *call = "WSAIoctl(SIO_ADDRESS_LIST_CHANGE)";
    struct stat status;
    int family;
    socklen_t size = sizeof family;
    errno = EBADF;
    if (descriptor < 0 || descriptor > INT32_MAX ||
        getsockopt((int)descriptor, SOL_SOCKET, SO_DOMAIN, &family, &size) < 0 ||
        fstat((int)descriptor, &status) < 0) {
        return linux_fail(failure, call);
    }
    if (family != AF_INET && family != AF_INET6) {
        return fail(failure, call, WINSOCK_WSAEINVAL,
                    "the socket must be one of AF_INET or AF_INET6");
    }
    self->descriptor = (int)descriptor;
    self->inode = status.st_ino;
    self->thread = (pid_t)syscall(SYS_gettid);
    self->netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    const struct sockaddr_nl address = {
        .nl_family = AF_NETLINK,
        .nl_groups = family == AF_INET ? RTMGRP_IPV4_IFADDR : RTMGRP_IPV6_IFADDR,
    };
    if (self->netlink < 0 ||
        bind(self->netlink, (const struct sockaddr *)&address, sizeof address) < 0) {
        return linux_fail(failure, "socket(NETLINK_ROUTE)");
    }
    return 0;
}

static operation_t *
new_operation(size_t output_size, failure_t *failure)
{
    operation_t *self = calloc(1, sizeof *self + output_size);
    if (self == NULL) {
        linux_fail(failure, "malloc");
        return NULL;
    }
    self->netlink = -1;
    pthread_mutex_init(&self->lock, NULL);
    if (waker_open(&self->ended, failure) < 0) {
        self->ended = -1;
        operation_free(self);
        return NULL;
    }
    return self;
}

operation_t *
operation_start_done(const void *output, size_t size, failure_t *failure)
{
    operation_t *self = new_operation(size, failure);
    if (self != NULL) {
        memcpy(self->output, output, size);
        self->size = size;
        finish(self, 0);
    }
    return self;
}

operation_t *
operation_start(intptr_t descriptor, uint32_t code, const void *input, size_t input_size,
                size_t output_size, failure_t *failure)
{
    operation_t *self = new_operation(output_size, failure);
    if (self == NULL) {
        return NULL;
    }
    int result;
    if (code == (uint32_t)CODE_SIO_ADDRESS_LIST_CHANGE) {
        result = watch_addresses(self, descriptor, failure);
    } else {
        result = platform_control(descriptor, code, input, input_size, self->output, output_size,
                                  &self->size, failure);
        finish(self, 0);
    }
    if (result < 0) {
        operation_free(self);
        return NULL;
    }
    return self;
}

enum operation_outcome
operation_wait(operation_t *self, int64_t deadline_ns)
{
    for (;;) {
        pthread_mutex_lock(&self->lock);
        look(self);
        bool done = self->done;
        pthread_mutex_unlock(&self->lock);
        int64_t now = platform_now_ns();
        if (done || now >= deadline_ns) {
            return done ? OPERATION_DONE : OPERATION_PENDING;
        }
        struct pollfd events[] = {
            {.fd = (int)self->ended, .events = POLLIN},
            {.fd = self->netlink, .events = POLLIN},
        };
        bool is_slice = deadline_ns - now > LOOK_INTERVAL_NS;
        if (poll(events, 2, linux_wait_ms(is_slice ? now + LOOK_INTERVAL_NS : deadline_ns)) < 0) {
            return OPERATION_INTERRUPTED;
        }
    }
}

int
operation_result(const operation_t *self, const void **output, size_t *size, failure_t *failure)
{
    *output = self->output;
    *size = self->size;
    *failure = self->failure;
    return self->result;
}

void
operation_cancel(operation_t *self)
{
    pthread_mutex_lock(&self->lock);
    look(self);
    if (!self->done) {
        finish(self, abort_operation(self, "the operation was cancelled"));
    }
    pthread_mutex_unlock(&self->lock);
}

void
operation_free(operation_t *self)
{
    if (self->netlink >= 0) {
        close(self->netlink);
    }
    if (self->ended >= 0) {
        waker_close(self->ended);
    }
    pthread_mutex_destroy(&self->lock);
    free(self);
}
