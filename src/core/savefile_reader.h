/* Reads savefiles: pcap and pcapng, piece by piece, whatever is in them.
 * https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html
 * https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html
 *
 * No length that the file claims is believed before that many bytes are here, and none is used for
 * an allocation.
 */
#ifndef WINSOCKCTL_SAVEFILE_READER_H
#define WINSOCKCTL_SAVEFILE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/savefile.h"

/* What a packet or block may claim for itself: far more than any program writes. */
#define SAVEFILE_LARGEST_BLOCK ((uint32_t)16 << 20)

/* A pcap file has one. Texts are NULL where the file has none. */
typedef struct {
    uint32_t link_type;
    uint32_t snaplen;   /* 0 for no limit */
    uint8_t resolution; /* of the stamps, as PCAPNG_INTERFACE_TSRESOL */
    int64_t offset_s;   /* seconds to add to each stamp */
    int64_t dropped;    /* -1 if the file does not tell */
    char *name;
    char *description;
    char *filter;
} savefile_interface_t;

typedef struct {
    int64_t timestamp_ns; /* 0 if the file does not tell */
    const uint8_t *bytes; /* link header first */
    uint32_t captured;
    uint32_t length;
    uint32_t interface; /* its place in the reader's interfaces */
    uint8_t direction;
} savefile_packet_t;

/* The bytes that are here; they begin at the reader's position. */
typedef struct {
    const uint8_t *bytes;
    size_t size;
    bool at_end; /* the file has no more */
} savefile_window_t;

enum savefile_step {
    SAVEFILE_NO_MEMORY = -2,
    SAVEFILE_FAULT = -1, /* see fault; so is every further step */
    SAVEFILE_PACKET,
    SAVEFILE_OTHER,     /* something else was read */
    SAVEFILE_NEED_MORE, /* of what comes behind the window */
    SAVEFILE_END,
};

typedef struct {
    uint64_t offset; /* of what is wrong */
    char reason[160];
} savefile_fault_t;

typedef struct {
    enum savefile_format format;
    bool big_endian;
    uint64_t position; /* in the file */
    savefile_interface_t *interfaces;
    size_t interface_count;
    size_t interface_room;
    savefile_fault_t fault;
    /* pcap */
    uint32_t packet_header_size;
    uint16_t minor_version;
    /* pcapng */
    size_t section_interfaces; /* the place of the section's first one */
    char *comment;             /* of the first section that has one */
} savefile_reader_t;

/* Reads the next thing and moves the window and the position behind it, unless it needs more. */
enum savefile_step savefile_reader_next(savefile_reader_t *self, savefile_window_t *window,
                                        savefile_packet_t *packet);

/* Frees what the reader holds. A reader of zeros is a new one. */
void savefile_reader_clear(savefile_reader_t *self);

/* The two formats, behind the magic number. */
enum savefile_step pcap_read_header(savefile_reader_t *self, savefile_window_t *window);
enum savefile_step pcap_read_packet(savefile_reader_t *self, savefile_window_t *window,
                                    savefile_packet_t *packet);
enum savefile_step pcapng_read_block(savefile_reader_t *self, savefile_window_t *window,
                                     savefile_packet_t *packet);
bool pcap_is_magic(const uint8_t magic[4]);
bool pcapng_is_magic(const uint8_t magic[4]);

/* What the formats are read with. `reason` is a format for printf of at most one PRIu64. */
enum savefile_step savefile_fault(savefile_reader_t *self, uint64_t offset, const char *reason,
                                  uint64_t number);
void savefile_move_on(savefile_reader_t *self, savefile_window_t *window, size_t size);
/* SAVEFILE_OTHER if `size` bytes are here, or else what that means. */
enum savefile_step savefile_require(savefile_reader_t *self, const savefile_window_t *window,
                                    size_t size, const char *what);
/* Takes the interface with its texts; frees them and returns false when there is no memory. */
bool savefile_add_interface(savefile_reader_t *self, savefile_interface_t *interface);
void savefile_interface_clear(savefile_interface_t *interface);
enum savefile_step savefile_refuse_link_type(savefile_reader_t *self, uint64_t offset,
                                             uint32_t link_type);
/* Nanoseconds since 1970 of a stamp in the interface's units; the nearest one that fits. */
int64_t savefile_timestamp(const savefile_interface_t *interface, uint64_t units);

#endif
