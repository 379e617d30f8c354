#include "core/interface.h"

#include <stdlib.h>
#include <string.h>

#include "core/winsock_errors.h"

static int
by_index(const void *a, const void *b)
{
    const interface_t *left = a, *right = b;
    return (left->index > right->index) - (left->index < right->index);
}

void
interface_list_sort(interface_t *list, size_t count)
{
    qsort(list, count, sizeof *list, by_index);
}

void
interface_list_free(interface_t *list, size_t count)
{
    for (size_t i = 0; list != NULL && i < count; i++) {
        free(list[i].addresses);
    }
    free(list);
}

static bool
has_address(const interface_t *interface, const address_t *address)
{
    if (address->scope != NULL && strcmp(address->scope, interface->name) != 0 &&
        strtoul(address->scope, NULL, 10) != interface->index) {
        return false;
    }
    for (size_t i = 0; i < interface->address_count; i++) {
        if (strcmp(address->text, interface->addresses[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* The number that a text of digits says; 0, which no interface has, for any other. */
static unsigned long
index_in(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    return digits > 0 && text[digits] == '\0' ? strtoul(text, NULL, 10) : 0;
}

static const interface_t *
find_index(const interface_t *list, size_t count, unsigned long index)
{
    for (size_t i = 0; i < count; i++) {
        if (list[i].index == index) {
            return &list[i];
        }
    }
    return NULL;
}

static bool
has_name(const interface_t *interface, const char *text)
{
    return strcmp(text, interface->name) == 0 ||
           (text[0] != '\0' && strcmp(text, interface->device) == 0);
}

static const interface_t *
find_text(const interface_t *list, size_t count, const char *text, const address_t *address)
{
    for (size_t i = 0; i < count; i++) {
        if (address->family == FAMILY_ANY ? has_name(&list[i], text)
                                          : has_address(&list[i], address)) {
            return &list[i];
        }
    }
    return address->family == FAMILY_ANY ? find_index(list, count, index_in(text)) : NULL;
}

int
interface_check_address(const address_t *address, enum ip_family family, failure_t *failure)
{
    if (address->unspecified) {
        return fail(failure, "bind", WINSOCK_WSAEINVAL,
                    "bind to one explicit local address or an interface, not to 0.0.0.0 or ::");
    }
    if (address->family != FAMILY_ANY && family != FAMILY_ANY && address->family != family) {
        return fail(failure, "bind", WINSOCK_WSAEINVAL,
                    "the address is of another family than the socket");
    }
    return 0;
}

const interface_t *
interface_find(const interface_t *list, size_t count, const interface_choice_t *choice,
               const address_t *address, failure_t *failure)
{
    const interface_t *found = choice->text == NULL ? find_index(list, count, choice->index)
                                                    : find_text(list, count, choice->text, address);
    if (found == NULL) {
        fail(failure, "bind", WINSOCK_WSAEADDRNOTAVAIL,
             "no interface of this machine has that address, name or index: "
             "'winsockctl interfaces' lists them");
    }
    return found;
}
