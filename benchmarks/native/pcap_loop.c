/* pcap_loop INTERFACE | -r FILE: libpcap counts UDP datagrams until the end mark. */
#include <pcap/pcap.h>
#include <string.h>

#include "consumer.h"

static pcap_t *handle;
static uint64_t received;

static void
take(u_char *user, const struct pcap_pkthdr *header, const u_char *bytes)
{
    (void)user, (void)header;
    switch (bytes[ETHERNET_HEADER + PROTOCOL_OFFSET]) {
    case PROTOCOL_UDP:
        received++;
        break;
    case PROTOCOL_END:
        pcap_breakloop(handle);
        break;
    default:
        break;
    }
}

int
main(int count, char **arguments)
{
    char error[PCAP_ERRBUF_SIZE] = "";
    if (count == 3 && strcmp(arguments[1], "-r") == 0) {
        int64_t began = ready();
        handle = pcap_open_offline(arguments[2], error);
        check(handle != NULL, error);
        pcap_loop(handle, -1, take, NULL);
        report(began, received, 0);
        return 0;
    }
    if (count != 2) {
        fputs("usage: pcap_loop INTERFACE | -r FILE\n", stderr);
        return 2;
    }
    handle = pcap_create(arguments[1], error);
    check(handle != NULL, error);
    pcap_set_snaplen(handle, 65535);
    pcap_set_buffer_size(handle, BUFFER_SIZE);
    pcap_set_timeout(handle, LATENCY);
    check(pcap_activate(handle) >= 0, "pcap_activate");
    int64_t began = ready();
    pcap_loop(handle, -1, take, NULL);
    struct pcap_stat statistics = {0};
    pcap_stats(handle, &statistics);
    report(began, received, statistics.ps_drop);
    return 0;
}
