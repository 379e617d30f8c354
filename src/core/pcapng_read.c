/* The pcapng format: blocks of many types, in sections, about several interfaces. */
#include "core/pcapng.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/block.h"
#include "core/bytes.h"
#include "core/link.h"
#include "core/savefile_reader.h"

typedef struct {
    const uint8_t *bytes; /* of the whole block */
    uint32_t size;
    uint32_t type;
} frame_t;

typedef struct {
    uint16_t code;
    uint16_t size;
    const uint8_t *value;
} option_t;

/* Walks the options that begin at *place. SAVEFILE_OTHER for one, SAVEFILE_END behind the last,
 * SAVEFILE_FAULT for one that is longer than its block. */
static enum savefile_step
next_option(const savefile_reader_t *self, const frame_t *block, uint32_t *place, option_t *option)
{
    uint32_t end = block->size - PCAPNG_BLOCK_TRAILER_SIZE;
    if (*place > end || end - *place < PCAPNG_OPTION_HEADER_SIZE) {
        return SAVEFILE_END;
    }
    option->code = number_16(block->bytes + *place, self->big_endian);
    option->size = number_16(block->bytes + *place + 2, self->big_endian);
    option->value = block->bytes + *place + PCAPNG_OPTION_HEADER_SIZE;
    if (option->code == PCAPNG_OPTION_END) {
        return SAVEFILE_END;
    }
    uint32_t padded = (option->size + 3u) & ~3u;
    if (padded > end - *place - PCAPNG_OPTION_HEADER_SIZE) {
        return SAVEFILE_FAULT;
    }
    *place += PCAPNG_OPTION_HEADER_SIZE + padded;
    return SAVEFILE_OTHER;
}

/* Keeps the first text of its kind. */
static bool
keep_text(char **place, const option_t *option)
{
    if (*place != NULL) {
        return true;
    }
    *place = calloc(1, (size_t)option->size + 1);
    if (*place != NULL) {
        memcpy(*place, option->value, option->size);
    }
    return *place != NULL;
}

static enum savefile_step
read_section_header(savefile_reader_t *self, const frame_t *block)
{
    uint16_t version = number_16(block->bytes + 12, self->big_endian);
    if (version != PCAPNG_VERSION_MAJOR) {
        return savefile_fault(self, self->position + 12,
                              "version %" PRIu64 " of the pcapng format is not known", version);
    }
    self->section_interfaces = self->interface_count;
    option_t option;
    uint32_t place = PCAPNG_SECTION_HEADER_SIZE;
    while (next_option(self, block, &place, &option) == SAVEFILE_OTHER) {
        if (option.code == PCAPNG_OPTION_COMMENT && !keep_text(&self->comment, &option)) {
            return SAVEFILE_NO_MEMORY;
        }
    }
    return SAVEFILE_OTHER;
}

/* False when there is no memory. */
static bool
read_interface_option(const savefile_reader_t *self, savefile_interface_t *interface,
                      const option_t *option)
{
    switch (option->code) {
    case PCAPNG_INTERFACE_NAME:
        return keep_text(&interface->name, option);
    case PCAPNG_INTERFACE_DESCRIPTION_TEXT:
        return keep_text(&interface->description, option);
    case PCAPNG_INTERFACE_FILTER: {
        /* Its first byte says of which kind it is: 0 for an expression. */
        option_t expression = {option->code, (uint16_t)(option->size - 1), option->value + 1};
        return option->size < 2 || option->value[0] != 0 ||
               keep_text(&interface->filter, &expression);
    }
    case PCAPNG_INTERFACE_TSRESOL:
        if (option->size == 1) {
            interface->resolution = option->value[0];
        }
        return true;
    case PCAPNG_INTERFACE_TSOFFSET:
        if (option->size == 8) {
            interface->offset_s = (int64_t)number_64(option->value, self->big_endian);
        }
        return true;
    default:
        return true;
    }
}

static enum savefile_step
read_interface_options(savefile_reader_t *self, const frame_t *block,
                       savefile_interface_t *interface)
{
    uint32_t place = PCAPNG_INTERFACE_SIZE;
    for (;;) {
        option_t option;
        switch (next_option(self, block, &place, &option)) {
        case SAVEFILE_OTHER:
            if (!read_interface_option(self, interface, &option)) {
                return SAVEFILE_NO_MEMORY;
            }
            break;
        case SAVEFILE_END:
            return SAVEFILE_OTHER;
        default:
            return savefile_fault(self, self->position + place,
                                  "an option is longer than its block", 0);
        }
    }
}

static enum savefile_step
read_interface(savefile_reader_t *self, const frame_t *block)
{
    savefile_interface_t interface = {
        .link_type = number_16(block->bytes + 8, self->big_endian),
        .snaplen = number_32(block->bytes + 12, self->big_endian),
        .resolution = PCAPNG_TSRESOL_MICROSECONDS,
        .dropped = -1,
    };
    enum savefile_step step = read_interface_options(self, block, &interface);
    if (step != SAVEFILE_OTHER) {
        savefile_interface_clear(&interface);
        return step;
    }
    return savefile_add_interface(self, &interface) ? SAVEFILE_OTHER : SAVEFILE_NO_MEMORY;
}

/* The interface of a number in the present section; NULL if there is none. */
static savefile_interface_t *
find_interface(const savefile_reader_t *self, uint32_t number)
{
    return number < self->interface_count - self->section_interfaces
               ? &self->interfaces[self->section_interfaces + number]
               : NULL;
}

static enum savefile_step
read_statistics(savefile_reader_t *self, const frame_t *block)
{
    savefile_interface_t *interface =
        find_interface(self, number_32(block->bytes + 8, self->big_endian));
    if (interface == NULL) {
        return SAVEFILE_OTHER;
    }
    uint64_t dropped = 0;
    bool told = false;
    option_t option;
    uint32_t place = PCAPNG_STATISTICS_SIZE;
    while (next_option(self, block, &place, &option) == SAVEFILE_OTHER) {
        if ((option.code == PCAPNG_STATISTICS_DROPPED ||
             option.code == PCAPNG_STATISTICS_OS_DROPPED) &&
            option.size == 8) {
            uint64_t count = number_64(option.value, self->big_endian);
            dropped = count > INT64_MAX - dropped ? INT64_MAX : dropped + count;
            told = true;
        }
    }
    if (told) {
        interface->dropped = (int64_t)dropped;
    }
    return SAVEFILE_OTHER;
}

/* Of the options of a packet only its direction matters; what is wrong with others does not. */
static uint8_t
read_direction(const savefile_reader_t *self, const frame_t *block, uint32_t place)
{
    option_t option;
    while (next_option(self, block, &place, &option) == SAVEFILE_OTHER) {
        if (option.code == PCAPNG_PACKET_FLAGS && option.size == 4) {
            switch (number_32(option.value, self->big_endian) & PCAPNG_FLAGS_DIRECTION) {
            case PCAPNG_FLAGS_INBOUND:
                return DIRECTION_INCOMING;
            case PCAPNG_FLAGS_OUTBOUND:
                return DIRECTION_OUTGOING;
            default:
                return DIRECTION_UNKNOWN;
            }
        }
    }
    return DIRECTION_UNKNOWN;
}

/* A packet of `captured` bytes behind `header` bytes of its block. */
static enum savefile_step
check_packet(savefile_reader_t *self, const frame_t *block, uint32_t number, uint32_t header,
             uint32_t captured)
{
    const savefile_interface_t *interface = find_interface(self, number);
    if (interface == NULL) {
        return savefile_fault(self, self->position,
                              "a packet is of interface %" PRIu64 ", which was not described",
                              number);
    }
    if (!link_is_known(interface->link_type)) {
        return savefile_refuse_link_type(self, self->position, interface->link_type);
    }
    if (captured > block->size - header - PCAPNG_BLOCK_TRAILER_SIZE) {
        return savefile_fault(self, self->position,
                              "a packet claims %" PRIu64 " bytes, more than its block has",
                              captured);
    }
    return SAVEFILE_PACKET;
}

static enum savefile_step
read_packet(savefile_reader_t *self, const frame_t *block, savefile_packet_t *packet)
{
    const uint8_t *bytes = block->bytes;
    bool big_endian = self->big_endian;
    uint32_t number = block->type == PCAPNG_ENHANCED_PACKET ? number_32(bytes + 8, big_endian)
                                                            : number_16(bytes + 8, big_endian);
    uint32_t captured = number_32(bytes + 20, big_endian);
    uint32_t length = number_32(bytes + 24, big_endian);
    enum savefile_step step = check_packet(self, block, number, PCAPNG_PACKET_SIZE, captured);
    if (step != SAVEFILE_PACKET) {
        return step;
    }
    const savefile_interface_t *interface = find_interface(self, number);
    uint64_t units =
        (uint64_t)number_32(bytes + 12, big_endian) << 32 | number_32(bytes + 16, big_endian);
    *packet = (savefile_packet_t){
        .timestamp_ns = savefile_timestamp(interface, units),
        .bytes = bytes + PCAPNG_PACKET_SIZE,
        .captured = captured,
        .length = length < captured ? captured : length,
        .interface = (uint32_t)(interface - self->interfaces),
        .direction = read_direction(self, block, PCAPNG_PACKET_SIZE + ((captured + 3u) & ~3u)),
    };
    return SAVEFILE_PACKET;
}

/* Of the section's first interface; its snaplen says how much of the packet is here. */
static enum savefile_step
read_simple_packet(savefile_reader_t *self, const frame_t *block, savefile_packet_t *packet)
{
    uint32_t length = number_32(block->bytes + 8, self->big_endian);
    const savefile_interface_t *interface = find_interface(self, 0);
    uint32_t captured = length;
    if (interface != NULL && interface->snaplen != 0 && interface->snaplen < length) {
        captured = interface->snaplen;
    }
    enum savefile_step step = check_packet(self, block, 0, PCAPNG_SIMPLE_PACKET_SIZE, captured);
    if (step == SAVEFILE_PACKET) {
        *packet = (savefile_packet_t){
            .bytes = block->bytes + PCAPNG_SIMPLE_PACKET_SIZE,
            .captured = captured,
            .length = length,
            .interface = (uint32_t)self->section_interfaces,
            .direction = DIRECTION_UNKNOWN,
        };
    }
    return step;
}

bool
pcapng_is_magic(const uint8_t magic[4])
{
    return number_32(magic, true) == PCAPNG_SECTION_HEADER;
}

/* The bytes of the next block, whose byte order is that of its section. */
static enum savefile_step
frame_block(savefile_reader_t *self, const savefile_window_t *window, frame_t *block)
{
    static const char cut[] = "the file ends inside a block";
    enum savefile_step step = savefile_require(self, window, PCAPNG_BLOCK_HEADER_SIZE, cut);
    if (step != SAVEFILE_OTHER) {
        return step;
    }
    const uint8_t *bytes = window->bytes;
    if (pcapng_is_magic(bytes)) {
        step = savefile_require(self, window, PCAPNG_BLOCK_HEADER_SIZE + 4, cut);
        if (step != SAVEFILE_OTHER) {
            return step;
        }
        const uint8_t *magic = bytes + PCAPNG_BLOCK_HEADER_SIZE;
        self->big_endian = number_32(magic, true) == PCAPNG_BYTE_ORDER_MAGIC;
        if (!self->big_endian && number_32(magic, false) != PCAPNG_BYTE_ORDER_MAGIC) {
            return savefile_fault(self, self->position + PCAPNG_BLOCK_HEADER_SIZE,
                                  "a section does not tell its byte order", 0);
        }
    }
    uint32_t type = number_32(bytes, self->big_endian);
    uint32_t size = number_32(bytes + 4, self->big_endian);
    uint32_t least = PCAPNG_BLOCK_HEADER_SIZE;
    switch (type) {
    case PCAPNG_SECTION_HEADER:
        least = PCAPNG_SECTION_HEADER_SIZE;
        break;
    case PCAPNG_INTERFACE_DESCRIPTION:
        least = PCAPNG_INTERFACE_SIZE;
        break;
    case PCAPNG_INTERFACE_STATISTICS:
        least = PCAPNG_STATISTICS_SIZE;
        break;
    case PCAPNG_SIMPLE_PACKET:
        least = PCAPNG_SIMPLE_PACKET_SIZE;
        break;
    case PCAPNG_ENHANCED_PACKET:
    case PCAPNG_OBSOLETE_PACKET:
        least = PCAPNG_PACKET_SIZE;
        break;
    }
    if (size > SAVEFILE_LARGEST_BLOCK) {
        return savefile_fault(self, self->position,
                              "a block claims %" PRIu64 " bytes, more than 16 MiB", size);
    }
    if (size < least + PCAPNG_BLOCK_TRAILER_SIZE || size % 4 != 0) {
        return savefile_fault(self, self->position,
                              "a block claims %" PRIu64 " bytes, which it cannot have", size);
    }
    step = savefile_require(self, window, size, cut);
    if (step != SAVEFILE_OTHER) {
        return step;
    }
    if (number_32(bytes + size - PCAPNG_BLOCK_TRAILER_SIZE, self->big_endian) != size) {
        return savefile_fault(self, self->position,
                              "a block claims %" PRIu64 " bytes, and another length at its end",
                              size);
    }
    *block = (frame_t){bytes, size, type};
    return SAVEFILE_OTHER;
}

enum savefile_step
pcapng_read_block(savefile_reader_t *self, savefile_window_t *window, savefile_packet_t *packet)
{
    frame_t block = {0};
    enum savefile_step step = frame_block(self, window, &block);
    if (step != SAVEFILE_OTHER) {
        return step;
    }
    switch (block.type) {
    case PCAPNG_SECTION_HEADER:
        step = read_section_header(self, &block);
        break;
    case PCAPNG_INTERFACE_DESCRIPTION:
        step = read_interface(self, &block);
        break;
    case PCAPNG_INTERFACE_STATISTICS:
        step = read_statistics(self, &block);
        break;
    case PCAPNG_SIMPLE_PACKET:
        step = read_simple_packet(self, &block, packet);
        break;
    case PCAPNG_ENHANCED_PACKET:
    case PCAPNG_OBSOLETE_PACKET:
        step = read_packet(self, &block, packet);
        break;
    }
    if (step >= 0) {
        savefile_move_on(self, window, block.size);
    }
    return step;
}
