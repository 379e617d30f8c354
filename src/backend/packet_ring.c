/* Receiving from a TPACKET_V3 ring without copying.
 * https://docs.kernel.org/networking/packet_mmap.html
 *
 * The ring is mapped twice. The first mapping holds the block headers over which kernel and program
 * hand blocks to each other. Blocks are lent to Python from the second, the window.
 *
 * The kernel fills blocks strictly in order, so one block that Python keeps would stop the capture
 * when its turn comes. Before that it is evicted: its bytes are copied and the copy is mapped over
 * the block's place in the window. All pointers stay valid, and the kernel has its block back. The
 * place in the window is spent then; when its turn comes again, a fresh window is mapped.
 */
#include "backend/packet.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/winsock_errors.h"

/* The kernel hands a block over whenever the latency is over, however little is in it: the more
 * blocks, the longer a program may stop. But segmentation offload makes datagrams of 65,535 bytes,
 * of which 128 KiB, with the headers, take one and 256 KiB three. */
#define LARGEST_BLOCK ((size_t)1 << 18)
#define SMALLEST_BLOCK ((size_t)1 << 17)
#define USUAL_BLOCKS 64

/* So much of the ring may be lent out; the rest is always the kernel's to fill. */
#define LENT_PART 4

/* Lent at a time: neighbouring blocks that are ready, as many as a program's caches hold. */
#define MOST_BLOCKS 4
#define MOST_RECORDS 4096

/* Fewer bytes are copied to the heap at once: that costs less than lending them, and at low rates a
 * program may keep any number of them without using up the process's mappings. */
#define SMALLEST_LENT ((size_t)1 << 16)

/* Evicted blocks in use at a time; each takes one or two of the process's mappings
 * (vm.max_map_count, 65,530). Beyond that, blocks are copied to the heap. */
#define MOST_EVICTED 8192

/* See wait_for_blocks(). So much of the ring is let come before the next look, for so many
 * latencies at most; a sender of a byte a nanosecond must not fill more than the last part
 * meanwhile. */
#define PART_TO_AWAIT 8
#define LATENCIES_TO_PAUSE 4
#define PART_TO_FILL 2
#define LONGEST_PAUSE_NS (50 * (int64_t)NANOSECONDS_PER_MILLISECOND)

typedef struct {
    uint8_t *base;
    size_t lent; /* lendings that point into it */
    bool retired;
    bool spent[]; /* by slot: a copy was mapped over it */
} window_t;

/* Neighbouring slots of the ring. */
typedef struct {
    size_t first;
    size_t end; /* behind the last */
} span_t;

typedef struct {
    block_t block;
    ring_t *ring;
    window_t *window;
    span_t span;
    bool evicted;
    size_t room; /* for so many records */
    record_t records[];
} lending_t;

struct ring {
    pthread_mutex_t lock; /* guards all that follows, the windows and `evicted` of each lending */
    size_t references;    /* the socket's and one for each lending */
    int fd;               /* -1 when the socket is closed */
    uint8_t *headers;     /* the first mapping */
    size_t block_size;
    size_t block_count;
    size_t next; /* the slot that the kernel hands over next */
    size_t evicted;
    window_t *window;
    int64_t longest_pause_ns;
    int64_t emptied_at_ns; /* when receive() last found no block ready */
    size_t loaded;         /* blocks since then that held SMALLEST_LENT bytes or more */
    lending_t *spare;      /* memory for the next one: fresh pages cost more than describing */
    lending_t *lendings[]; /* by slot: who keeps the kernel's block */
};

static int64_t
smaller(int64_t left, int64_t right)
{
    return left < right ? left : right;
}

static size_t
whole_pages(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (size + page - 1) / page * page;
}

static size_t
ring_size(const ring_t *self)
{
    return self->block_size * self->block_count;
}

static struct tpacket_hdr_v1 *
block_header(const ring_t *self, size_t slot)
{
    return &((struct tpacket_block_desc *)(self->headers + slot * self->block_size))->hdr.bh1;
}

static bool
acquire_block(const ring_t *self, size_t slot)
{
    return __atomic_load_n(&block_header(self, slot)->block_status, __ATOMIC_ACQUIRE) &
           TP_STATUS_USER;
}

static void
release_span(const ring_t *self, span_t span)
{
    for (size_t slot = span.first; slot < span.end; slot++) {
        struct tpacket_hdr_v1 *header = block_header(self, slot);
        /* While the block is ours: what has_unfinished_block() asks must not be an old number. */
        header->num_pkts = 0;
        __atomic_store_n(&header->block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
    }
}

/* Keeps the addresses reserved and gives back whatever lay there. */
static void
blank(uint8_t *address, size_t size)
{
    if (size > 0) {
        mmap(address, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
             0);
    }
}

static window_t *
window_new(const ring_t *ring)
{
    window_t *self = calloc(1, sizeof *self + ring->block_count * sizeof self->spent[0]);
    if (self == NULL) {
        return NULL;
    }
    self->base = mmap(NULL, ring_size(ring), PROT_READ, MAP_SHARED, ring->fd, 0);
    if (self->base == MAP_FAILED) {
        free(self);
        return NULL;
    }
    return self;
}

static uint8_t *
window_slot(const ring_t *ring, const window_t *window, size_t slot)
{
    return window->base + slot * ring->block_size;
}

static void
window_free_if_unused(const ring_t *ring, window_t *self)
{
    if (self->retired && self->lent == 0) {
        munmap(self->base, ring_size(ring));
        free(self);
    }
}

static size_t
span_size(const ring_t *ring, span_t span)
{
    return (span.end - span.first) * ring->block_size;
}

/* Nothing more is lent from the window; only what Python holds of it stays. */
static void
window_retire(const ring_t *ring, window_t *self)
{
    self->retired = true;
    for (size_t slot = 0; self->lent > 0 && slot < ring->block_count; slot++) {
        const lending_t *lending = ring->lendings[slot];
        if (!self->spent[slot] && (lending == NULL || lending->window != self)) {
            blank(window_slot(ring, self, slot), ring->block_size);
        }
    }
    window_free_if_unused(ring, self);
}

static int
evict(ring_t *self, lending_t *lending)
{
    window_t *window = lending->window;
    span_t span = lending->span;
    uint8_t *place = window_slot(self, window, span.first);
    size_t size = whole_pages(lending->block.size);
    uint8_t *copy =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (copy == MAP_FAILED) {
        return -1;
    }
    memcpy(copy, lending->block.bytes, lending->block.size);
    if (mprotect(copy, size, PROT_READ) < 0 ||
        mremap(copy, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, place) == MAP_FAILED) {
        int error = errno;
        munmap(copy, size);
        errno = error;
        return -1;
    }
    blank(place + size, span_size(self, span) - size);
    lending->evicted = true;
    self->evicted++;
    for (size_t slot = span.first; slot < span.end; slot++) {
        window->spent[slot] = true;
        self->lendings[slot] = NULL;
    }
    release_span(self, span);
    return 0;
}

static void
ring_drop_reference_locked(ring_t *self)
{
    bool last = --self->references == 0;
    pthread_mutex_unlock(&self->lock);
    if (last) {
        pthread_mutex_destroy(&self->lock);
        free(self->spare);
        free(self);
    }
}

/* With the ring's lock; only `room` and `records` are set. */
static lending_t *
lending_new(ring_t *ring, size_t room)
{
    lending_t *self = ring->spare;
    if (self != NULL && self->room >= room) {
        ring->spare = NULL;
        return self;
    }
    self = malloc(sizeof *self + room * sizeof self->records[0]);
    if (self != NULL) {
        self->room = room;
    }
    return self;
}

/* With the ring's lock. */
static void
lending_free(ring_t *ring, lending_t *self)
{
    lending_t *unused = self;
    if (ring->spare == NULL || ring->spare->room < self->room) {
        unused = ring->spare;
        ring->spare = self;
    }
    free(unused);
}

static void
lending_release(block_t *block)
{
    lending_t *self = (lending_t *)block;
    ring_t *ring = self->ring;
    window_t *window = self->window;
    span_t span = self->span;
    uint8_t *place = window_slot(ring, window, span.first);
    pthread_mutex_lock(&ring->lock);
    if (self->evicted) {
        ring->evicted--;
        blank(place, whole_pages(block->size));
    } else {
        for (size_t slot = span.first; slot < span.end; slot++) {
            ring->lendings[slot] = NULL;
        }
        if (ring->fd >= 0) {
            release_span(ring, span);
        }
        if (window->retired) {
            blank(place, span_size(ring, span));
        }
    }
    window->lent--;
    window_free_if_unused(ring, window);
    lending_free(ring, self);
    ring_drop_reference_locked(ring);
}

static void
ring_close(ring_t *self)
{
    pthread_mutex_lock(&self->lock);
    for (size_t slot = 0; slot < self->block_count; slot++) {
        if (self->lendings[slot] != NULL) {
            /* A mapping of the ring would keep the kernel's socket alive. Where there is no memory
             * for the copy it does so until the block is released, with its filter shut. */
            (void)evict(self, self->lendings[slot]);
        }
    }
    if (self->window != NULL) {
        window_retire(self, self->window);
    }
    if (self->headers != NULL) {
        munmap(self->headers, ring_size(self));
    }
    self->fd = -1;
    ring_drop_reference_locked(self);
}

static int
ring_request(const ring_t *self, int64_t latency_ns)
{
    const struct tpacket_req3 request = {
        .tp_block_size = (unsigned)self->block_size,
        .tp_block_nr = (unsigned)self->block_count,
        .tp_frame_size = TPACKET_ALIGNMENT << 7,
        .tp_frame_nr = (unsigned)(ring_size(self) / (TPACKET_ALIGNMENT << 7)),
        .tp_retire_blk_tov = (unsigned)(latency_ns / NANOSECONDS_PER_MILLISECOND),
    };
    return setsockopt(self->fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof request);
}

static ring_t *
ring_new(int fd, const channel_options_t *options, failure_t *failure)
{
    size_t block_size = SMALLEST_BLOCK;
    while (block_size < LARGEST_BLOCK && block_size * USUAL_BLOCKS < options->buffer_size) {
        block_size *= 2;
    }
    uint64_t block_count = (options->buffer_size + block_size - 1) / block_size;
    /* The kernel would take all memory there is before it said no. */
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    if (options->buffer_size > memory / 2) {
        errno = ENOMEM;
        linux_fail(failure, "setsockopt(PACKET_RX_RING)");
        return NULL;
    }
    ring_t *self = calloc(1, sizeof *self + block_count * sizeof self->lendings[0]);
    if (self == NULL || pthread_mutex_init(&self->lock, NULL) != 0) {
        free(self);
        errno = ENOMEM;
        linux_fail(failure, "malloc");
        return NULL;
    }
    self->references = 1;
    self->fd = fd;
    self->block_size = block_size;
    self->block_count = (size_t)block_count;
    self->longest_pause_ns =
        smaller(smaller(options->latency_ns * LATENCIES_TO_PAUSE, LONGEST_PAUSE_NS),
                (int64_t)ring_size(self) / PART_TO_FILL);
    if (setsockopt(fd, SOL_PACKET, PACKET_VERSION, &(int){TPACKET_V3}, sizeof(int)) < 0) {
        linux_fail(failure, "setsockopt(PACKET_VERSION)");
        goto failed;
    }
    if (ring_request(self, options->latency_ns) < 0) {
        linux_fail(failure, "setsockopt(PACKET_RX_RING)");
        goto failed;
    }
    self->headers = mmap(NULL, ring_size(self), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (self->headers == MAP_FAILED) {
        self->headers = NULL;
        linux_fail(failure, "mmap");
        goto failed;
    }
    self->window = window_new(self);
    if (self->window == NULL) {
        linux_fail(failure, "mmap");
        goto failed;
    }
    return self;

failed:
    ring_close(self);
    return NULL;
}

static record_t
describe(const uint8_t *block, const struct tpacket3_hdr *packet)
{
    const uint8_t *start = (const uint8_t *)packet;
    record_t record = packet_record(
        (const struct sockaddr_ll *)(start + (size_t)TPACKET_ALIGN((int)sizeof *packet)),
        packet->tp_snaplen, packet->tp_len, packet->tp_sec, packet->tp_nsec);
    record.offset = (uint64_t)(start + packet->tp_net - block);
    return record;
}

static const struct tpacket3_hdr *
packet_behind(const struct tpacket3_hdr *packet)
{
    return (const struct tpacket3_hdr *)((const uint8_t *)packet + packet->tp_next_offset);
}

/* The blocks that are ready and become one. None of them but the last is less than half full, so
 * that a copy of them is not mostly gaps. */
static span_t
ready_span(const ring_t *self)
{
    span_t span = {.first = self->next, .end = self->next};
    size_t part = self->block_count / LENT_PART;
    size_t most = part < MOST_BLOCKS ? part : MOST_BLOCKS;
    size_t records = 0;
    while (span.end - span.first < most && span.end < self->block_count &&
           acquire_block(self, span.end)) {
        const struct tpacket_hdr_v1 *header = block_header(self, span.end);
        records += header->num_pkts;
        if (span.end > span.first && records > MOST_RECORDS) {
            break;
        }
        span.end++;
        if (header->blk_len < self->block_size / 2) {
            break;
        }
    }
    return span;
}

/* Up to the end of the last datagram. */
static size_t
span_used(const ring_t *self, span_t span)
{
    return span_size(self, span) - self->block_size + block_header(self, span.end - 1)->blk_len;
}

static bool
is_spent(const window_t *window, span_t span)
{
    for (size_t slot = span.first; slot < span.end; slot++) {
        if (window->spent[slot]) {
            return true;
        }
    }
    return false;
}

/* A lending of what the filter wants of the span, not yet lent; NULL when there is no memory. */
static lending_t *
describe_span(packet_t *packet, span_t span)
{
    ring_t *self = packet->ring;
    size_t room = 0;
    for (size_t slot = span.first; slot < span.end; slot++) {
        room += block_header(self, slot)->num_pkts;
    }
    lending_t *lending = lending_new(self, room);
    if (lending == NULL) {
        return NULL;
    }
    block_t block = {
        .size = span_used(self, span),
        .records = lending->records,
        .release = lending_release,
    };
    /* Where the program will read it: the processor then knows the addresses. */
    const uint8_t *bytes = is_spent(self->window, span)
                               ? self->headers + span.first * self->block_size
                               : window_slot(self, self->window, span.first);
    lock_take(packet->channel.filter_lock);
    for (size_t slot = span.first; slot < span.end; slot++) {
        const struct tpacket_hdr_v1 *header = block_header(self, slot);
        const uint8_t *start = bytes + (slot - span.first) * self->block_size;
        const struct tpacket3_hdr *datagram =
            (const struct tpacket3_hdr *)(start + header->offset_to_first_pkt);
        for (uint32_t left = header->num_pkts; left > 0; left--) {
            record_t record = describe(bytes, datagram);
            if (packet_finish(packet, bytes + record.offset, &record)) {
                block_count(&block, &record);
                block.records[block.count++] = record;
            }
            datagram = packet_behind(datagram);
        }
        packet->recheck -= packet->recheck > 0;
    }
    lock_release(packet->channel.filter_lock);
    lending->block = block;
    lending->span = span;
    lending->evicted = false;
    return lending;
}

static block_t *
copy_lending(const ring_t *self, const lending_t *lending)
{
    const block_t *block = &lending->block;
    const uint8_t *bytes = self->headers + lending->span.first * self->block_size;
    block_t *copy = block_new(block->datagram_bytes, block->count);
    for (size_t i = 0; copy != NULL && i < block->count; i++) {
        block_append(copy, bytes + block->records[i].offset, block->records[i]);
    }
    return copy;
}

static block_t *
lend(ring_t *self, lending_t *lending)
{
    span_t span = lending->span;
    lending->block.bytes = window_slot(self, self->window, span.first);
    lending->ring = self;
    lending->window = self->window;
    for (size_t slot = span.first; slot < span.end; slot++) {
        self->lendings[slot] = lending;
    }
    self->window->lent++;
    self->references++;
    return &lending->block;
}

static bool
can_lend(ring_t *self, span_t span)
{
    if (span_used(self, span) < SMALLEST_LENT || self->evicted >= MOST_EVICTED) {
        return false;
    }
    if (is_spent(self->window, span)) {
        window_t *fresh = window_new(self);
        if (fresh == NULL) {
            return false;
        }
        window_t *old = self->window;
        self->window = fresh;
        window_retire(self, old);
    }
    return true;
}

/* Takes the span from the kernel: lent, copied, or NULL if nothing in it is wanted. */
static int
take_span(packet_t *packet, span_t span, block_t **block)
{
    ring_t *self = packet->ring;
    lending_t *lending = describe_span(packet, span);
    *block = NULL;
    if (lending == NULL) {
        return -1;
    }
    if (lending->block.count > 0 && can_lend(self, span)) {
        *block = lend(self, lending);
        return 0;
    }
    bool wanted = lending->block.count > 0;
    if (wanted) {
        *block = copy_lending(self, lending);
    }
    lending_free(self, lending);
    if (wanted && *block == NULL) {
        return -1;
    }
    release_span(self, span);
    return 0;
}

/* What is lent out and so old that it would be more than the part that may be. */
static int
evict_oldest(ring_t *self, span_t span)
{
    size_t kept = self->block_count - self->block_count / LENT_PART;
    for (size_t slot = span.first; slot < span.end; slot++) {
        lending_t *oldest = self->lendings[(slot + kept) % self->block_count];
        if (oldest != NULL && evict(self, oldest) < 0) {
            return -1;
        }
    }
    return 0;
}

/* RECEIVE_BLOCK, RECEIVE_FAILED, or RECEIVE_TIMED_OUT if no block is ready. */
static enum receive_outcome
take_block(packet_t *packet, block_t **block, failure_t *failure)
{
    ring_t *self = packet->ring;
    for (;;) {
        span_t span = ready_span(self);
        if (span.end == span.first) {
            return RECEIVE_TIMED_OUT;
        }
        for (size_t slot = span.first; slot < span.end; slot++) {
            self->loaded += block_header(self, slot)->blk_len >= SMALLEST_LENT;
        }
        pthread_mutex_lock(&self->lock);
        const char *failed = evict_oldest(self, span) < 0 ? "mremap" : NULL;
        if (failed == NULL && take_span(packet, span, block) < 0) {
            errno = ENOMEM;
            failed = "malloc";
        }
        if (failed != NULL) {
            linux_fail(failure, failed);
            pthread_mutex_unlock(&self->lock);
            return RECEIVE_FAILED;
        }
        self->next = span.end % self->block_count;
        pthread_mutex_unlock(&self->lock);
        if (*block != NULL) {
            return RECEIVE_BLOCK;
        }
    }
}

/* Whether datagrams lie in a block that the kernel has not handed over yet. */
static bool
has_unfinished_block(const ring_t *self)
{
    const struct tpacket_hdr_v1 *header = block_header(self, self->next);
    return __atomic_load_n(&header->num_pkts, __ATOMIC_ACQUIRE) > 0;
}

/* As packet_wait(). But under load waking up costs more than reading a block, because a processor
 * that slept has empty caches: so a part of the ring is let come first, by how fast blocks came so
 * far, if that is more than one block. */
static enum receive_outcome
wait_for_blocks(packet_t *packet, int64_t deadline_ns)
{
    ring_t *self = packet->ring;
    int64_t part = (int64_t)self->block_count / PART_TO_AWAIT;
    int64_t now_ns = platform_now_ns();
    int64_t longest_ns = smaller(self->longest_pause_ns, deadline_ns - now_ns);
    int64_t each_ns =
        self->loaded > 0 ? (now_ns - self->emptied_at_ns) / (int64_t)self->loaded : INT64_MAX;
    self->emptied_at_ns = now_ns;
    self->loaded = 0;
    if (part <= 1 || each_ns >= longest_ns) {
        return packet_wait(packet, deadline_ns);
    }
    const struct timespec pause = {.tv_nsec = smaller(each_ns * part, longest_ns)};
    return nanosleep(&pause, NULL) < 0 ? RECEIVE_INTERRUPTED : RECEIVE_BLOCK;
}

static enum receive_outcome
packet_ring_receive(channel_t *channel, int64_t deadline_ns, block_t **block, failure_t *failure)
{
    packet_t *self = (packet_t *)channel;
    for (;;) {
        enum receive_outcome outcome = take_block(self, block, failure);
        if (outcome != RECEIVE_TIMED_OUT) {
            return outcome;
        }
        /* R14: the kernel still retires the last block, after the latency. */
        if (packet_has_ended(self) && !has_unfinished_block(self->ring)) {
            return packet_end(self, failure);
        }
        outcome = wait_for_blocks(self, deadline_ns);
        if (outcome != RECEIVE_BLOCK) {
            return outcome;
        }
    }
}

static channel_t *
packet_ring_open(const channel_options_t *options, failure_t *failure)
{
    packet_t *self = packet_open(&packet_ring_backend, options, failure);
    if (self == NULL) {
        return NULL;
    }
    self->ring = ring_new(self->fd, options, failure);
    if (self->ring == NULL) {
        packet_close(self);
        return NULL;
    }
    self->channel.buffer_size = ring_size(self->ring);
    /* The blocks that are full, and the one that the kernel is filling. */
    self->recheck_span = self->ring->block_count + 1;
    return &self->channel;
}

static void
packet_ring_close(channel_t *channel)
{
    packet_t *self = (packet_t *)channel;
    ring_close(self->ring);
    packet_close(self);
}

const backend_t packet_ring_backend = {
    .name = "packet-ring",
    .open = packet_ring_open,
    .bind = packet_bind,
    .control = packet_control,
    .set_filter = packet_set_filter,
    .receive = packet_ring_receive,
    .wake = packet_wake,
    .dropped = packet_dropped,
    .descriptor = packet_descriptor,
    .close = packet_ring_close,
};
