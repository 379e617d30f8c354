/* IPv6 headers rebuilt for any payload and any ancillary data: never a byte behind the payload, and
 * where a next header was settled, the transport checksum fits the rebuilt header. */
#include <stdlib.h>
#include <string.h>

#include "core/block.h"
#include "core/bytes.h"
#include "core/ipv6_header.h"

#define TCP 6
#define UDP 17

static void
require(bool is_so)
{
    if (!is_so) {
        abort();
    }
}

static uint32_t
sum_of(uint32_t sum, const uint8_t *bytes, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++) {
        sum += i % 2 == 0 ? (uint32_t)bytes[i] << 8 : bytes[i];
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    return sum;
}

/* Whether the checksum field of the payload has the whole sum, or that of the pseudo header. */
static bool
checksum_fits(const uint8_t *header, const uint8_t *payload, uint32_t length)
{
    uint32_t place = header[6] == TCP ? 16 : header[6] == UDP ? 6 : 2;
    const uint8_t end[8] = {
        (uint8_t)(length >> 24),
        (uint8_t)(length >> 16),
        (uint8_t)(length >> 8),
        (uint8_t)length,
        0,
        0,
        0,
        header[6],
    };
    uint32_t pseudo = sum_of(sum_of(0, header + 8, 32), end, sizeof end);
    return sum_of(pseudo, payload, length) == 0xFFFF || pseudo == big_endian_16(payload + place);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* source, destination, three numbers, what is known, how much is missing */
    const size_t front = 16 + 16 + 4 + 4 + 4 + 1 + 1;
    if (size < front) {
        return 0;
    }
    ipv6_facts_t facts = {.has_destination = data[44] & 1};
    memcpy(facts.source, data, 16);
    memcpy(facts.destination, data + 16, 16);
    facts.hop_limit = (int)big_endian_32(data + 32);
    facts.traffic_class = (int)big_endian_32(data + 36);
    facts.flow_label = (int32_t)big_endian_32(data + 40);
    uint32_t captured = (uint32_t)(size - front);
    uint32_t length = captured + data[45];
    /* On the heap, where the sanitizer sees a look behind it. */
    uint8_t *payload = malloc(captured == 0 ? 1 : captured);
    require(payload != NULL);
    memcpy(payload, data + front, captured);

    uint8_t header[IPV6_HEADER_SIZE];
    uint16_t flags = ipv6_header_rebuild(header, &facts, payload, captured, length);
    require(header[0] >> 4 == 6 && (flags & RECORD_REBUILT) != 0);
    require(memcmp(header + 8, facts.source, 16) == 0);
    require(memcmp(header + 24, facts.destination, 16) == 0);
    require(big_endian_16(header + 4) == (length > 0xFFFF ? 0 : length));
    bool settled = (flags & RECORD_NEXT_HEADER_UNKNOWN) == 0;
    require(settled == (header[6] != IPV6_NO_NEXT_HEADER));
    require(!settled || (captured == length && facts.has_destination));
    require(!settled || checksum_fits(header, payload, length));
    ipv6_header_is_there(payload, captured, length, facts.source);
    free(payload);
    return 0;
}
