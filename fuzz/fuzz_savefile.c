/* Savefiles with anything in them: read at once and in pieces, with the same result, and never
 * a byte behind what is here. The first byte of the input chooses the pieces, the rest is a file.
 */
#include <stdlib.h>
#include <string.h>

#include "core/savefile_fill.h"

#define ROOM 64 /* datagrams in a block */

/* What came of reading a file. */
typedef struct {
    uint64_t digest; /* of the records and their bytes */
    uint64_t datagrams;
    uint64_t passed_over;
    enum savefile_step end;
    savefile_fault_t fault;
} outcome_t;

static void
require(bool is_so)
{
    if (!is_so) {
        abort();
    }
}

static void
digest(outcome_t *outcome, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++) {
        outcome->digest = (outcome->digest ^ bytes[i]) * 0x100000001B3u;
    }
}

static void
look_at(outcome_t *outcome, const block_t *block, const savefile_window_t *window)
{
    for (size_t i = 0; i < block->count; i++) {
        const record_t *record = &block->records[i];
        const uint8_t *bytes = block->bytes + record->offset;
        require(record->length > 0 && record->length <= record->original_length);
        require(record->length <= block->size && record->offset <= block->size - record->length);
        require(bytes + record->length <= window->bytes);
        require(bytes[0] >> 4 == record->version);
        digest(outcome, &record->timestamp_ns, sizeof record->timestamp_ns);
        digest(outcome, &record->length, sizeof record->length);
        digest(outcome, &record->original_length, sizeof record->original_length);
        digest(outcome, &record->interface_index, sizeof record->interface_index);
        digest(outcome, &record->direction, sizeof record->direction);
        digest(outcome, bytes, record->length);
        outcome->datagrams++;
    }
}

/* Reads pieces of `piece` bytes, each of which may end behind any byte of the file. */
static outcome_t
read_file(const uint8_t *file, size_t size, size_t piece)
{
    outcome_t outcome = {0};
    savefile_reader_t reader = {0};
    savefile_selection_t selection = {.snaplen = 100};
    size_t here = 0;
    record_t records[ROOM];
    enum savefile_step step = SAVEFILE_NEED_MORE;
    while (step >= 0 && step != SAVEFILE_END) {
        if (step == SAVEFILE_NEED_MORE) {
            require(here < size || size == 0);
            here = piece < size - here ? here + piece : size;
        }
        size_t length = here - (size_t)reader.position;
        /* On the heap, where the sanitizer sees a look behind it. */
        uint8_t *bytes = malloc(length == 0 ? 1 : length);
        require(bytes != NULL);
        memcpy(bytes, file + reader.position, length);
        savefile_window_t window = {bytes, length, here == size};
        do {
            block_t block = {.bytes = bytes, .records = records};
            step = savefile_fill(&reader, &window, &selection, &block, ROOM);
            look_at(&outcome, &block, &window);
        } while (step == SAVEFILE_PACKET || step == SAVEFILE_OTHER);
        require(step != SAVEFILE_NEED_MORE || here < size);
        require(reader.position <= here);
        free(bytes);
    }
    require(step != SAVEFILE_FAULT || reader.fault.offset <= size);
    require(step != SAVEFILE_END || reader.position == size);
    outcome.end = step;
    outcome.passed_over = selection.passed_over;
    outcome.fault = reader.fault;
    savefile_reader_clear(&reader);
    return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    outcome_t whole = read_file(data + 1, size - 1, SIZE_MAX);
    outcome_t pieces = read_file(data + 1, size - 1, (size_t)data[0] + 1);
    require(whole.digest == pieces.digest && whole.datagrams == pieces.datagrams);
    require(whole.passed_over == pieces.passed_over && whole.end == pieces.end);
    require(whole.fault.offset == pieces.fault.offset);
    require(strcmp(whole.fault.reason, pieces.fault.reason) == 0);
    return 0;
}
