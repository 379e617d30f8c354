/* A network interface, and how one is chosen. */
#ifndef WINSOCKCTL_INTERFACE_H
#define WINSOCKCTL_INTERFACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/failure.h"

/* The numbers of AF_INET6 differ between systems; the IP versions do not. */
enum ip_family {
    FAMILY_ANY = 0,
    FAMILY_IPV4 = 4,
    FAMILY_IPV6 = 6,
};

#define ADDRESS_TEXT_SIZE 46 /* INET6_ADDRSTRLEN */

typedef struct {
    char name[260];  /* UTF-8 */
    char device[64]; /* another name for it (Windows: its GUID), or empty */
    char description[260];
    uint32_t index;
    bool up;
    bool loopback;
    size_t address_count;
    char (*addresses)[ADDRESS_TEXT_SIZE]; /* as inet_ntop writes them */
} interface_t;

/* An interface is told by its index, or else by text: an address, a name, or an index in digits. */
typedef struct {
    const char *text; /* NULL if told by index */
    uint32_t index;
} interface_choice_t;

/* What a text says that may be an address. */
typedef struct {
    enum ip_family family; /* FAMILY_ANY: it is no address */
    bool unspecified;      /* 0.0.0.0 or :: */
    const char *scope;     /* behind '%', or NULL */
    char text[ADDRESS_TEXT_SIZE];
} address_t;

/* By ascending index. */
void interface_list_sort(interface_t *list, size_t count);

/* The list and the addresses in it came from malloc. */
void interface_list_free(interface_t *list, size_t count);

/* R3: whether a socket of the family may be bound to the address. 0 or -1 with the failure. */
int interface_check_address(const address_t *address, enum ip_family family, failure_t *failure);

/* The interface that is meant by the choice, whose text was parsed to address; NULL with a failure
 * of bind if there is none. */
const interface_t *interface_find(const interface_t *list, size_t count,
                                  const interface_choice_t *choice, const address_t *address,
                                  failure_t *failure);

#endif
