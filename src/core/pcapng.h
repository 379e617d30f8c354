/* The numbers of the pcapng format, for its reader and its writer.
 * https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html
 */
#ifndef WINSOCKCTL_PCAPNG_H
#define WINSOCKCTL_PCAPNG_H

#include <stdint.h>

/* Section 4. A type reads the same in both byte orders for the section header only. */
enum pcapng_block_type {
    PCAPNG_INTERFACE_DESCRIPTION = 1,
    PCAPNG_OBSOLETE_PACKET = 2,
    PCAPNG_SIMPLE_PACKET = 3,
    PCAPNG_INTERFACE_STATISTICS = 5,
    PCAPNG_ENHANCED_PACKET = 6,
    PCAPNG_SECTION_HEADER = 0x0A0D0D0A,
};

#define PCAPNG_BYTE_ORDER_MAGIC 0x1A2B3C4Du
#define PCAPNG_VERSION_MAJOR 1
#define PCAPNG_SECTION_LENGTH_UNKNOWN UINT64_MAX

/* Bytes in front of what differs in length; the block's total length stands once more at its end.
 */
#define PCAPNG_BLOCK_HEADER_SIZE 8    /* type, total length */
#define PCAPNG_BLOCK_TRAILER_SIZE 4   /* total length */
#define PCAPNG_SECTION_HEADER_SIZE 24 /* with the block's header, as the others */
#define PCAPNG_INTERFACE_SIZE 16
#define PCAPNG_SIMPLE_PACKET_SIZE 12
#define PCAPNG_PACKET_SIZE 28 /* enhanced and obsolete */
#define PCAPNG_STATISTICS_SIZE 20
#define PCAPNG_OPTION_HEADER_SIZE 4 /* code, length of the value without its padding to 4 */

/* Section 3.5 and the options of each block. */
enum pcapng_option {
    PCAPNG_OPTION_END = 0,
    PCAPNG_OPTION_COMMENT = 1,
    PCAPNG_SECTION_HARDWARE = 2,
    PCAPNG_SECTION_OS = 3,
    PCAPNG_SECTION_APPLICATION = 4,
    PCAPNG_INTERFACE_NAME = 2,
    PCAPNG_INTERFACE_DESCRIPTION_TEXT = 3,
    PCAPNG_INTERFACE_TSRESOL = 9,
    PCAPNG_INTERFACE_FILTER = 11,
    PCAPNG_INTERFACE_OS = 12,
    PCAPNG_INTERFACE_TSOFFSET = 14,
    PCAPNG_PACKET_FLAGS = 2,
    PCAPNG_STATISTICS_START = 2,
    PCAPNG_STATISTICS_END = 3,
    PCAPNG_STATISTICS_RECEIVED = 4,
    PCAPNG_STATISTICS_DROPPED = 5,
    PCAPNG_STATISTICS_ACCEPTED = 6,
    PCAPNG_STATISTICS_OS_DROPPED = 7,
    PCAPNG_STATISTICS_DELIVERED = 8,
};

/* The value of if_tsresol: a power of ten of a second, or of two with the highest bit. */
#define PCAPNG_TSRESOL_MICROSECONDS 6
#define PCAPNG_TSRESOL_NANOSECONDS 9
#define PCAPNG_TSRESOL_POWER_OF_TWO 0x80

/* The lowest two bits of the value of epb_flags. */
#define PCAPNG_FLAGS_DIRECTION 3
#define PCAPNG_FLAGS_INBOUND 1
#define PCAPNG_FLAGS_OUTBOUND 2
#define PCAPNG_FLAGS_PROMISCUOUS (4u << 2)

#endif
