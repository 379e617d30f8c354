#ifndef WINSOCKCTL_PREFETCH_H
#define WINSOCKCTL_PREFETCH_H

/* Asks the processor for memory that will be read in a while. Does nothing with MSVC, which has no
 * one name for it on all processors. */
static inline void
prefetch(const void *address)
{
#ifdef __GNUC__
    __builtin_prefetch(address);
#else
    (void)address;
#endif
}

#endif
