#include "core/savefile_reader.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/pcapng.h"

#define NANOSECONDS 1000000000
#define NANOSECONDS_DIGITS 9
#define UINT64_DIGITS 19 /* the largest power of ten that fits */

enum savefile_step
savefile_fault(savefile_reader_t *self, uint64_t offset, const char *reason, uint64_t number)
{
    self->fault.offset = offset;
    snprintf(self->fault.reason, sizeof self->fault.reason, reason, number);
    return SAVEFILE_FAULT;
}

void
savefile_move_on(savefile_reader_t *self, savefile_window_t *window, size_t size)
{
    window->bytes += size;
    window->size -= size;
    self->position += size;
}

enum savefile_step
savefile_require(savefile_reader_t *self, const savefile_window_t *window, size_t size,
                 const char *what)
{
    if (size <= window->size) {
        return SAVEFILE_OTHER;
    }
    return window->at_end ? savefile_fault(self, self->position, what, 0) : SAVEFILE_NEED_MORE;
}

enum savefile_step
savefile_refuse_link_type(savefile_reader_t *self, uint64_t offset, uint32_t link_type)
{
    return savefile_fault(self, offset,
                          "link type %" PRIu64 " is not read: only Ethernet, RAW, IPV4, IPV6, "
                          "NULL, LOOP, PPP, LINUX_SLL and LINUX_SLL2 are",
                          link_type);
}

void
savefile_interface_clear(savefile_interface_t *interface)
{
    free(interface->name);
    free(interface->description);
    free(interface->filter);
}

bool
savefile_add_interface(savefile_reader_t *self, savefile_interface_t *interface)
{
    if (self->interface_count == self->interface_room) {
        size_t room = self->interface_room * 2 + 4;
        savefile_interface_t *larger = realloc(self->interfaces, room * sizeof *larger);
        if (larger == NULL) {
            savefile_interface_clear(interface);
            return false;
        }
        self->interfaces = larger;
        self->interface_room = room;
    }
    self->interfaces[self->interface_count++] = *interface;
    return true;
}

static uint64_t
power_of_ten(uint32_t exponent)
{
    uint64_t power = 1;
    while (exponent-- > 0) {
        power *= 10;
    }
    return power;
}

/* Splits units of 10**-digits seconds into seconds and nanoseconds. */
static uint64_t
split_decimal(uint64_t units, uint32_t digits, uint64_t *nanoseconds)
{
    if (digits > UINT64_DIGITS) { /* all of them are less than a second */
        uint32_t excess = digits - NANOSECONDS_DIGITS;
        *nanoseconds = excess > UINT64_DIGITS ? 0 : units / power_of_ten(excess);
        return 0;
    }
    uint64_t per_second = power_of_ten(digits);
    uint64_t rest = units % per_second;
    *nanoseconds = digits > NANOSECONDS_DIGITS ? rest / power_of_ten(digits - NANOSECONDS_DIGITS)
                                               : rest * power_of_ten(NANOSECONDS_DIGITS - digits);
    return units / per_second;
}

/* The same with units of 2**-bits seconds. */
static uint64_t
split_binary(uint64_t units, uint32_t bits, uint64_t *nanoseconds)
{
    uint64_t rest = bits < 64 ? units & (((uint64_t)1 << bits) - 1) : units;
    if (bits < 32) {
        *nanoseconds = rest * NANOSECONDS >> bits;
    } else {
        uint64_t high = (rest >> 32) * NANOSECONDS;
        uint64_t low = (rest & UINT32_MAX) * NANOSECONDS;
        uint32_t shift = bits - 32;
        *nanoseconds = shift < 64 ? (high + (low >> 32)) >> shift : 0;
    }
    return bits < 64 ? units >> bits : 0;
}

int64_t
savefile_timestamp(const savefile_interface_t *interface, uint64_t units)
{
    const int64_t farthest = INT64_MAX / NANOSECONDS - 1; /* seconds; about the year 2262 */
    uint64_t nanoseconds;
    uint32_t exponent = interface->resolution & ~(uint32_t)PCAPNG_TSRESOL_POWER_OF_TWO;
    uint64_t whole = interface->resolution & PCAPNG_TSRESOL_POWER_OF_TWO
                         ? split_binary(units, exponent, &nanoseconds)
                         : split_decimal(units, exponent, &nanoseconds);
    /* Neither is anywhere near the limit in an honest file, and their sum cannot overflow. */
    int64_t offset = interface->offset_s;
    offset = offset > INT64_MAX / 2   ? INT64_MAX / 2
             : offset < INT64_MIN / 2 ? INT64_MIN / 2
                                      : offset;
    int64_t seconds = (whole > INT64_MAX / 2 ? INT64_MAX / 2 : (int64_t)whole) + offset;
    seconds = seconds > farthest ? farthest : seconds < -farthest ? -farthest : seconds;
    return seconds * NANOSECONDS + (int64_t)nanoseconds;
}

static enum savefile_step
read_magic(savefile_reader_t *self, savefile_window_t *window)
{
    if (window->size == 0 && window->at_end) {
        return savefile_fault(self, 0, "the file is empty", 0);
    }
    enum savefile_step step =
        savefile_require(self, window, 4, "the file is too short to be a savefile");
    if (step != SAVEFILE_OTHER) {
        return step;
    }
    if (pcap_is_magic(window->bytes)) {
        return pcap_read_header(self, window);
    }
    if (pcapng_is_magic(window->bytes)) {
        self->format = SAVEFILE_PCAPNG;
        return SAVEFILE_OTHER;
    }
    return savefile_fault(self, 0, "the file is neither pcap nor pcapng", 0);
}

enum savefile_step
savefile_reader_next(savefile_reader_t *self, savefile_window_t *window, savefile_packet_t *packet)
{
    if (self->fault.reason[0] != '\0') {
        return SAVEFILE_FAULT;
    }
    if (self->format == SAVEFILE_UNKNOWN) {
        return read_magic(self, window);
    }
    if (window->size == 0 && window->at_end) {
        return SAVEFILE_END;
    }
    return self->format == SAVEFILE_PCAP ? pcap_read_packet(self, window, packet)
                                         : pcapng_read_block(self, window, packet);
}

void
savefile_reader_clear(savefile_reader_t *self)
{
    for (size_t i = 0; i < self->interface_count; i++) {
        savefile_interface_clear(&self->interfaces[i]);
    }
    free(self->interfaces);
    free(self->comment);
    *self = (savefile_reader_t){0};
}
