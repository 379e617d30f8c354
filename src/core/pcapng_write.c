#include "core/pcapng_write.h"

#include <string.h>

#include "core/link_type.h"
#include "core/pcapng_packet.h"

#define FILTER_IS_TEXT 0 /* the first byte of if_filter: the rest is an expression of libpcap */

static size_t
padded(size_t size)
{
    return (size + 3) & ~(size_t)3;
}

static uint8_t *
put(uint8_t *out, const void *bytes, size_t size)
{
    memcpy(out, bytes, size);
    return out + size;
}

static uint8_t *
put_16(uint8_t *out, uint16_t value)
{
    return put(out, &value, sizeof value);
}

static uint8_t *
put_stamp(uint8_t *out, int64_t stamp_ns)
{
    /* A stamp before 1970 cannot be written; it becomes the epoch. */
    uint64_t stamp = stamp_ns < 0 ? 0 : (uint64_t)stamp_ns;
    return pcapng_put_32(pcapng_put_32(out, (uint32_t)(stamp >> 32)), (uint32_t)stamp);
}

static uint8_t *
put_option(uint8_t *out, uint16_t code, const void *value, size_t size)
{
    out = put(put_16(put_16(out, code), (uint16_t)size), value, size);
    memset(out, 0, padded(size) - size);
    return out + (padded(size) - size);
}

static size_t
text_size(const char *text)
{
    return text[0] == '\0' ? 0 : PCAPNG_OPTION_HEADER_SIZE + padded(strlen(text));
}

static uint8_t *
put_text(uint8_t *out, uint16_t code, const char *text)
{
    return text[0] == '\0' ? out : put_option(out, code, text, strlen(text));
}

static size_t
section_size(const pcapng_description_t *description)
{
    return PCAPNG_SECTION_HEADER_SIZE + text_size(description->comment) +
           text_size(description->hardware) + text_size(description->os) +
           text_size(description->application) + PCAPNG_OPTION_HEADER_SIZE +
           PCAPNG_BLOCK_TRAILER_SIZE;
}

static size_t
filter_size(const char *filter)
{
    return filter[0] == '\0' ? 0 : PCAPNG_OPTION_HEADER_SIZE + padded(1 + strlen(filter));
}

static size_t
interface_size(const pcapng_description_t *description)
{
    size_t resolution = PCAPNG_OPTION_HEADER_SIZE + 4;
    return PCAPNG_INTERFACE_SIZE + text_size(description->interface) + resolution +
           filter_size(description->filter) + text_size(description->os) +
           PCAPNG_OPTION_HEADER_SIZE + PCAPNG_BLOCK_TRAILER_SIZE;
}

size_t
pcapng_header_size(const pcapng_description_t *description)
{
    return section_size(description) + interface_size(description);
}

static uint8_t *
put_filter(uint8_t *out, const char *filter)
{
    size_t length = strlen(filter);
    if (length == 0) {
        return out;
    }
    out = put_16(put_16(out, PCAPNG_INTERFACE_FILTER), (uint16_t)(1 + length));
    *out++ = FILTER_IS_TEXT;
    out = put(out, filter, length);
    memset(out, 0, padded(1 + length) - (1 + length));
    return out + (padded(1 + length) - (1 + length));
}

void
pcapng_header(uint8_t *out, const pcapng_description_t *description)
{
    uint32_t size = (uint32_t)section_size(description);
    out = pcapng_put_32(pcapng_put_32(out, PCAPNG_SECTION_HEADER), size);
    out = pcapng_put_32(out, PCAPNG_BYTE_ORDER_MAGIC);
    out = put_16(put_16(out, PCAPNG_VERSION_MAJOR), 0);
    out = put(out, &(uint64_t){PCAPNG_SECTION_LENGTH_UNKNOWN}, sizeof(uint64_t));
    out = put_text(out, PCAPNG_OPTION_COMMENT, description->comment);
    out = put_text(out, PCAPNG_SECTION_HARDWARE, description->hardware);
    out = put_text(out, PCAPNG_SECTION_OS, description->os);
    out = put_text(out, PCAPNG_SECTION_APPLICATION, description->application);
    out = put_option(out, PCAPNG_OPTION_END, "", 0);
    out = pcapng_put_32(out, size);

    size = (uint32_t)interface_size(description);
    out = pcapng_put_32(pcapng_put_32(out, PCAPNG_INTERFACE_DESCRIPTION), size);
    out = put_16(put_16(out, LINK_TYPE_RAW), 0);
    out = pcapng_put_32(out, description->snaplen);
    out = put_text(out, PCAPNG_INTERFACE_NAME, description->interface);
    out = put_option(out, PCAPNG_INTERFACE_TSRESOL, &(uint8_t){PCAPNG_TSRESOL_NANOSECONDS}, 1);
    out = put_filter(out, description->filter);
    out = put_text(out, PCAPNG_INTERFACE_OS, description->os);
    out = put_option(out, PCAPNG_OPTION_END, "", 0);
    pcapng_put_32(out, size);
}

static uint8_t *
put_stamp_option(uint8_t *out, uint16_t code, int64_t stamp_ns)
{
    uint8_t value[8];
    put_stamp(value, stamp_ns);
    return put_option(out, code, value, sizeof value);
}

size_t
pcapng_statistics(uint8_t *out, const pcapng_statistics_t *statistics)
{
    uint8_t *start = out;
    out = pcapng_put_32(pcapng_put_32(out, PCAPNG_INTERFACE_STATISTICS), 0);
    out = put_stamp(pcapng_put_32(out, 0), statistics->end_ns);
    out = put_stamp_option(out, PCAPNG_STATISTICS_START, statistics->start_ns);
    out = put_stamp_option(out, PCAPNG_STATISTICS_END, statistics->end_ns);
    if (statistics->received >= 0) {
        out = put_option(out, PCAPNG_STATISTICS_RECEIVED, &statistics->received, 8);
    }
    if (statistics->dropped >= 0) {
        out = put_option(out, PCAPNG_STATISTICS_DROPPED, &statistics->dropped, 8);
    }
    out = put_option(out, PCAPNG_OPTION_END, "", 0);
    uint32_t size = (uint32_t)(out - start) + PCAPNG_BLOCK_TRAILER_SIZE;
    pcapng_put_32(start + 4, size);
    pcapng_put_32(out, size);
    return size;
}
