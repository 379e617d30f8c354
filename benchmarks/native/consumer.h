/* What every consumer in C reports, in the words of consume.py. */
#ifndef BENCHMARK_CONSUMER_H
#define BENCHMARK_CONSUMER_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

enum {
    BUFFER_SIZE = 64 << 20, /* bytes, as every consumer asks for */
    LATENCY = 10,           /* milliseconds */
    PROTOCOL_OFFSET = 9,    /* of an IPv4 header */
    ETHERNET_HEADER = 14,
    PROTOCOL_UDP = 17,
    PROTOCOL_END = 253, /* for experiments, RFC 3692: the generator's end mark */
};

static inline int64_t
cpu_ns(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000LL +
           (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000LL;
}

static inline int64_t
ready(void)
{
    puts("ready");
    fflush(stdout);
    return cpu_ns();
}

static inline void
report(int64_t began_ns, uint64_t received, uint64_t dropped)
{
    printf("{\"cpu_ns\": %lld, \"received\": %llu, \"dropped\": %llu}\n",
           (long long)(cpu_ns() - began_ns), (unsigned long long)received,
           (unsigned long long)dropped);
}

static inline void
check(int succeeded, const char *call)
{
    if (!succeeded) {
        perror(call);
        exit(1);
    }
}

#endif
