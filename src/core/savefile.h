/* Savefiles: what is written of the pcap format, with nanosecond stamps and link type RAW.
 * https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html
 */
#ifndef WINSOCKCTL_SAVEFILE_H
#define WINSOCKCTL_SAVEFILE_H

#include <stddef.h>
#include <stdint.h>

#include "core/block.h"

enum savefile_format {
    SAVEFILE_UNKNOWN, /* of a file of which nothing was read yet */
    SAVEFILE_PCAP,
    SAVEFILE_PCAPNG,
};

#define SAVEFILE_HEADER_SIZE 24
#define SAVEFILE_RECORD_HEADER_SIZE 16

/* What tools take for "whole datagrams"; a larger one may stand in the file all the same. */
#define SAVEFILE_DEFAULT_SNAPLEN 262144

void savefile_header(uint8_t out[SAVEFILE_HEADER_SIZE], uint32_t snaplen);

void savefile_record_header(uint8_t out[SAVEFILE_RECORD_HEADER_SIZE], const record_t *record);

#endif
