/* Numbers in byte order that is not necessarily ours, at addresses that are not aligned. */
#ifndef WINSOCKCTL_BYTES_H
#define WINSOCKCTL_BYTES_H

#include <stdbool.h>
#include <stdint.h>

static inline uint16_t
big_endian_16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static inline uint32_t
big_endian_32(const uint8_t *bytes)
{
    return (uint32_t)big_endian_16(bytes) << 16 | big_endian_16(bytes + 2);
}

static inline uint16_t
number_16(const uint8_t *bytes, bool big_endian)
{
    return big_endian ? big_endian_16(bytes) : (uint16_t)(bytes[1] << 8 | bytes[0]);
}

static inline uint32_t
number_32(const uint8_t *bytes, bool big_endian)
{
    return big_endian ? big_endian_32(bytes)
                      : (uint32_t)number_16(bytes + 2, false) << 16 | number_16(bytes, false);
}

static inline uint64_t
number_64(const uint8_t *bytes, bool big_endian)
{
    uint64_t first = number_32(bytes, big_endian), second = number_32(bytes + 4, big_endian);
    return big_endian ? first << 32 | second : second << 32 | first;
}

#endif
