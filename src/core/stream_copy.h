/* A copy that leaves its target out of the caches, for what a device reads next: a line of memory
 * that a device has read costs a processor 25 ns to own again (measured, x86-64 virtual machine),
 * which is more than everything else that a recording does to a short datagram.
 */
#ifndef WINSOCKCTL_STREAM_COPY_H
#define WINSOCKCTL_STREAM_COPY_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__) || defined(_M_X64)
#include <emmintrin.h>

/* Both are aligned to 64 bytes, and so is the size. */
static inline void
stream_copy(uint8_t *to, const uint8_t *from, size_t size)
{
    for (size_t i = 0; i < size; i += 4 * sizeof(__m128i)) {
        const __m128i *source = (const __m128i *)(const void *)(from + i);
        __m128i *target = (__m128i *)(void *)(to + i);
        __m128i a = _mm_load_si128(source), b = _mm_load_si128(source + 1);
        __m128i c = _mm_load_si128(source + 2), d = _mm_load_si128(source + 3);
        _mm_stream_si128(target, a);
        _mm_stream_si128(target + 1, b);
        _mm_stream_si128(target + 2, c);
        _mm_stream_si128(target + 3, d);
    }
    _mm_sfence();
}

#else

static inline void
stream_copy(uint8_t *to, const uint8_t *from, size_t size)
{
    memcpy(to, from, size);
}

#endif

#endif
