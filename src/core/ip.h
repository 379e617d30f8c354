/* What an IP header says. RFC 791, RFC 8200. */
#ifndef WINSOCKCTL_IP_H
#define WINSOCKCTL_IP_H

#include <stdint.h>

#include "core/bytes.h"

#define IPV4_HEADER_SIZE 20 /* bytes */
#define IPV6_HEADER_SIZE 40
#define IPV6_HOP_BY_HOP 0

/* 4 or 6 by the first nibble; 0 if the bytes begin with neither header. */
uint8_t ip_version(const uint8_t *bytes, uint64_t length);

/* The length of the datagram at the start of a frame's payload of payload_length bytes, of which
 * captured are here: an Ethernet frame is padded to 60 bytes, and the padding is no part of the
 * datagram. A header that says 0 (segmentation offload, jumbograms) or more than there is leaves
 * payload_length as it is. */
static inline uint32_t
ip_datagram_length(const uint8_t *payload, uint32_t captured, uint32_t payload_length)
{
    uint32_t length = payload_length;
    if (captured >= 4 && payload[0] >> 4 == 4) {
        length = big_endian_16(payload + 2);
        if (length < IPV4_HEADER_SIZE) {
            length = payload_length;
        }
    } else if (captured >= 7 && payload[0] >> 4 == 6) {
        uint32_t behind_header = big_endian_16(payload + 4);
        if (behind_header != 0 || payload[6] != IPV6_HOP_BY_HOP) {
            length = IPV6_HEADER_SIZE + behind_header;
        }
    }
    return length < payload_length ? length : payload_length;
}

/* The longest payload that a link layer pads: 60 bytes of Ethernet frame less its header, and as
 * much again for links with longer headers. A longer payload needs no look at its header. */
#define IP_PADDED_PAYLOAD_LIMIT 64

#endif
