/* The block of one packet, in the byte order of the machine; inline, because a recording makes a
 * million of them in a second. It is its head, the datagram, and its tail.
 * https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html#name-enhanced-packet-block
 */
#ifndef WINSOCKCTL_PCAPNG_PACKET_H
#define WINSOCKCTL_PCAPNG_PACKET_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/block.h"
#include "core/pcapng.h"

#define PCAPNG_OPTIONS_SIZE 12 /* epb_flags and the end of the options */
#define PCAPNG_TAIL_ROOM (3 + PCAPNG_OPTIONS_SIZE + PCAPNG_BLOCK_TRAILER_SIZE)

static inline uint32_t
pcapng_packet_flags(const record_t *record)
{
    switch (record->direction) {
    case DIRECTION_INCOMING:
        return PCAPNG_FLAGS_INBOUND;
    case DIRECTION_OUTGOING:
        return PCAPNG_FLAGS_OUTBOUND;
    case DIRECTION_OTHER:
        return PCAPNG_FLAGS_INBOUND | PCAPNG_FLAGS_PROMISCUOUS;
    default:
        return 0;
    }
}

static inline uint32_t
pcapng_packet_padding(const record_t *record)
{
    return -record->length & 3;
}

/* Of the whole block. */
static inline uint32_t
pcapng_packet_size(const record_t *record)
{
    uint32_t options = pcapng_packet_flags(record) == 0 ? 0 : PCAPNG_OPTIONS_SIZE;
    return PCAPNG_PACKET_SIZE + record->length + pcapng_packet_padding(record) + options +
           PCAPNG_BLOCK_TRAILER_SIZE;
}

/* One by one: of a table of them, copied at once, the copy would wait for the last store. */
static inline uint8_t *
pcapng_put_32(uint8_t *out, uint32_t value)
{
    memcpy(out, &value, sizeof value);
    return out + sizeof value;
}

/* PCAPNG_PACKET_SIZE bytes. */
static inline void
pcapng_packet_head(uint8_t *out, const record_t *record, uint32_t block_size)
{
    /* A stamp before 1970 cannot be written; it becomes the epoch. */
    uint64_t stamp = record->timestamp_ns < 0 ? 0 : (uint64_t)record->timestamp_ns;
    out = pcapng_put_32(out, PCAPNG_ENHANCED_PACKET);
    out = pcapng_put_32(out, block_size);
    out = pcapng_put_32(out, 0);
    out = pcapng_put_32(out, (uint32_t)(stamp >> 32));
    out = pcapng_put_32(out, (uint32_t)stamp);
    out = pcapng_put_32(out, record->length);
    pcapng_put_32(out, record->original_length);
}

static inline size_t
pcapng_packet_tail(uint8_t *out, const record_t *record, uint32_t block_size)
{
    const uint8_t *start = out;
    uint32_t flags = pcapng_packet_flags(record);
    for (uint32_t i = pcapng_packet_padding(record); i > 0; i--) {
        *out++ = 0;
    }
    if (flags != 0) {
        const uint16_t option[] = {PCAPNG_PACKET_FLAGS, sizeof flags};
        memcpy(out, option, sizeof option);
        out = pcapng_put_32(out + sizeof option, flags);
        out = pcapng_put_32(out, PCAPNG_OPTION_END);
    }
    return (size_t)(pcapng_put_32(out, block_size) - start);
}

#endif
