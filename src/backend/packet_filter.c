/* The classic BPF program in front of a packet socket. */
#include "backend/packet.h"

#include <linux/if_ether.h>
#include <stdlib.h>
#include <string.h>
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

/* What a datagram goes through before the program of the caller. */
#define PROLOGUE 15 /* instructions */

static void
write_prologue(struct sock_filter out[PROLOGUE], const packet_t *packet, uint32_t mode)
{
    enum ip_family family = packet->channel.family;
    uint32_t ipv4 = family == FAMILY_IPV6 ? NONE : ETH_P_IP;
    uint32_t ipv6 = family == FAMILY_IPV4 ? NONE : ETH_P_IPV6;
    /* R10: on loopback each packet leaves and comes in again; the outgoing copy is refused. */
    uint32_t leaving = packet->loopback ? PACKET_OUTGOING : NONE;
    uint32_t foreign = mode == MODE_ON ? NONE : PACKET_OTHERHOST; /* R4, R5 */
    const struct sock_filter program[PROLOGUE] = {
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
    };
    memcpy(out, program, sizeof program);
}

/* The caller's program; an answer is the number of bytes to keep, which snaplen limits. R11 */
static void
write_filter(struct sock_filter *out, const filter_t *filter, uint32_t snaplen)
{
    for (size_t i = 0; i < filter->count; i++) {
        const filter_instruction_t *from = &filter->instructions[i];
        uint32_t k = from->k;
        if (from->code == (BPF_RET | BPF_K) && k > snaplen) {
            k = snaplen;
        }
        out[i] = (struct sock_filter){from->code, from->jump_true, from->jump_false, k};
    }
}

int
packet_filter_attach(const packet_t *packet, uint32_t mode)
{
    const filter_t *filter = mode == MODE_OFF ? NULL : packet->channel.filter;
    size_t count = PROLOGUE + (filter == NULL ? 1 : filter->count);
    struct sock_filter *program = malloc(count * sizeof *program);
    if (program == NULL) {
        return -1;
    }
    write_prologue(program, packet, mode);
    if (filter != NULL) {
        write_filter(program + PROLOGUE, filter, packet->snaplen);
    } else {
        program[PROLOGUE] =
            (struct sock_filter)ANSWER(mode == MODE_OFF ? 0 : packet->snaplen); /* R7 */
    }
    const struct sock_fprog attached = {.len = (unsigned short)count, .filter = program};
    int result = setsockopt(packet->fd, SOL_SOCKET, SO_ATTACH_FILTER, &attached, sizeof attached);
    free(program);
    return result;
}
