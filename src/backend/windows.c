#include "backend/windows.h"

#include <errno.h>
#include <iphlpapi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/control_code.h"
#include "core/winsock_errors.h"

#define NANOSECONDS 1000000000
#define NANOSECONDS_PER_MS 1000000

const int64_t platform_signal_interval_ns = 50 * (int64_t)NANOSECONDS_PER_MS;

const backend_t *const platform_backends[] = {
    &winsock_backend,
    &replay_backend,
    NULL,
};

/* As Python maps them: https://docs.python.org/3/library/errno.html */
static const struct {
    int system;
    int winsock;
} error_numbers[] = {
    {EINTR, WSAEINTR},          {EBADF, WSAEBADF},
    {EACCES, WSAEACCES},        {EFAULT, WSAEFAULT},
    {EINVAL, WSAEINVAL},        {EMFILE, WSAEMFILE},
    {WSAENOTSOCK, WSAENOTSOCK}, {WSAEOPNOTSUPP, WSAEOPNOTSUPP},
};

int
platform_errno(int winsock_error)
{
    for (size_t i = 0; i < sizeof error_numbers / sizeof error_numbers[0]; i++) {
        if (error_numbers[i].winsock == winsock_error) {
            return error_numbers[i].system;
        }
    }
    return winsock_error;
}

static const char *
remedy(int code)
{
    switch (code) {
    case WSAEACCES: /* R12 */
        return "capturing needs administrator rights: start the program from a console that was "
               "opened with 'Run as administrator'";
    case WSAEPROTONOSUPPORT:
    case WSAESOCKTNOSUPPORT:
        return "this system has no raw socket that receives every protocol";
    case WSAENETDOWN:
        return "the item is down or gone: 'winsockctl interfaces' lists those that are up";
    case WSAENOBUFS:
        return "the system has no memory for it: ask for a smaller buffer_size";
    case WSAENOTSOCK:
        return "the handle is closed or is no socket";
    case WSAEOPNOTSUPP:
        return "this system or transport does not carry the control code";
    default:
        return "";
    }
}

int
windows_fail(failure_t *failure, const char *call, DWORD error)
{
    int code = error == ERROR_NOT_ENOUGH_MEMORY ? WSAENOBUFS
               : error == ERROR_INVALID_HANDLE  ? WSAENOTSOCK
                                                : (int)error;
    fail(failure, call, code, remedy(code));
    failure->system_error = platform_errno(code);
    return -1;
}

int
windows_fail_control(failure_t *failure, uint32_t code, DWORD error)
{
    const char *call = control_code_call(code);
    windows_fail(failure, call == NULL ? "WSAIoctl" : call, error);
    if (call == NULL && (error == WSAEINVAL || error == WSAEOPNOTSUPP)) {
        failure->hint = "the control code is unknown: winsockctl.ControlCode lists the known ones";
    } else if (code == (uint32_t)CODE_SIO_RCVALL && error == WSAEINVAL) { /* R1-R3 */
        failure->hint = "the value must be one of winsockctl.RcvAll, and the socket a raw one that "
                        "is bound to a local address, as a winsockctl.RawSocket is";
    }
    return -1;
}

static BOOL CALLBACK
start_winsock(PINIT_ONCE once, PVOID result, PVOID *context)
{
    WSADATA data;
    (void)once;
    (void)context;
    *(int *)result = WSAStartup(MAKEWORD(2, 2), &data);
    return *(int *)result == 0;
}

int
windows_start(failure_t *failure)
{
    static INIT_ONCE once = INIT_ONCE_STATIC_INIT;
    int error = 0;
    if (!InitOnceExecuteOnce(&once, start_winsock, &error, NULL)) {
        return windows_fail(failure, "WSAStartup", (DWORD)error);
    }
    return 0;
}

int64_t
platform_now_ns(void)
{
    LARGE_INTEGER frequency, count;
    QueryPerformanceFrequency(&frequency);
    QueryPerformanceCounter(&count);
    return count.QuadPart / frequency.QuadPart * NANOSECONDS +
           count.QuadPart % frequency.QuadPart * NANOSECONDS / frequency.QuadPart;
}

DWORD
windows_wait_ms(int64_t deadline_ns)
{
    if (deadline_ns == INT64_MAX) {
        return INFINITE;
    }
    int64_t rest = deadline_ns - platform_now_ns();
    if (rest <= 0) {
        return 0;
    }
    int64_t ms = rest / NANOSECONDS_PER_MS + (rest % NANOSECONDS_PER_MS != 0);
    return ms >= INFINITE ? INFINITE - 1 : (DWORD)ms;
}

int
waker_open(waker_t *waker, failure_t *failure)
{
    HANDLE event = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (event == NULL) {
        return windows_fail(failure, "CreateEvent", GetLastError());
    }
    *waker = (waker_t)event;
    return 0;
}

void
waker_set(waker_t waker)
{
    SetEvent((HANDLE)waker);
}

enum waker_outcome
waker_wait(waker_t waker, int64_t deadline_ns)
{
    return WaitForSingleObject((HANDLE)waker, windows_wait_ms(deadline_ns)) == WAIT_OBJECT_0
               ? WAKER_SET
               : WAKER_TIMED_OUT;
}

void
waker_close(waker_t waker)
{
    CloseHandle((HANDLE)waker);
}

struct lock {
    SRWLOCK slim;
};

lock_t *
lock_new(void)
{
    lock_t *lock = malloc(sizeof *lock);
    if (lock != NULL) {
        InitializeSRWLock(&lock->slim);
    }
    return lock;
}

void
lock_take(lock_t *lock)
{
    AcquireSRWLockExclusive(&lock->slim);
}

void
lock_release(lock_t *lock)
{
    ReleaseSRWLockExclusive(&lock->slim);
}

void
lock_free(lock_t *lock)
{
    free(lock);
}

static void
copy_text(char *out, size_t size, const wchar_t *text)
{
    if (text == NULL ||
        WideCharToMultiByte(CP_UTF8, 0, text, -1, out, (int)size, NULL, NULL) == 0) {
        out[0] = '\0';
    }
}

static int
add_addresses(interface_t *item, const IP_ADAPTER_ADDRESSES *adapter)
{
    const IP_ADAPTER_UNICAST_ADDRESS *entry;
    size_t count = 0;
    for (entry = adapter->FirstUnicastAddress; entry != NULL; entry = entry->Next) {
        count++;
    }
    item->addresses = calloc(count + 1, sizeof *item->addresses);
    if (item->addresses == NULL) {
        return -1;
    }
    for (entry = adapter->FirstUnicastAddress; entry != NULL; entry = entry->Next) {
        const struct sockaddr *address = entry->Address.lpSockaddr;
        const void *bytes = address->sa_family == AF_INET
                                ? (const void *)&((const struct sockaddr_in *)address)->sin_addr
                                : (const void *)&((const struct sockaddr_in6 *)address)->sin6_addr;
        if (InetNtopA(address->sa_family, bytes, item->addresses[item->address_count],
                      ADDRESS_TEXT_SIZE) != NULL) {
            item->address_count++;
        }
    }
    return 0;
}

static IP_ADAPTER_ADDRESSES *
adapters(failure_t *failure)
{
    const ULONG flags = GAA_FLAG_SKIP_ANYCAST | GAA_FLAG_SKIP_MULTICAST | GAA_FLAG_SKIP_DNS_SERVER;
    ULONG size = 16384;
    for (;;) {
        IP_ADAPTER_ADDRESSES *list = malloc(size);
        if (list == NULL) {
            windows_fail(failure, "malloc", ERROR_NOT_ENOUGH_MEMORY);
            return NULL;
        }
        ULONG error = GetAdaptersAddresses(AF_UNSPEC, flags, NULL, list, &size);
        if (error == ERROR_SUCCESS) {
            return list;
        }
        free(list);
        if (error != ERROR_BUFFER_OVERFLOW) {
            windows_fail(failure, "GetAdaptersAddresses", error);
            return NULL;
        }
    }
}

int
platform_interfaces(interface_t **list, size_t *count, failure_t *failure)
{
    IP_ADAPTER_ADDRESSES *first = adapters(failure);
    if (first == NULL) {
        return -1;
    }
    size_t room = 0, used = 0;
    for (const IP_ADAPTER_ADDRESSES *adapter = first; adapter != NULL; adapter = adapter->Next) {
        room++;
    }
    interface_t *found = calloc(room + 1, sizeof *found);
    bool complete = found != NULL;
    for (const IP_ADAPTER_ADDRESSES *adapter = first; complete && adapter != NULL;
         adapter = adapter->Next) {
        interface_t *item = &found[used++];
        copy_text(item->name, sizeof item->name, adapter->FriendlyName);
        snprintf(item->device, sizeof item->device, "%s", adapter->AdapterName);
        copy_text(item->description, sizeof item->description, adapter->Description);
        item->index = adapter->IfIndex != 0 ? adapter->IfIndex : adapter->Ipv6IfIndex;
        item->up = adapter->OperStatus == IfOperStatusUp;
        item->loopback = adapter->IfType == IF_TYPE_SOFTWARE_LOOPBACK;
        complete = add_addresses(item, adapter) == 0;
    }
    free(first);
    if (!complete) {
        interface_list_free(found, used);
        return windows_fail(failure, "GetAdaptersAddresses", ERROR_NOT_ENOUGH_MEMORY);
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
    if (InetPtonA(AF_INET, text, &v4) == 1) {
        parsed.family = FAMILY_IPV4;
        parsed.unspecified = v4.s_addr == INADDR_ANY;
        InetNtopA(AF_INET, &v4, parsed.text, sizeof parsed.text);
    } else if (InetPtonA(AF_INET6, plain, &v6) == 1) {
        parsed.family = FAMILY_IPV6;
        parsed.unspecified = IN6_IS_ADDR_UNSPECIFIED(&v6);
        parsed.scope = text[length] == '%' ? text + length + 1 : NULL;
        InetNtopA(AF_INET6, &v6, parsed.text, sizeof parsed.text);
    }
    return parsed;
}

int
windows_check_socket(SOCKET socket, uint32_t code, failure_t *failure)
{
    int type, size = sizeof type;
    if (getsockopt(socket, SOL_SOCKET, SO_TYPE, (char *)&type, &size) != 0 &&
        WSAGetLastError() == WSAENOTSOCK) {
        return windows_fail_control(failure, code, WSAENOTSOCK);
    }
    return 0;
}

int
windows_check_control(SOCKET socket, uint32_t code, failure_t *failure)
{
    struct sockaddr_storage peer;
    int size = sizeof peer;
    if ((enum control_code)code == CODE_SIO_LOOPBACK_FAST_PATH &&
        getpeername(socket, (struct sockaddr *)&peer, &size) == 0) { /* F4 */
        fail(failure, control_code_call(code), WSAEINVAL, LOOPBACK_FAST_PATH_TOO_LATE);
        failure->system_error = platform_errno(WSAEINVAL);
        return -1;
    }
    return 0;
}

int
platform_control(intptr_t descriptor, uint32_t code, const void *input, size_t input_size,
                 void *output, size_t output_size, size_t *returned, failure_t *failure)
{
    DWORD count = 0;
    *returned = 0;
    if (windows_start(failure) < 0 || windows_check_socket((SOCKET)descriptor, code, failure) < 0 ||
        windows_check_control((SOCKET)descriptor, code, failure) < 0) {
        return -1;
    }
    if (WSAIoctl((SOCKET)descriptor, code, input_size == 0 ? NULL : (void *)input,
                 (DWORD)input_size, output_size == 0 ? NULL : output, (DWORD)output_size, &count,
                 NULL, NULL) == SOCKET_ERROR) {
        return windows_fail_control(failure, code, (DWORD)WSAGetLastError());
    }
    *returned = count;
    return 0;
}
