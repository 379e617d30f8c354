/* The IPv6 header that Windows keeps back from raw sockets, rebuilt from what it tells besides.
 * RFC 8200 section 3 and 8.1; R11 */
#ifndef WINSOCKCTL_IPV6_HEADER_H
#define WINSOCKCTL_IPV6_HEADER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/ip.h"

#define IPV6_NO_NEXT_HEADER 59

/* What is known of one datagram; -1 says that a number is not. */
typedef struct {
    uint8_t source[16];
    uint8_t destination[16];
    bool has_destination;
    int hop_limit;
    int traffic_class;
    int32_t flow_label;
} ipv6_facts_t;

/* Writes the header of a datagram of which payload_length bytes follow it, and captured of them are
 * here. The next header is TCP, UDP or ICMPv6 if the transport checksum fits that one (its pseudo
 * header contains it), else IPV6_NO_NEXT_HEADER. Returns the record flags that say so:
 * RECORD_REBUILT and one for each field that is not known. */
uint16_t ipv6_header_rebuild(uint8_t header[IPV6_HEADER_SIZE], const ipv6_facts_t *facts,
                             const uint8_t *payload, uint32_t captured, uint32_t payload_length);

/* Whether the bytes begin with the header of a datagram from source already. */
bool ipv6_header_is_there(const uint8_t *bytes, uint32_t captured, uint32_t length,
                          const uint8_t source[16]);

#endif
