#include "core/savefile.h"

#include <string.h>

#include "core/link_type.h"

#define PCAP_MAGIC_NANOSECONDS 0xA1B23C4Du
#define NANOSECONDS 1000000000

void
savefile_header(uint8_t out[SAVEFILE_HEADER_SIZE], uint32_t snaplen)
{
    const struct {
        uint32_t magic;
        uint16_t major, minor;
        uint32_t reserved[2];
        uint32_t snaplen;
        uint32_t link_type;
    } header = {PCAP_MAGIC_NANOSECONDS, 2, 4, {0, 0}, snaplen, LINK_TYPE_RAW};
    _Static_assert(sizeof header == SAVEFILE_HEADER_SIZE, "the header has no padding");
    memcpy(out, &header, sizeof header);
}

void
savefile_record_header(uint8_t out[SAVEFILE_RECORD_HEADER_SIZE], const record_t *record)
{
    /* A stamp before 1970 cannot be written; it becomes the epoch. */
    int64_t stamp = record->timestamp_ns < 0 ? 0 : record->timestamp_ns;
    const uint32_t header[4] = {
        (uint32_t)(stamp / NANOSECONDS),
        (uint32_t)(stamp % NANOSECONDS),
        record->length,
        record->original_length,
    };
    memcpy(out, header, sizeof header);
}
