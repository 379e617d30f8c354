/* ring_walk INTERFACE: the least that a reader of a TPACKET_V3 ring has to do, as the limit.
 * https://www.kernel.org/doc/html/latest/networking/packet_mmap.html
 */
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "consumer.h"

enum { BLOCK_SIZE = 1 << 20, BLOCKS = BUFFER_SIZE / BLOCK_SIZE };

static uint64_t received;

/* Whether it ends with this block. */
static bool
walk(const struct tpacket_block_desc *block)
{
    const uint8_t *frame = (const uint8_t *)block + block->hdr.bh1.offset_to_first_pkt;
    for (uint32_t left = block->hdr.bh1.num_pkts; left > 0; left--) {
        const struct tpacket3_hdr *header = (const struct tpacket3_hdr *)frame;
        uint8_t protocol = frame[header->tp_net + PROTOCOL_OFFSET];
        received += protocol == PROTOCOL_UDP;
        if (protocol == PROTOCOL_END) {
            return true;
        }
        frame += header->tp_next_offset;
    }
    return false;
}

int
main(int count, char **arguments)
{
    if (count != 2) {
        fputs("usage: ring_walk INTERFACE\n", stderr);
        return 2;
    }
    int packet = socket(AF_PACKET, SOCK_DGRAM, 0), version = TPACKET_V3;
    check(packet >= 0, "socket");
    check(setsockopt(packet, SOL_PACKET, PACKET_VERSION, &version, sizeof version) == 0,
          "PACKET_VERSION");
    struct tpacket_req3 request = {
        .tp_block_size = BLOCK_SIZE,
        .tp_block_nr = BLOCKS,
        .tp_frame_size = 2048,
        .tp_frame_nr = BUFFER_SIZE / 2048,
        .tp_retire_blk_tov = LATENCY,
    };
    check(setsockopt(packet, SOL_PACKET, PACKET_RX_RING, &request, sizeof request) == 0,
          "PACKET_RX_RING");
    uint8_t *ring = mmap(NULL, BUFFER_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, packet, 0);
    check(ring != MAP_FAILED, "mmap");
    struct sockaddr_ll address = {
        .sll_family = AF_PACKET,
        .sll_protocol = htons(ETH_P_IP),
        .sll_ifindex = (int)if_nametoindex(arguments[1]),
    };
    check(bind(packet, (struct sockaddr *)&address, sizeof address) == 0, "bind");

    int64_t began = ready();
    struct pollfd readable = {.fd = packet, .events = POLLIN};
    for (unsigned next = 0, ended = false; !ended; next = (next + 1) % BLOCKS) {
        struct tpacket_block_desc *block = (void *)(ring + (size_t)next * BLOCK_SIZE);
        uint32_t *status = &block->hdr.bh1.block_status;
        while ((__atomic_load_n(status, __ATOMIC_ACQUIRE) & TP_STATUS_USER) == 0) {
            poll(&readable, 1, -1);
        }
        ended = walk(block);
        __atomic_store_n(status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
    }
    struct tpacket_stats_v3 statistics = {0};
    socklen_t size = sizeof statistics;
    getsockopt(packet, SOL_PACKET, PACKET_STATISTICS, &statistics, &size);
    report(began, received, statistics.tp_drops);
    return 0;
}
