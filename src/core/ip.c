#include "core/ip.h"

uint8_t
ip_version(const uint8_t *bytes, uint64_t length)
{
    uint8_t version = length == 0 ? 0 : bytes[0] >> 4;
    if ((version == 4 && length >= IPV4_HEADER_SIZE) ||
        (version == 6 && length >= IPV6_HEADER_SIZE)) {
        return version;
    }
    return 0;
}
