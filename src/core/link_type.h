/* What stands in front of an IP datagram in a savefile: the registered numbers.
 * https://www.tcpdump.org/linktypes.html
 */
#ifndef WINSOCKCTL_LINK_TYPE_H
#define WINSOCKCTL_LINK_TYPE_H

enum link_type {
    LINK_TYPE_NULL = 0,
    LINK_TYPE_ETHERNET = 1,
    LINK_TYPE_PPP = 9,
    LINK_TYPE_RAW_BSD = 12,     /* DLT_RAW of most systems, written by some programs */
    LINK_TYPE_RAW_OPENBSD = 14, /* and of OpenBSD */
    LINK_TYPE_PPP_HDLC = 50,
    LINK_TYPE_RAW = 101,
    LINK_TYPE_LOOP = 108,
    LINK_TYPE_LINUX_SLL = 113,
    LINK_TYPE_PPP_WITH_DIRECTION = 204,
    LINK_TYPE_IPV4 = 228,
    LINK_TYPE_IPV6 = 229,
    LINK_TYPE_LINUX_SLL2 = 276,
};

#endif
