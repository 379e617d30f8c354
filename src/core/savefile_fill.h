/* From the packets of a savefile to the datagrams that are wanted. */
#ifndef WINSOCKCTL_SAVEFILE_FILL_H
#define WINSOCKCTL_SAVEFILE_FILL_H

#include "core/block.h"
#include "core/filter.h"
#include "core/savefile_reader.h"

typedef struct {
    const filter_t *filter; /* NULL wants everything */
    uint32_t snaplen;
    uint64_t passed_over; /* packets that are neither IPv4 nor IPv6 (R8) */
} savefile_selection_t;

/* Appends records to a block, whose bytes are those of the window, until `room` of them are there:
 * SAVEFILE_PACKET. It may pause before that: SAVEFILE_OTHER. The other steps are those of
 * savefile_reader_next; what stands in the block by then is whole. */
enum savefile_step savefile_fill(savefile_reader_t *reader, savefile_window_t *window,
                                 savefile_selection_t *selection, block_t *block, size_t room);

#endif
