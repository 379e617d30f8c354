/* The classic BPF program in front of a packet socket. */
#include "backend/packet.h"

#include <linux/if_ether.h>
#include <sys/socket.h>

/* The accumulator is loaded from the socket buffer's own fields, not from the bytes:
 * https://docs.kernel.org/networking/filter.html */
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + (field)))
/* Three instructions: the version in the datagram itself, which must have its whole header, because
 * a load behind the end refuses it. */
#define LOAD_BYTE(offset) BPF_STMT(BPF_LD | BPF_B | BPF_ABS, offset)
#define LOAD_VERSION(header_size)                                                                  \
    LOAD_BYTE((header_size) - 1), LOAD_BYTE(0), BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xF0)
#define SKIP_IF_EQUAL(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no)
#define ANSWER(bytes) BPF_STMT(BPF_RET | BPF_K, bytes)

/* No packet type and no protocol has this number. */
#define NONE 0xFFFF

int
packet_filter_attach(int fd, enum ip_family family, uint32_t mode, bool loopback, uint32_t snaplen)
{
    uint32_t ipv4 = family == FAMILY_IPV6 ? NONE : ETH_P_IP;
    uint32_t ipv6 = family == FAMILY_IPV4 ? NONE : ETH_P_IPV6;
    /* R10: on loopback each packet leaves and comes in again; the outgoing copy is refused. */
    uint32_t leaving = loopback ? PACKET_OUTGOING : NONE;
    uint32_t foreign = mode == MODE_ON ? NONE : PACKET_OTHERHOST; /* R4, R5 */
    struct sock_filter program[] = {
        /* R8: the protocol of the frame, and the version in the datagram itself */
        LOAD(SKF_AD_PROTOCOL),
        SKIP_IF_EQUAL(ipv4, 0, 4),
        LOAD_VERSION(20),
        SKIP_IF_EQUAL(0x40, 5, 8),
        SKIP_IF_EQUAL(ipv6, 0, 7),
        LOAD_VERSION(40),
        SKIP_IF_EQUAL(0x60, 0, 3),
        LOAD(SKF_AD_PKTTYPE),
        SKIP_IF_EQUAL(leaving, 1, 0),
        SKIP_IF_EQUAL(foreign, 0, 1),
        ANSWER(0),
        ANSWER(mode == MODE_OFF ? 0 : snaplen), /* R7, R11 */
    };
    const struct sock_fprog attached = {
        .len = sizeof program / sizeof program[0],
        .filter = program,
    };
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &attached, sizeof attached);
}
