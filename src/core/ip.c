#include "core/ip.h"

#include "core/bytes.h"

#define IPV4_HEADER 20
#define IPV6_HEADER 40
#define IPV6_HOP_BY_HOP 0

uint8_t
ip_version(const uint8_t *bytes, uint64_t length)
{
    uint8_t version = length == 0 ? 0 : bytes[0] >> 4;
    if ((version == 4 && length >= IPV4_HEADER) || (version == 6 && length >= IPV6_HEADER)) {
        return version;
    }
    return 0;
}

uint32_t
ip_datagram_length(const uint8_t *payload, uint32_t captured, uint32_t payload_length)
{
    uint32_t length = payload_length;
    if (captured >= 4 && payload[0] >> 4 == 4) {
        length = big_endian_16(payload + 2);
        if (length < IPV4_HEADER) {
            length = payload_length;
        }
    } else if (captured >= 7 && payload[0] >> 4 == 6) {
        uint32_t behind_header = big_endian_16(payload + 4);
        if (behind_header != 0 || payload[6] != IPV6_HOP_BY_HOP) {
            length = IPV6_HEADER + behind_header;
        }
    }
    return length < payload_length ? length : payload_length;
}
