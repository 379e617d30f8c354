#include "backend/linux.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "core/winsock_errors.h"

#define NANOSECONDS 1000000000
#define NANOSECONDS_PER_MS 1000000

/* EINTR ends a wait at once; this is for a signal that came just before it. */
const int64_t platform_signal_interval_ns = NANOSECONDS;

const backend_t *const platform_backends[] = {
    &packet_ring_backend,
    &packet_message_backend,
    &replay_backend,
    NULL,
};

static const struct {
    int system;
    int winsock;
} error_numbers[] = {
    {EINTR, WINSOCK_WSAEINTR},
    {EACCES, WINSOCK_WSAEACCES},
    {EFAULT, WINSOCK_WSAEFAULT},
    {EINVAL, WINSOCK_WSAEINVAL},
    {EMFILE, WINSOCK_WSAEMFILE},
    {EAGAIN, WINSOCK_WSAEWOULDBLOCK},
    {EINPROGRESS, WINSOCK_WSAEINPROGRESS},
    {EINPROGRESS, WINSOCK_WSA_IO_INCOMPLETE},
    {EALREADY, WINSOCK_WSAEALREADY},
    {ENOTSOCK, WINSOCK_WSAENOTSOCK},
    {EDESTADDRREQ, WINSOCK_WSAEDESTADDRREQ},
    {EMSGSIZE, WINSOCK_WSAEMSGSIZE},
    {EPROTOTYPE, WINSOCK_WSAEPROTOTYPE},
    {ENOPROTOOPT, WINSOCK_WSAENOPROTOOPT},
    {EPROTONOSUPPORT, WINSOCK_WSAEPROTONOSUPPORT},
    {ESOCKTNOSUPPORT, WINSOCK_WSAESOCKTNOSUPPORT},
    {EOPNOTSUPP, WINSOCK_WSAEOPNOTSUPP},
    {EPFNOSUPPORT, WINSOCK_WSAEPFNOSUPPORT},
    {EAFNOSUPPORT, WINSOCK_WSAEAFNOSUPPORT},
    {EADDRINUSE, WINSOCK_WSAEADDRINUSE},
    {EADDRNOTAVAIL, WINSOCK_WSAEADDRNOTAVAIL},
    {ENETDOWN, WINSOCK_WSAENETDOWN},
    {ENETUNREACH, WINSOCK_WSAENETUNREACH},
    {ENETRESET, WINSOCK_WSAENETRESET},
    {ECONNABORTED, WINSOCK_WSAECONNABORTED},
    {ECONNRESET, WINSOCK_WSAECONNRESET},
    {ENOBUFS, WINSOCK_WSAENOBUFS},
    {EISCONN, WINSOCK_WSAEISCONN},
    {ENOTCONN, WINSOCK_WSAENOTCONN},
    {ESHUTDOWN, WINSOCK_WSAESHUTDOWN},
    {ETIMEDOUT, WINSOCK_WSAETIMEDOUT},
    {ECONNREFUSED, WINSOCK_WSAECONNREFUSED},
    {EHOSTUNREACH, WINSOCK_WSAEHOSTUNREACH},
    {ECANCELED, WINSOCK_WSA_OPERATION_ABORTED},
    /* Behind the number that each of them is told by the other way round. */
    {EBADF, WINSOCK_WSAENOTSOCK},
    {EPERM, WINSOCK_WSAEACCES},
    {ENFILE, WINSOCK_WSAEMFILE},
    {ENODEV, WINSOCK_WSAENETDOWN}, /* R14: the interface is gone */
    {ENXIO, WINSOCK_WSAENETDOWN},
    {ENOMEM, WINSOCK_WSAENOBUFS},
    {EBADF, WINSOCK_WSAEBADF},
};

#define ERROR_NUMBERS (sizeof error_numbers / sizeof error_numbers[0])

int
platform_errno(int winsock_error)
{
    for (size_t i = 0; i < ERROR_NUMBERS; i++) {
        if (error_numbers[i].winsock == winsock_error) {
            return error_numbers[i].system;
        }
    }
    return 0;
}

static const char *
remedy(int winsock_error)
{
    switch (winsock_error) {
    case WINSOCK_WSAEACCES: /* R12 */
        return "capturing needs the capability CAP_NET_RAW: run the program as root (sudo), or "
               "grant it with: sudo setcap cap_net_raw+ep $(readlink -f PATH_OF_PYTHON)";
    case WINSOCK_WSAEMFILE:
        return "too many descriptors are open: close some, or raise the limit with ulimit -n";
    case WINSOCK_WSAENETDOWN:
        return "the interface is down or gone: 'winsockctl interfaces' lists those that are up";
    case WINSOCK_WSAENOBUFS:
        return "the system has no memory for it: ask for a smaller buffer_size";
    case WINSOCK_WSAENOTSOCK:
        return "the descriptor is closed or is no socket";
    default:
        return "";
    }
}

int
linux_fail(failure_t *failure, const char *call)
{
    int system = errno;
    int code = WINSOCK_WSAEINVAL;
    for (size_t i = 0; i < ERROR_NUMBERS; i++) {
        if (error_numbers[i].system == system) {
            code = error_numbers[i].winsock;
            break;
        }
    }
    fail(failure, call, code, remedy(code));
    failure->system_error = system;
    return -1;
}

int64_t
platform_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * NANOSECONDS + now.tv_nsec;
}

int
linux_wait_ms(int64_t deadline_ns)
{
    if (deadline_ns == INT64_MAX) {
        return -1;
    }
    int64_t rest = deadline_ns - platform_now_ns();
    if (rest <= 0) {
        return 0;
    }
    int64_t ms = rest / NANOSECONDS_PER_MS + (rest % NANOSECONDS_PER_MS != 0);
    return ms > INT32_MAX ? INT32_MAX : (int)ms;
}

int
waker_open(waker_t *waker, failure_t *failure)
{
    int descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (descriptor < 0) {
        return linux_fail(failure, "eventfd");
    }
    *waker = descriptor;
    return 0;
}

void
waker_set(waker_t waker)
{
    /* It can only fail with a full counter, and then the waker is set already. */
    (void)!write((int)waker, &(uint64_t){1}, sizeof(uint64_t));
}

enum waker_outcome
waker_wait(waker_t waker, int64_t deadline_ns)
{
    for (;;) {
        struct pollfd wanted = {.fd = (int)waker, .events = POLLIN};
        int ready = poll(&wanted, 1, linux_wait_ms(deadline_ns));
        if (ready != 0) {
            return ready > 0 ? WAKER_SET : WAKER_INTERRUPTED;
        }
        if (platform_now_ns() >= deadline_ns) {
            return WAKER_TIMED_OUT;
        }
    }
}

void
waker_close(waker_t waker)
{
    close((int)waker);
}

struct lock {
    pthread_mutex_t mutex;
};

lock_t *
lock_new(void)
{
    lock_t *lock = malloc(sizeof *lock);
    if (lock != NULL && pthread_mutex_init(&lock->mutex, NULL) != 0) {
        free(lock);
        return NULL;
    }
    return lock;
}

void
lock_take(lock_t *lock)
{
    pthread_mutex_lock(&lock->mutex);
}

void
lock_release(lock_t *lock)
{
    pthread_mutex_unlock(&lock->mutex);
}

void
lock_free(lock_t *lock)
{
    pthread_mutex_destroy(&lock->mutex);
    free(lock);
}

static interface_t *
find_interface(interface_t *list, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i].name, name) == 0) {
            return &list[i];
        }
    }
    return NULL;
}

static int
add_address(interface_t *interface, const struct sockaddr *address)
{
    const void *bytes = address->sa_family == AF_INET
                            ? (const void *)&((const struct sockaddr_in *)address)->sin_addr
                            : (const void *)&((const struct sockaddr_in6 *)address)->sin6_addr;
    void *larger = realloc(interface->addresses,
                           (interface->address_count + 1) * sizeof *interface->addresses);
    if (larger == NULL) {
        return -1;
    }
    interface->addresses = larger;
    inet_ntop(address->sa_family, bytes, interface->addresses[interface->address_count++],
              ADDRESS_TEXT_SIZE);
    return 0;
}

/* getifaddrs(3) gives one entry an interface with AF_PACKET, and one entry an address. */
int
platform_interfaces(interface_t **list, size_t *count, failure_t *failure)
{
    struct ifaddrs *entries;
    if (getifaddrs(&entries) < 0) {
        return linux_fail(failure, "getifaddrs");
    }
    size_t room = 0, used = 0;
    for (struct ifaddrs *entry = entries; entry != NULL; entry = entry->ifa_next) {
        room += entry->ifa_addr != NULL && entry->ifa_addr->sa_family == AF_PACKET;
    }
    interface_t *found = calloc(room + 1, sizeof *found);
    bool complete = found != NULL;
    for (struct ifaddrs *entry = entries; complete && entry != NULL; entry = entry->ifa_next) {
        if (entry->ifa_addr != NULL && entry->ifa_addr->sa_family == AF_PACKET) {
            interface_t *interface = &found[used++];
            strncpy(interface->name, entry->ifa_name, sizeof interface->name - 1);
            interface->index = if_nametoindex(entry->ifa_name);
            interface->up = (entry->ifa_flags & IFF_UP) != 0;
            interface->loopback = (entry->ifa_flags & IFF_LOOPBACK) != 0;
        }
    }
    for (struct ifaddrs *entry = entries; complete && entry != NULL; entry = entry->ifa_next) {
        if (entry->ifa_addr != NULL &&
            (entry->ifa_addr->sa_family == AF_INET || entry->ifa_addr->sa_family == AF_INET6)) {
            interface_t *interface = find_interface(found, used, entry->ifa_name);
            complete = interface == NULL || add_address(interface, entry->ifa_addr) == 0;
        }
    }
    freeifaddrs(entries);
    if (!complete) {
        interface_list_free(found, used);
        errno = ENOMEM;
        return linux_fail(failure, "getifaddrs");
    }
    interface_list_sort(found, used);
    *list = found;
    *count = used;
    return 0;
}

address_t
platform_parse_address(const char *text)
{
    address_t parsed = {.family = FAMILY_ANY};
    struct in_addr v4;
    struct in6_addr v6;
    char plain[ADDRESS_TEXT_SIZE] = "";
    size_t length = strcspn(text, "%");
    if (length >= sizeof plain) {
        return parsed;
    }
    memcpy(plain, text, length);
    if (inet_pton(AF_INET, text, &v4) == 1) {
        parsed.family = FAMILY_IPV4;
        parsed.unspecified = v4.s_addr == INADDR_ANY;
        inet_ntop(AF_INET, &v4, parsed.text, sizeof parsed.text);
    } else if (inet_pton(AF_INET6, plain, &v6) == 1) {
        parsed.family = FAMILY_IPV6;
        parsed.unspecified = IN6_IS_ADDR_UNSPECIFIED(&v6);
        parsed.scope = text[length] == '%' ? text + length + 1 : NULL;
        inet_ntop(AF_INET6, &v6, parsed.text, sizeof parsed.text);
    }
    return parsed;
}

int
linux_resolve(const interface_choice_t *choice, enum ip_family family, uint32_t *index,
              bool *loopback, failure_t *failure)
{
    address_t address = {.family = FAMILY_ANY};
    if (choice->text != NULL) {
        address = platform_parse_address(choice->text);
    }
    interface_t *list;
    size_t count;
    if (interface_check_address(&address, family, failure) < 0 ||
        platform_interfaces(&list, &count, failure) < 0) {
        return -1;
    }
    const interface_t *found = interface_find(list, count, choice, &address, failure);
    if (found != NULL) {
        *index = found->index;
        *loopback = found->loopback;
    }
    interface_list_free(list, count);
    return found == NULL ? -1 : 0;
}
