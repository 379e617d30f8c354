/* The pcap format: a header, then packets. */
#include "core/savefile_reader.h"

#include <inttypes.h>

#include "core/block.h"
#include "core/bytes.h"
#include "core/link.h"
#include "core/pcapng.h"
#include "core/savefile.h"

#define MAGIC_MICROSECONDS 0xA1B2C3D4u
#define MAGIC_NANOSECONDS 0xA1B23C4Du
/* Packet headers of 24 bytes: interface, protocol and packet type stand behind the usual ones. An
 * old Linux patch, https://wiki.wireshark.org/Development/LibpcapFileFormat */
#define MAGIC_MODIFIED 0xA1B2CD34u
#define MODIFIED_HEADER_SIZE 24

#define VERSION_MAJOR 2
#define NANOSECONDS 1000000000

static bool
is_magic(uint32_t magic)
{
    return magic == MAGIC_MICROSECONDS || magic == MAGIC_NANOSECONDS || magic == MAGIC_MODIFIED;
}

bool
pcap_is_magic(const uint8_t magic[4])
{
    return is_magic(number_32(magic, true)) || is_magic(number_32(magic, false));
}

enum savefile_step
pcap_read_header(savefile_reader_t *self, savefile_window_t *window)
{
    enum savefile_step step =
        savefile_require(self, window, SAVEFILE_HEADER_SIZE, "the file ends in its header");
    if (step != SAVEFILE_OTHER) {
        return step;
    }
    const uint8_t *header = window->bytes;
    bool big_endian = is_magic(number_32(header, true));
    uint32_t magic = number_32(header, big_endian);
    uint16_t version = number_16(header + 4, big_endian);
    if (version != VERSION_MAJOR) {
        return savefile_fault(self, 4, "version %" PRIu64 " of the pcap format is not known",
                              version);
    }
    /* The upper half tells of check sequences at the end of frames. */
    uint32_t link_type = number_32(header + 20, big_endian) & 0xFFFF;
    if (!link_is_known(link_type)) {
        return savefile_refuse_link_type(self, 20, link_type);
    }
    savefile_interface_t interface = {
        .link_type = link_type,
        .snaplen = number_32(header + 16, big_endian),
        .resolution =
            magic == MAGIC_NANOSECONDS ? PCAPNG_TSRESOL_NANOSECONDS : PCAPNG_TSRESOL_MICROSECONDS,
        .dropped = -1,
    };
    if (!savefile_add_interface(self, &interface)) {
        return SAVEFILE_NO_MEMORY;
    }
    self->format = SAVEFILE_PCAP;
    self->big_endian = big_endian;
    self->minor_version = number_16(header + 6, big_endian);
    self->packet_header_size =
        magic == MAGIC_MODIFIED ? MODIFIED_HEADER_SIZE : SAVEFILE_RECORD_HEADER_SIZE;
    savefile_move_on(self, window, SAVEFILE_HEADER_SIZE);
    return SAVEFILE_OTHER;
}

enum savefile_step
pcap_read_packet(savefile_reader_t *self, savefile_window_t *window, savefile_packet_t *packet)
{
    static const char cut[] = "the file ends inside a packet";
    enum savefile_step step = savefile_require(self, window, self->packet_header_size, cut);
    if (step != SAVEFILE_OTHER) {
        return step;
    }
    const uint8_t *header = window->bytes;
    uint32_t seconds = number_32(header, self->big_endian);
    uint32_t fraction = number_32(header + 4, self->big_endian);
    uint32_t captured = number_32(header + 8, self->big_endian);
    uint32_t length = number_32(header + 12, self->big_endian);
    /* Programs before version 2.3 wrote the two lengths the other way round, and some with it. */
    if (self->minor_version < 3 || (self->minor_version == 3 && captured > length)) {
        uint32_t first = captured;
        captured = length;
        length = first;
    }
    if (captured > SAVEFILE_LARGEST_BLOCK) {
        return savefile_fault(self, self->position,
                              "a packet claims %" PRIu64 " bytes, more than 16 MiB", captured);
    }
    size_t size = self->packet_header_size + captured;
    step = savefile_require(self, window, size, cut);
    if (step != SAVEFILE_OTHER) {
        return step;
    }
    const int64_t unit =
        self->interfaces[0].resolution == PCAPNG_TSRESOL_NANOSECONDS ? 1 : NANOSECONDS / 1000000;
    *packet = (savefile_packet_t){
        .timestamp_ns = (int64_t)seconds * NANOSECONDS + (int64_t)fraction * unit,
        .bytes = header + self->packet_header_size,
        .captured = captured,
        .length = length < captured ? captured : length,
        .direction = DIRECTION_UNKNOWN,
    };
    savefile_move_on(self, window, size);
    return SAVEFILE_PACKET;
}
