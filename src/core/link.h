/* The IP datagram inside a frame of any link layer that savefiles are usually made of. */
#ifndef WINSOCKCTL_LINK_H
#define WINSOCKCTL_LINK_H

#include <stdbool.h>
#include <stdint.h>

/* Captured bytes are `captured` of `length` that there were. */
typedef struct {
    const uint8_t *bytes;
    uint32_t captured;
    uint32_t length;
} link_frame_t;

typedef struct {
    const uint8_t *bytes; /* inside the frame, IP header first */
    uint32_t captured;    /* at least 1 */
    uint32_t length;
    uint8_t version;   /* 4 or 6 */
    uint8_t direction; /* DIRECTION_UNKNOWN where the link layer does not tell */
} link_datagram_t;

/* Whether link_find_datagram reads this one (enum link_type). */
bool link_is_known(uint32_t link_type);

/* False if there is none: another protocol, or nothing of it was captured (R8). What a link layer
 * appends (padding, a check sequence) is no part of the datagram. */
bool link_find_datagram(uint32_t link_type, link_frame_t frame, link_datagram_t *datagram);

#endif
