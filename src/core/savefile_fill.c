#include "core/savefile_fill.h"

#include "core/link.h"
#include "core/prefetch.h"

/* Packets until a pause, so that a signal is seen although the filter wants nothing. */
#define PATIENCE 65536
#define AHEAD 6 /* packets */

static void
append(block_t *block, const link_datagram_t *datagram, record_t record)
{
    if (block->count == 0) {
        block->bytes = datagram->bytes;
    }
    record.offset = (uint64_t)(datagram->bytes - block->bytes);
    record.flags = record.length < record.original_length ? RECORD_TRUNCATED : 0;
    block->size = (size_t)record.offset + record.length;
    block->records[block->count++] = record;
    block_count(block, &record);
}

static void
take(const savefile_reader_t *reader, savefile_selection_t *selection,
     const savefile_packet_t *packet, block_t *block)
{
    link_frame_t frame = {packet->bytes, packet->captured, packet->length};
    link_datagram_t datagram;
    uint32_t link_type = reader->interfaces[packet->interface].link_type;
    if (!link_find_datagram(link_type, frame, &datagram)) {
        selection->passed_over++;
        return;
    }
    if (selection->filter != NULL &&
        filter_run(selection->filter, datagram.bytes, datagram.captured, datagram.length) == 0) {
        return;
    }
    append(block, &datagram,
           (record_t){
               .timestamp_ns = packet->timestamp_ns,
               .length =
                   datagram.captured < selection->snaplen ? datagram.captured : selection->snaplen,
               .original_length = datagram.length,
               .interface_index = packet->interface,
               .direction =
                   packet->direction != DIRECTION_UNKNOWN ? packet->direction : datagram.direction,
               .version = datagram.version,
           });
}

/* Each header says where the next one is, so the processor would wait for memory packet by packet.
 * It asks for what comes in a while instead, if the packets until there are as long as this one. */
static void
fetch_ahead(const savefile_window_t *window, size_t size)
{
    if (size < window->size / AHEAD) {
        prefetch(window->bytes + AHEAD * size);
    }
}

enum savefile_step
savefile_fill(savefile_reader_t *reader, savefile_window_t *window, savefile_selection_t *selection,
              block_t *block, size_t room)
{
    for (uint32_t i = 0; i < PATIENCE; i++) {
        savefile_packet_t packet;
        const uint8_t *here = window->bytes;
        enum savefile_step step = savefile_reader_next(reader, window, &packet);
        if (step == SAVEFILE_PACKET) {
            fetch_ahead(window, (size_t)(window->bytes - here));
            take(reader, selection, &packet, block);
            if (block->count == room) {
                return SAVEFILE_PACKET;
            }
        } else if (step != SAVEFILE_OTHER) {
            return step;
        }
    }
    return SAVEFILE_OTHER;
}
