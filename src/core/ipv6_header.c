#include "core/ipv6_header.h"

#include <string.h>

#include "core/block.h"
#include "core/bytes.h"

#define TCP 6
#define UDP 17
#define ICMPV6 58
#define FLOW_LABEL_MASK 0xFFFFF

static void
put_big_endian_16(uint8_t *bytes, uint32_t value)
{
    bytes[0] = (uint8_t)(value >> 8);
    bytes[1] = (uint8_t)value;
}

/* The sum of RFC 1071, not folded. */
static uint64_t
sum_of(const uint8_t *bytes, uint32_t length)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i + 1 < length; i += 2) {
        sum += big_endian_16(bytes + i);
    }
    return length % 2 == 0 ? sum : sum + ((uint32_t)bytes[length - 1] << 8);
}

static uint64_t
folded(uint64_t sum)
{
    while (sum > 0xFFFF) {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    return sum;
}

/* What a checksum alone would let through once in 65,536 times. */
static bool
is_plausible(uint8_t protocol, const uint8_t *payload, uint32_t length)
{
    switch (protocol) {
    case TCP:
        return length >= 20 && payload[12] >> 4 >= 5 && (uint32_t)(payload[12] >> 4) * 4 <= length;
    case UDP:
        return length >= 8 && big_endian_16(payload + 4) == length &&
               big_endian_16(payload + 6) != 0;
    default:
        return length >= 4;
    }
}

/* The next header, or IPV6_NO_NEXT_HEADER if no checksum tells. */
static uint8_t
next_header(const ipv6_facts_t *facts, const uint8_t *payload, uint32_t length)
{
    static const struct {
        uint8_t protocol;
        uint8_t checksum; /* its offset */
    } candidates[] = {{UDP, 6}, {TCP, 16}, {ICMPV6, 2}};
    uint64_t pseudo_header = sum_of(facts->source, 16) + sum_of(facts->destination, 16) +
                             (length >> 16) + (length & 0xFFFF);
    uint64_t sum = pseudo_header + sum_of(payload, length);
    for (size_t i = 0; i < sizeof candidates / sizeof candidates[0]; i++) {
        uint8_t protocol = candidates[i].protocol;
        if (!is_plausible(protocol, payload, length)) {
            continue;
        }
        /* A sender that leaves the checksum to the adapter writes the sum of the pseudo header. */
        uint32_t written = big_endian_16(payload + candidates[i].checksum);
        if (folded(sum + protocol) == 0xFFFF || folded(pseudo_header + protocol) == written) {
            return protocol;
        }
    }
    return IPV6_NO_NEXT_HEADER;
}

uint16_t
ipv6_header_rebuild(uint8_t header[IPV6_HEADER_SIZE], const ipv6_facts_t *facts,
                    const uint8_t *payload, uint32_t captured, uint32_t payload_length)
{
    uint16_t flags = RECORD_REBUILT;
    uint32_t traffic_class = facts->traffic_class < 0 ? 0 : (uint32_t)facts->traffic_class & 0xFF;
    uint32_t flow_label = facts->flow_label < 0 ? 0 : (uint32_t)facts->flow_label & FLOW_LABEL_MASK;
    uint8_t next = IPV6_NO_NEXT_HEADER;
    if (captured == payload_length && facts->has_destination) {
        next = next_header(facts, payload, payload_length);
    }
    flags |= next == IPV6_NO_NEXT_HEADER ? RECORD_NEXT_HEADER_UNKNOWN : 0;
    flags |= facts->traffic_class < 0 ? RECORD_TRAFFIC_CLASS_UNKNOWN : 0;
    flags |= facts->flow_label < 0 ? RECORD_FLOW_LABEL_UNKNOWN : 0;
    flags |= facts->hop_limit < 0 ? RECORD_HOP_LIMIT_UNKNOWN : 0;
    flags |= facts->has_destination ? 0 : RECORD_DESTINATION_UNKNOWN;
    uint32_t first = 6u << 28 | traffic_class << 20 | flow_label;
    put_big_endian_16(header, first >> 16);
    put_big_endian_16(header + 2, first & 0xFFFF);
    /* A jumbogram says 0 here and has its length in an extension header, which is lost. */
    put_big_endian_16(header + 4, payload_length > 0xFFFF ? 0 : payload_length);
    header[6] = next;
    header[7] = (uint8_t)(facts->hop_limit < 0 ? 0 : facts->hop_limit);
    memcpy(header + 8, facts->source, 16);
    memcpy(header + 24, facts->destination, 16);
    return flags;
}

bool
ipv6_header_is_there(const uint8_t *bytes, uint32_t captured, uint32_t length,
                     const uint8_t source[16])
{
    return captured >= IPV6_HEADER_SIZE && bytes[0] >> 4 == 6 &&
           memcmp(bytes + 8, source, 16) == 0 &&
           (big_endian_16(bytes + 4) == length - IPV6_HEADER_SIZE || big_endian_16(bytes + 4) == 0);
}
