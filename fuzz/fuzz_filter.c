/* Any program for the BPF machine: what the check lets through ends and stays inside the datagram.
 * The first byte of the input says how many instructions follow, the rest is a datagram. */
#include <stdlib.h>
#include <string.h>

#include "core/filter.h"

#define MOST 64 /* instructions */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    filter_instruction_t instructions[MOST];
    if (size == 0) {
        return 0;
    }
    size_t count = data[0] % MOST + 1;
    size_t program_size = count * sizeof instructions[0];
    if (size - 1 < program_size) {
        return 0;
    }
    memcpy(instructions, data + 1, program_size);
    size_t where;
    const char *wrong = filter_check(instructions, count, &where);
    if (where >= count) {
        abort();
    }
    if (wrong != NULL) {
        return 0;
    }
    filter_t *filter = filter_new(instructions, count);
    size_t length = size - 1 - program_size;
    /* On the heap, where the sanitizer sees a look behind it. */
    uint8_t *datagram = malloc(length == 0 ? 1 : length);
    if (filter == NULL || datagram == NULL) {
        abort();
    }
    memcpy(datagram, data + 1 + program_size, length);
    uint32_t verdict = filter_run(filter, datagram, (uint32_t)length, (uint32_t)length);
    if (filter_run(filter, datagram, (uint32_t)length, (uint32_t)length) != verdict) {
        abort();
    }
    for (uint32_t captured = 0; captured < length && captured < 64; captured++) {
        filter_run(filter, datagram, captured, (uint32_t)length);
    }
    free(datagram);
    free(filter);
    return 0;
}
