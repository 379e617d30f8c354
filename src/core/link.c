#include "core/link.h"

#include "core/block.h"
#include "core/bytes.h"
#include "core/ip.h"
#include "core/link_type.h"

enum {
    ETHERNET_HEADER = 14,
    FAMILY_HEADER = 4, /* NULL and LOOP */
    SLL_HEADER = 16,
    SLL2_HEADER = 20,
    VLAN_TAG = 4,

    ETHERTYPE_IPV4 = 0x0800,
    ETHERTYPE_IPV6 = 0x86DD,
    ETHERTYPE_VLAN = 0x8100,
    ETHERTYPE_SERVICE_VLAN = 0x88A8, /* IEEE 802.1ad */
    ETHERTYPE_OLD_VLAN_STACK = 0x9100,

    PPP_IPV4 = 0x0021,
    PPP_IPV6 = 0x0057,
};

/* What a link header says of what follows it: version 0 for neither IPv4 nor IPv6. */
typedef struct {
    uint32_t size;
    uint8_t version;
    uint8_t direction;
} header_t;

static const header_t other = {0};

/* `size` bytes of header end with or contain the type; tags may follow. */
static header_t
read_ethertype(link_frame_t frame, uint32_t type_offset, uint32_t size)
{
    if (frame.captured < size) {
        return other;
    }
    uint32_t type = big_endian_16(frame.bytes + type_offset);
    while (type == ETHERTYPE_VLAN || type == ETHERTYPE_SERVICE_VLAN ||
           type == ETHERTYPE_OLD_VLAN_STACK) {
        if (frame.captured - size < VLAN_TAG) {
            return other;
        }
        type = big_endian_16(frame.bytes + size + 2);
        size += VLAN_TAG;
    }
    return (header_t){
        .size = size,
        .version = type == ETHERTYPE_IPV4   ? 4
                   : type == ETHERTYPE_IPV6 ? 6
                                            : 0,
    };
}

/* The address family, in the byte order of the machine that captured; AF_INET6 is another number on
 * each: Linux, Windows, NetBSD and OpenBSD, FreeBSD, macOS. */
static header_t
read_family(link_frame_t frame)
{
    if (frame.captured < FAMILY_HEADER) {
        return other;
    }
    uint32_t family = big_endian_32(frame.bytes);
    if (family > UINT16_MAX) {
        family = number_32(frame.bytes, false);
    }
    header_t header = {.size = FAMILY_HEADER};
    switch (family) {
    case 2:
        header.version = 4;
        break;
    case 10:
    case 23:
    case 24:
    case 28:
    case 30:
        header.version = 6;
        break;
    }
    return header;
}

static uint8_t
sll_direction(uint32_t packet_type)
{
    switch (packet_type) {
    case 0: /* to us */
    case 1: /* broadcast */
    case 2: /* multicast */
        return DIRECTION_INCOMING;
    case 3:
        return DIRECTION_OTHER;
    case 4:
        return DIRECTION_OUTGOING;
    default:
        return DIRECTION_UNKNOWN;
    }
}

static header_t
read_sll(link_frame_t frame)
{
    header_t header = read_ethertype(frame, 14, SLL_HEADER);
    header.direction = header.size == 0 ? 0 : sll_direction(big_endian_16(frame.bytes));
    return header;
}

static header_t
read_sll2(link_frame_t frame)
{
    header_t header = read_ethertype(frame, 0, SLL2_HEADER);
    header.direction = header.size == 0 ? 0 : sll_direction(frame.bytes[10]);
    return header;
}

/* RFC 1661, RFC 1662: address and control may be left out, and the protocol's first byte if it is
 * 0, which shows because the last byte of a protocol is odd and its first one is even. */
static header_t
read_ppp(link_frame_t frame, uint32_t start)
{
    uint32_t size = start;
    if (frame.captured >= size && frame.captured - size >= 2 &&
        big_endian_16(frame.bytes + size) == 0xFF03) {
        size += 2;
    }
    if (frame.captured < size || frame.captured - size < 2) {
        return other;
    }
    uint32_t protocol = frame.bytes[size++];
    if (protocol % 2 == 0) {
        protocol = protocol << 8 | frame.bytes[size++];
    }
    return (header_t){
        .size = size,
        .version = protocol == PPP_IPV4   ? 4
                   : protocol == PPP_IPV6 ? 6
                                          : 0,
    };
}

static header_t
read_ppp_with_direction(link_frame_t frame)
{
    header_t header = read_ppp(frame, 1);
    if (header.size != 0) {
        header.direction = frame.bytes[0] == 0 ? DIRECTION_INCOMING : DIRECTION_OUTGOING;
    }
    return header;
}

static header_t
read_header(uint32_t link_type, link_frame_t frame)
{
    switch (link_type) {
    case LINK_TYPE_ETHERNET:
        return read_ethertype(frame, 12, ETHERNET_HEADER);
    case LINK_TYPE_NULL:
    case LINK_TYPE_LOOP:
        return read_family(frame);
    case LINK_TYPE_LINUX_SLL:
        return read_sll(frame);
    case LINK_TYPE_LINUX_SLL2:
        return read_sll2(frame);
    case LINK_TYPE_PPP:
    case LINK_TYPE_PPP_HDLC:
        return read_ppp(frame, 0);
    case LINK_TYPE_PPP_WITH_DIRECTION:
        return read_ppp_with_direction(frame);
    case LINK_TYPE_IPV4:
        return (header_t){.version = 4};
    case LINK_TYPE_IPV6:
        return (header_t){.version = 6};
    default:
        return (header_t){.version =
                              ip_version(frame.bytes, frame.captured == 0 ? 0 : frame.length)};
    }
}

bool
link_is_known(uint32_t link_type)
{
    switch (link_type) {
    case LINK_TYPE_NULL:
    case LINK_TYPE_ETHERNET:
    case LINK_TYPE_PPP:
    case LINK_TYPE_RAW_BSD:
    case LINK_TYPE_RAW_OPENBSD:
    case LINK_TYPE_PPP_HDLC:
    case LINK_TYPE_RAW:
    case LINK_TYPE_LOOP:
    case LINK_TYPE_LINUX_SLL:
    case LINK_TYPE_PPP_WITH_DIRECTION:
    case LINK_TYPE_IPV4:
    case LINK_TYPE_IPV6:
    case LINK_TYPE_LINUX_SLL2:
        return true;
    default:
        return false;
    }
}

bool
link_find_datagram(uint32_t link_type, link_frame_t frame, link_datagram_t *datagram)
{
    header_t header = read_header(link_type, frame);
    if (header.version == 0 || frame.captured <= header.size) {
        return false;
    }
    const uint8_t *bytes = frame.bytes + header.size;
    uint32_t captured = frame.captured - header.size;
    uint32_t length = frame.length - header.size;
    if (ip_version(bytes, length) != header.version) {
        return false;
    }
    if (header.size != 0) {
        length = ip_datagram_length(bytes, captured, length);
    }
    *datagram = (link_datagram_t){
        .bytes = bytes,
        .captured = captured < length ? captured : length,
        .length = length,
        .version = header.version,
        .direction = header.direction,
    };
    return true;
}
