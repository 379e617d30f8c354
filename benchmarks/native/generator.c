/* generator ADDRESS PORT PAYLOAD RATE SECONDS FLOWS: UDP datagrams, RATE a second (0: as many as it
 * can), from as many ports as there are flows.
 *
 * Prints what it sent as JSON. A line on its standard input then asks for end marks, until the
 * input is closed. Below 1000 datagrams a second each carries the time of its sending
 * (CLOCK_REALTIME, nanoseconds).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "consumer.h"

enum {
    SECOND = 1000000000, /* nanoseconds */
    MOST_SEGMENTS = 64,  /* of one send: UDP_MAX_SEGMENTS of the kernel */
    MOST_BYTES = 65000,  /* of one send */
    BURSTS = 10000,      /* a second, at most: as short as they can be at the rate */
    MARK_INTERVAL = 5,   /* milliseconds */
    STAMPED_RATE = 1000,
    MOST_FLOWS = 256,
};

static int64_t
now(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec * (int64_t)SECOND + time.tv_nsec;
}

static void
wait_until(int64_t moment)
{
    int64_t left;
    while ((left = moment - now(CLOCK_MONOTONIC)) > 0) {
        if (left > SECOND / 1000) {
            struct timespec pause = {.tv_nsec = SECOND / 2000};
            nanosleep(&pause, NULL);
        }
    }
}

static void
send_all(int udp, const void *bytes, size_t size)
{
    while (send(udp, bytes, size, 0) < 0) {
        check(errno == ENOBUFS || errno == EAGAIN, "send");
    }
}

int
main(int count, char **arguments)
{
    int flows = count == 7 ? atoi(arguments[6]) : 0;
    if (flows < 1 || flows > MOST_FLOWS) {
        fputs("usage: generator ADDRESS PORT PAYLOAD RATE SECONDS FLOWS\n", stderr);
        return 2;
    }
    struct sockaddr_in target = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)atoi(arguments[2])),
    };
    check(inet_pton(AF_INET, arguments[1], &target.sin_addr) == 1, "inet_pton");
    size_t payload = (size_t)atol(arguments[3]);
    double rate = atof(arguments[4]);
    int64_t duration = (int64_t)(atof(arguments[5]) * SECOND);

    /* Where the target is an address of this machine nobody shall answer: a socket takes it all. */
    int sink = socket(AF_INET, SOCK_DGRAM, 0), smallest = 1;
    setsockopt(sink, SOL_SOCKET, SO_RCVBUF, &smallest, sizeof smallest);
    (void)bind(sink, (struct sockaddr *)&target, sizeof target);

    int udp[MOST_FLOWS], marks = socket(AF_INET, SOCK_RAW, PROTOCOL_END);
    check(marks >= 0, "socket");
    for (int flow = 0; flow < flows; flow++) {
        udp[flow] = socket(AF_INET, SOCK_DGRAM, 0);
        check(udp[flow] >= 0, "socket");
        check(connect(udp[flow], (struct sockaddr *)&target, sizeof target) == 0, "connect");
    }
    target.sin_port = 0;
    check(connect(marks, (struct sockaddr *)&target, sizeof target) == 0, "connect");
    size_t segments = MOST_BYTES / payload < MOST_SEGMENTS ? MOST_BYTES / payload : MOST_SEGMENTS;
    if (rate > 0 && rate / BURSTS < (double)segments) {
        segments = rate / BURSTS < 1 ? 1 : (size_t)(rate / BURSTS);
    }
    for (int flow = 0; segments > 1 && flow < flows; flow++) {
        int size = (int)payload;
        check(setsockopt(udp[flow], IPPROTO_UDP, UDP_SEGMENT, &size, sizeof size) == 0,
              "UDP_SEGMENT");
    }

    static char bytes[MOST_BYTES];
    int64_t begin = now(CLOCK_MONOTONIC), end = begin + duration, moment = begin;
    uint64_t sent = 0;
    for (int flow = 0; moment < end; flow = (flow + 1) % flows) {
        if (rate > 0) {
            wait_until(moment);
            if (rate < STAMPED_RATE && payload >= sizeof(int64_t)) {
                int64_t stamp = now(CLOCK_REALTIME);
                memcpy(bytes, &stamp, sizeof stamp);
            }
        }
        send_all(udp[flow], bytes, payload * segments);
        sent += segments;
        double next = (double)sent;
        if (rate > 0 && rate < STAMPED_RATE) {
            /* Not in step with the timers of who reads. */
            next += (double)rand() / RAND_MAX;
        }
        moment = rate > 0 ? begin + (int64_t)(next / rate * SECOND) : now(CLOCK_MONOTONIC);
    }
    double seconds = (double)(now(CLOCK_MONOTONIC) - begin) / SECOND;
    printf("{\"sent\": %llu, \"seconds\": %.6f}\n", (unsigned long long)sent, seconds);
    fclose(stdout);

    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    char line;
    if (read(STDIN_FILENO, &line, 1) == 1) {
        do {
            send_all(marks, bytes, payload);
        } while (poll(&input, 1, MARK_INTERVAL) == 0);
    }
    return 0;
}
