/* Writes what stands around the packets of a pcapng file, in the byte order of the machine.
 * https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html
 */
#ifndef WINSOCKCTL_PCAPNG_WRITE_H
#define WINSOCKCTL_PCAPNG_WRITE_H

#include <stddef.h>
#include <stdint.h>

/* UTF-8 of at most 65,534 bytes each; "" leaves it out. */
typedef struct {
    const char *hardware;
    const char *os;
    const char *application;
    const char *comment; /* on the whole section */
    const char *interface;
    const char *filter;
    uint32_t snaplen;
} pcapng_description_t;

/* The section header and the description of the one interface. */
size_t pcapng_header_size(const pcapng_description_t *description);
void pcapng_header(uint8_t *out, const pcapng_description_t *description);

typedef struct {
    int64_t start_ns; /* since 1970-01-01 UTC */
    int64_t end_ns;
    int64_t received; /* since the capture began, with those that were dropped; -1 is unknown */
    int64_t dropped;  /* -1 is unknown */
} pcapng_statistics_t;

#define PCAPNG_STATISTICS_ROOM 76
size_t pcapng_statistics(uint8_t *out, const pcapng_statistics_t *statistics);

#endif
