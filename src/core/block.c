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
