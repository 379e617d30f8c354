/* What an IP header says. RFC 791, RFC 8200. */
#ifndef WINSOCKCTL_IP_H
#define WINSOCKCTL_IP_H

#include <stdint.h>

/* 4 or 6 by the first nibble; 0 if the bytes begin with neither header. */
uint8_t ip_version(const uint8_t *bytes, uint64_t length);

/* The length of the datagram at the start of a frame's payload of payload_length bytes, of which
 * captured are here: an Ethernet frame is padded to 60 bytes, and the padding is no part of the
 * datagram. A header that says 0 (segmentation offload, jumbograms) or more than there is leaves
 * payload_length as it is. */
uint32_t ip_datagram_length(const uint8_t *payload, uint32_t captured, uint32_t payload_length);

/* The longest payload that a link layer pads: 60 bytes of Ethernet frame less its header, and as
 * much again for links with longer headers. A longer payload needs no look at its header. */
#define IP_PADDED_PAYLOAD_LIMIT 64

#endif
