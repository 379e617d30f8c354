/* The classic BPF machine: which datagrams are wanted, decided before Python is involved.
 * S. McCanne, V. Jacobson: The BSD Packet Filter, 1993;
 * https://docs.kernel.org/networking/filter.html
 */
#ifndef WINSOCKCTL_FILTER_H
#define WINSOCKCTL_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As struct sock_filter and struct bpf_insn lay it out. */
typedef struct {
    uint16_t code;
    uint8_t jump_true;
    uint8_t jump_false;
    uint32_t k;
} filter_instruction_t;

typedef struct {
    size_t count;
    bool reads_length; /* of the datagram */
    filter_instruction_t instructions[];
} filter_t;

#define FILTER_LONGEST 4096 /* instructions, as the kernel's BPF_MAXINSNS */

/* A copy on the heap, to be freed with free(); NULL when there is no memory. */
filter_t *filter_new(const filter_instruction_t *instructions, size_t count);

/* NULL if the program is sound: known instructions, jumps forward and inside, a return at the end,
 * no division by 0, no shift by more than 31, memory words 0 to 15. Else what is wrong, and with
 * which instruction. Only a sound program may be run. */
const char *filter_check(const filter_instruction_t *instructions, size_t count, size_t *where);

/* What the program returns for a datagram that begins with its IP header and of which captured
 * bytes of length are here: 0 refuses it. A load behind the captured bytes refuses it. */
uint32_t filter_run(const filter_t *filter, const uint8_t *bytes, uint32_t captured,
                    uint32_t length);

#endif
