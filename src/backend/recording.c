#include "backend/recording.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backend/platform.h"
#include "core/pcapng_packet.h"
#include "core/stream_copy.h"

#define ROOM ((size_t)2 << 20)
#define STAGE ((size_t)16 << 10) /* bytes that stay in the nearest caches; ROOM is a multiple */
#define NANOSECONDS 1000000000
#define OLD_NS ((int64_t)NANOSECONDS)
#define NUMBER_SIZE 12 /* an unsigned with "_" and "" */

static int64_t
utc_ns(void)
{
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (int64_t)now.tv_sec * NANOSECONDS + now.tv_nsec;
}

static int
fail_memory(failure_t *failure)
{
    *failure = (failure_t){.system_error = ENOMEM, .call = "malloc", .hint = ""};
    return -1;
}

static bool
is_interrupted(recording_t *self, failure_t *failure)
{
    failure->call = NULL;
    return self->options.interrupted != NULL && self->options.interrupted(self->options.context);
}

/* Bytes of the record at a place, of which `there` bytes are there; 0 if they do not tell. */
static size_t
record_size(const recording_t *self, const uint8_t *place, size_t there)
{
    uint32_t number;
    if (self->options.format == SAVEFILE_PCAPNG) {
        if (there < PCAPNG_BLOCK_HEADER_SIZE) {
            return 0;
        }
        memcpy(&number, place + 4, sizeof number);
        return number;
    }
    if (there < SAVEFILE_RECORD_HEADER_SIZE) {
        return 0;
    }
    memcpy(&number, place + 8, sizeof number);
    return SAVEFILE_RECORD_HEADER_SIZE + (size_t)number;
}

static bool
is_datagram(const recording_t *self, const uint8_t *place)
{
    uint32_t type;
    memcpy(&type, place, sizeof type);
    return self->options.format == SAVEFILE_PCAP || type == PCAPNG_ENHANCED_PACKET;
}

/* The first `written` bytes of the buffer are in the file and no more will be: cuts it behind the
 * last whole record, and closes it. Always -1. */
static int
give_up(recording_t *self, size_t written)
{
    uint64_t whole = self->boundary;
    uint64_t datagrams = self->datagrams_flushed;
    size_t at = 0;
    bool complete = true;
    if (self->carried > 0) {
        complete = written >= self->carried;
        at = complete ? (size_t)self->carried : 0;
        datagrams += complete && self->carried_is_datagram;
    } else if (self->position == 0 && self->options.format == SAVEFILE_PCAP) {
        at = SAVEFILE_HEADER_SIZE;
        complete = written >= at;
    }
    while (complete) {
        whole = self->position + at;
        size_t size = record_size(self, self->buffer + at, written - at);
        complete = size != 0 && size <= written - at;
        if (complete) {
            datagrams += is_datagram(self, self->buffer + at);
            at += size;
        }
    }
    file_cut(&self->file, self->position + written - whole);
    file_close(&self->file, &(failure_t){0});
    self->open = false;
    self->datagrams = datagrams;
    self->bytes = self->bytes_at_start + whole;
    return -1;
}

/* Into the buffer, when the stage is full. */
static void
unload_stage(recording_t *self)
{
    uint8_t *place = self->buffer + self->filled - STAGE;
    if (self->file.direct) {
        stream_copy(place, self->stage, STAGE);
    } else {
        memcpy(place, self->stage, STAGE);
    }
}

static int
write_out(recording_t *self, failure_t *failure)
{
    size_t written = 0;
    size_t staged = self->filled % STAGE;
    memcpy(self->buffer + self->filled - staged, self->stage, staged);
    while (written < self->filled) {
        int64_t count =
            file_write(&self->file, self->buffer + written, self->filled - written, failure);
        if (count < 0) {
            return give_up(self, written);
        }
        written += (size_t)count;
        /* A write that stops short may have been interrupted by a signal. */
        if (written < self->filled && is_interrupted(self, failure)) {
            return give_up(self, written);
        }
    }
    self->stale = false;
    return 0;
}

/* The buffer is empty then; a record of which only the beginning was in it goes on in the next. */
static int
empty_buffer(recording_t *self, failure_t *failure)
{
    if (write_out(self, failure) < 0) {
        return -1;
    }
    self->position += self->filled;
    self->filled = 0;
    bool goes_on = self->record_end > self->position;
    self->boundary = goes_on ? self->record_start : self->position;
    self->carried = goes_on ? self->record_end - self->position : 0;
    self->carried_is_datagram = goes_on && self->record_is_datagram;
    self->datagrams_flushed = self->datagrams - self->carried_is_datagram;
    return 0;
}

int
recording_flush(recording_t *self, failure_t *failure)
{
    if (!self->open || !self->stale) {
        return 0;
    }
    if (!self->file.direct) {
        return empty_buffer(self, failure);
    }
    if (write_out(self, failure) < 0) {
        return -1;
    }
    return file_go_back(&self->file, self->filled) ? 0 : empty_buffer(self, failure);
}

int
recording_flush_old(recording_t *self, failure_t *failure)
{
    bool old = self->stale && platform_now_ns() - self->stale_since_ns >= OLD_NS;
    return old ? recording_flush(self, failure) : 0;
}

static void
set_stale(recording_t *self)
{
    if (!self->stale) {
        self->stale = true;
        self->stale_since_ns = platform_now_ns();
    }
}

static int
put(recording_t *self, const void *bytes, size_t size, failure_t *failure)
{
    const uint8_t *from = bytes;
    set_stale(self);
    while (size > 0) {
        size_t staged = self->filled % STAGE;
        size_t part = size < STAGE - staged ? size : STAGE - staged;
        memcpy(self->stage + staged, from, part);
        self->filled += part;
        from += part;
        size -= part;
        if (staged + part == STAGE) {
            unload_stage(self);
        }
        if (self->filled == ROOM && empty_buffer(self, failure) < 0) {
            return -1;
        }
    }
    return 0;
}

static void
begin_record(recording_t *self, size_t size, bool datagram)
{
    self->record_start = self->position + self->filled;
    self->record_end = self->record_start + size;
    self->record_is_datagram = datagram;
    self->datagrams += datagram;
    self->bytes += size;
}

static size_t
header_size(const recording_t *self)
{
    return self->options.format == SAVEFILE_PCAP ? SAVEFILE_HEADER_SIZE
                                                 : pcapng_header_size(&self->options.description);
}

static size_t
trailer_size(const recording_t *self)
{
    return self->options.format == SAVEFILE_PCAP ? 0 : PCAPNG_STATISTICS_ROOM;
}

static int
put_header(recording_t *self, failure_t *failure)
{
    size_t size = header_size(self);
    uint8_t *header = malloc(size);
    if (header == NULL) {
        fail_memory(failure);
        return give_up(self, 0);
    }
    if (self->options.format == SAVEFILE_PCAP) {
        savefile_header(header, self->options.description.snaplen);
    } else {
        pcapng_header(header, &self->options.description);
    }
    begin_record(self, size, false);
    int result = put(self, header, size, failure);
    free(header);
    return result;
}

/* Adds the name of the next file to the list, at which *name then points. */
static int
add_name(recording_t *self, const char **name, failure_t *failure)
{
    const recording_options_t *options = &self->options;
    char stamp[FILE_STAMP_SIZE];
    size_t size =
        strlen(options->path) + NUMBER_SIZE + 1 + sizeof stamp + strlen(options->suffix) + 1;
    char **names = realloc(self->names, (self->name_count + 1) * sizeof *names);
    if (names == NULL) {
        return fail_memory(failure);
    }
    self->names = names;
    char *text = malloc(size);
    if (text == NULL) {
        return fail_memory(failure);
    }
    if (options->numbered) {
        file_stamp(stamp);
        snprintf(text, size, "%s_%05u_%s%s", options->path, self->number + 1, stamp,
                 options->suffix);
    } else {
        snprintf(text, size, "%s", options->path);
    }
    self->names[self->name_count++] = text;
    *name = text;
    return 0;
}

static void
remove_oldest(recording_t *self)
{
    while (self->options.files != 0 && self->name_count > self->options.files) {
        file_remove(self->names[0]);
        free(self->names[0]);
        self->name_count--;
        memmove(self->names, self->names + 1, self->name_count * sizeof *self->names);
    }
}

static int
open_file(recording_t *self, failure_t *failure)
{
    const char *name;
    if (self->options.path == NULL) {
        self->file = (file_t){.descriptor = self->options.descriptor};
        return 0;
    }
    if (add_name(self, &name, failure) < 0) {
        return -1;
    }
    while (file_create(&self->file, name, self->options.direct, failure) < 0) {
        /* A named pipe is opened when somebody reads it. */
        if (failure->system_error != EINTR || is_interrupted(self, failure)) {
            free(self->names[--self->name_count]);
            return -1;
        }
    }
    return 0;
}

static int
begin_file(recording_t *self, failure_t *failure)
{
    if (open_file(self, failure) < 0) {
        return -1;
    }
    self->open = true;
    self->number++;
    self->filled = 0;
    self->position = self->boundary = self->record_start = self->record_end = self->carried = 0;
    self->datagrams_flushed = self->datagrams_at_start = self->datagrams;
    self->bytes_at_start = self->bytes;
    self->file_began_ns = platform_now_ns();
    self->file_start_ns = utc_ns();
    remove_oldest(self);
    /* So that a full disk is told at once, and that a pipe's reader knows what will come. */
    return put_header(self, failure) < 0 ? -1 : recording_flush(self, failure);
}

int
recording_open(recording_t *self, const recording_options_t *options, failure_t *failure)
{
    *self = (recording_t){
        .options = *options,
        .bytes_limit = UINT64_MAX,
        .received = -1,
        .dropped = -1,
    };
    self->buffer = file_buffer_new(ROOM);
    self->stage = file_buffer_new(STAGE);
    return self->buffer == NULL || self->stage == NULL ? fail_memory(failure)
                                                       : begin_file(self, failure);
}

int
recording_close(recording_t *self, failure_t *failure)
{
    if (!self->open) {
        return 0;
    }
    if (self->options.format == SAVEFILE_PCAPNG) {
        uint8_t block[PCAPNG_STATISTICS_ROOM];
        const pcapng_statistics_t statistics = {
            .start_ns = self->file_start_ns,
            .end_ns = utc_ns(),
            .received = self->received,
            .dropped = self->dropped,
        };
        size_t size = pcapng_statistics(block, &statistics);
        begin_record(self, size, false);
        if (put(self, block, size, failure) < 0) {
            return -1;
        }
    }
    if (empty_buffer(self, failure) < 0) {
        return -1;
    }
    self->open = false;
    return file_close(&self->file, failure);
}

static size_t
datagram_size(const recording_t *self, const record_t *record)
{
    return self->options.format == SAVEFILE_PCAP
               ? SAVEFILE_RECORD_HEADER_SIZE + (size_t)record->length
               : pcapng_packet_size(record);
}

/* What stands before a datagram and behind it. */
static size_t
datagram_head(const recording_t *self, uint8_t *out, const record_t *record, size_t size)
{
    if (self->options.format == SAVEFILE_PCAP) {
        savefile_record_header(out, record);
        return SAVEFILE_RECORD_HEADER_SIZE;
    }
    pcapng_packet_head(out, record, (uint32_t)size);
    return PCAPNG_PACKET_SIZE;
}

static size_t
datagram_tail(const recording_t *self, uint8_t *out, const record_t *record, size_t size)
{
    return self->options.format == SAVEFILE_PCAP ? 0
                                                 : pcapng_packet_tail(out, record, (uint32_t)size);
}

static int
put_datagram(recording_t *self, const block_t *block, const record_t *record, size_t size,
             failure_t *failure)
{
    const uint8_t *datagram = block->bytes + record->offset;
    begin_record(self, size, true);
    size_t staged = self->filled % STAGE;
    if (size < STAGE - staged) {
        uint8_t *out = self->stage + staged;
        out += datagram_head(self, out, record, size);
        memcpy(out, datagram, record->length);
        datagram_tail(self, out + record->length, record, size);
        self->filled += size;
        set_stale(self);
        return 0;
    }
    uint8_t edge[PCAPNG_PACKET_SIZE];
    _Static_assert(sizeof edge >= PCAPNG_TAIL_ROOM && sizeof edge >= SAVEFILE_RECORD_HEADER_SIZE,
                   "either fits");
    if (put(self, edge, datagram_head(self, edge, record, size), failure) < 0 ||
        put(self, datagram, record->length, failure) < 0) {
        return -1;
    }
    return put(self, edge, datagram_tail(self, edge, record, size), failure);
}

static bool
is_file_full(const recording_t *self, size_t size, int64_t now_ns)
{
    uint64_t in_file = self->bytes - self->bytes_at_start;
    uint64_t datagrams = self->datagrams - self->datagrams_at_start;
    if (datagrams == 0) {
        return false;
    }
    return size + trailer_size(self) > self->options.rotate_size ||
           in_file > self->options.rotate_size - size - trailer_size(self) ||
           datagrams >= self->options.rotate_count ||
           now_ns - self->file_began_ns >= self->options.rotate_ns;
}

int
recording_write(recording_t *self, const block_t *block, size_t count, size_t *written,
                failure_t *failure)
{
    int64_t now_ns = self->options.rotate_ns == INT64_MAX ? 0 : platform_now_ns();
    for (*written = 0; *written < count; ++*written) {
        const record_t *record = &block->records[*written];
        size_t size = datagram_size(self, record);
        bool full = is_file_full(self, size, now_ns);
        size_t more = size + trailer_size(self) + (full ? header_size(self) : 0);
        /* The statistics of a file that is full come on top. */
        more += full ? trailer_size(self) : 0;
        if (more > self->bytes_limit || self->bytes > self->bytes_limit - more) {
            return 0;
        }
        if (full && (recording_close(self, failure) < 0 || begin_file(self, failure) < 0)) {
            return -1;
        }
        if (put_datagram(self, block, record, size, failure) < 0) {
            return -1;
        }
    }
    return 0;
}

void
recording_free(recording_t *self)
{
    for (size_t i = 0; i < self->name_count; i++) {
        free(self->names[i]);
    }
    free(self->names);
    file_buffer_free(self->buffer);
    file_buffer_free(self->stage);
}
