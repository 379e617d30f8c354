#include "core/block.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    block_t block;
    record_t records[]; /* the bytes lie behind the last record */
} heap_block_t;

static void
heap_block_release(block_t *block)
{
    free(block);
}

block_t *
block_new(size_t byte_room, size_t record_room)
{
    if (record_room > (SIZE_MAX / 2 - sizeof(heap_block_t)) / sizeof(record_t) ||
        byte_room > SIZE_MAX / 2) {
        return NULL;
    }
    heap_block_t *self = malloc(sizeof *self + record_room * sizeof(record_t) + byte_room);
    if (self == NULL) {
        return NULL;
    }
    self->block = (block_t){
        .bytes = (const uint8_t *)(self->records + record_room),
        .records = self->records,
        .release = heap_block_release,
    };
    return &self->block;
}

void
block_append(block_t *block, const uint8_t *data, record_t record)
{
    record.offset = block->size;
    record.flags |= record.length < record.original_length ? RECORD_TRUNCATED : 0;
    if (record.length != 0) {
        memcpy((uint8_t *)block->bytes + block->size, data, record.length);
    }
    block->size += record.length;
    block->records[block->count++] = record;
    block_count(block, &record);
}

void
block_select(block_t *block,
             bool (*wants)(const void *context, const block_t *block, const record_t *record),
             const void *context)
{
    size_t kept = 0;
    block->datagram_bytes = 0;
    block->truncated = 0;
    for (size_t i = 0; i < block->count; i++) {
        const record_t *record = &block->records[i];
        if (wants(context, block, record)) {
            block_count(block, record);
            block->records[kept++] = *record;
        }
    }
    block->count = kept;
}

static bool
passes(const void *filter, const block_t *block, const record_t *record)
{
    return filter_run(filter, block->bytes + record->offset, record->length,
                      record->original_length) != 0;
}

void
block_filter(block_t *block, const filter_t *filter)
{
    if (filter != NULL) {
        block_select(block, passes, filter);
    }
}

void
block_skip(block_t *block, size_t count)
{
    bool all = count == block->count;
    for (size_t i = 0; i < count && !all; i++) {
        block->datagram_bytes -= block->records[i].length;
        block->truncated -= (block->records[i].flags & RECORD_TRUNCATED) != 0;
    }
    if (all) {
        block->datagram_bytes = block->truncated = 0;
    }
    block->records += count;
    block->count -= count;
}
