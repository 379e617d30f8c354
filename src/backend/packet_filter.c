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

/* The program knows nothing of the padding of short frames, which packet_finish() cuts off. Where
 * that could make it refuse what is wanted, the short ones are let through to be judged there. */
#define SHORT 3

static size_t
write_short(struct sock_filter *out, uint32_t snaplen)
{
    const struct sock_filter program[SHORT] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, IP_PADDED_PAYLOAD_LIMIT, 1, 0),
        ANSWER(snaplen),
    };
    memcpy(out, program, sizeof program);
    return SHORT;
}

/* What stands around the caller's program: it begins with an accumulator of 0, and whatever it
 * answers means yes or no; snaplen alone says how much is kept, as on every platform. R11 */
#define BEGINNING 1
#define ENDING 3

static size_t
write_filter(struct sock_filter *out, const filter_t *filter, uint32_t snaplen)
{
    const struct sock_filter ending[ENDING] = {
        SKIP_IF_EQUAL(0, 0, 1),
        ANSWER(0),
        ANSWER(snaplen),
    };
    *out++ = (struct sock_filter)BPF_STMT(BPF_LD | BPF_IMM, 0);
    for (size_t i = 0; i < filter->count; i++) {
        const filter_instruction_t *from = &filter->instructions[i];
        struct sock_filter to = {from->code, from->jump_true, from->jump_false, from->k};
        if (from->code == (BPF_RET | BPF_K) && from->k != 0) {
            to.k = snaplen;
        } else if (from->code == (BPF_RET | BPF_A)) {
            to = (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA, (uint32_t)(filter->count - 1 - i));
        }
        *out++ = to;
    }
    memcpy(out, ending, sizeof ending);
    return BEGINNING + filter->count + ENDING;
}

int
packet_filter_attach(const packet_t *packet, uint32_t mode)
{
    const filter_t *filter = mode == MODE_OFF ? NULL : packet->channel.filter;
    uint32_t snaplen = packet_kernel_snaplen(packet);
    size_t most = PROLOGUE + SHORT + BEGINNING + (filter == NULL ? 0 : filter->count) + ENDING;
    struct sock_filter *program = malloc(most * sizeof *program);
    if (program == NULL) {
        return -1;
    }
    write_prologue(program, packet, mode);
    size_t count = PROLOGUE;
    if (filter == NULL) {
        program[count++] = (struct sock_filter)ANSWER(mode == MODE_OFF ? 0 : snaplen); /* R7 */
    } else {
        if (filter->reads_length) {
            count += write_short(program + count, snaplen);
        }
        count += write_filter(program + count, filter, snaplen);
    }
    const struct sock_fprog attached = {.len = (unsigned short)count, .filter = program};
    int result = setsockopt(packet->fd, SOL_SOCKET, SO_ATTACH_FILTER, &attached, sizeof attached);
    free(program);
    return result;
}
