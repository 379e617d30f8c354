/* A block: the bytes of many datagrams and a table that says where each of them lies.
 *
 * A backend fills it, a Batch owns it, and release() gives it back to where it came from: the
 * kernel's ring or the heap. Whoever holds a block may read its bytes for as long as it likes.
 */
#ifndef WINSOCKCTL_BLOCK_H
#define WINSOCKCTL_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/filter.h"

enum direction {
    DIRECTION_UNKNOWN,
    DIRECTION_INCOMING,
    DIRECTION_OUTGOING,
    DIRECTION_OTHER, /* for another station: seen in promiscuous mode only */
};

enum record_flag {
    RECORD_TRUNCATED = 1, /* length < original_length */
    RECORD_REBUILT =
        2, /* the IPv6 header is ours, ipv6_header.h; these fields of it are not known: */
    RECORD_NEXT_HEADER_UNKNOWN = 4,
    RECORD_HOP_LIMIT_UNKNOWN = 8,
    RECORD_TRAFFIC_CLASS_UNKNOWN = 16,
    RECORD_FLOW_LABEL_UNKNOWN = 32,
    RECORD_DESTINATION_UNKNOWN = 64,
    RECORD_FLAGS = 127, /* all of them */
};

/* Seen from Python as a structured array: RECORD_FORMAT in batch.c says the same. */
typedef struct {
    int64_t timestamp_ns; /* since 1970-01-01 UTC */
    uint64_t offset;      /* of the IP header, from the first byte of the block */
    uint32_t length;      /* bytes captured */
    uint32_t original_length;
    uint32_t interface_index;
    uint16_t flags;
    uint8_t direction;
    uint8_t version; /* 4 or 6 */
} record_t;

typedef struct block {
    const uint8_t *bytes;
    size_t size;
    record_t *records;
    size_t count;
    uint64_t datagram_bytes; /* the sum of all lengths */
    uint64_t truncated;      /* how many records carry RECORD_TRUNCATED */
    void (*release)(struct block *);
    struct block *next; /* for whoever keeps several */
} block_t;

/* A block on the heap with room for so much; NULL when there is no memory. */
block_t *block_new(size_t byte_room, size_t record_room);

/* Appends record.length bytes and the record, whose offset and RECORD_TRUNCATED are set here, to a
 * block_new block. The caller knows that there is room. */
void block_append(block_t *block, const uint8_t *data, record_t record);

/* Drops the first records. */
void block_skip(block_t *block, size_t count);

/* Keeps those records that are wanted. */
void block_select(block_t *block,
                  bool (*wants)(const void *context, const block_t *block, const record_t *record),
                  const void *context);

/* Keeps those that the filter wants, by the bytes that are here; NULL wants everything. */
void block_filter(block_t *block, const filter_t *filter);

/* Counts a record that was just completed into the block's sums. */
static inline void
block_count(block_t *block, const record_t *record)
{
    block->datagram_bytes += record->length;
    block->truncated += (record->flags & RECORD_TRUNCATED) != 0;
}

#endif
