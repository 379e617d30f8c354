"""One consumer, a process of its own: counts UDP datagrams by their protocol byte.

    python consume.py NAME INTERFACE_OR_FILE [OPTION=NUMBER...]

Prints "ready", and at the end mark of the load what it received, what its kernel buffer dropped (-1
where it cannot tell) and the CPU time between the two, as JSON. Each imports the peer that it is.
"""

import contextlib
import json
import os
import resource
import socket
import sys
import time
from collections.abc import Callable, Iterator
from itertools import chain, repeat, takewhile

BUFFER_SIZE = 64 * 2**20  # bytes, as every consumer asks for where it can
LATENCY = 10  # milliseconds
UDP = 17
END = 253  # the generator's end mark, a protocol number for experiments (RFC 3692)
PROTOCOL = 9  # of an IPv4 header
ETHERNET_PROTOCOL = 14 + PROTOCOL
SO_RCVBUFFORCE = 33
ETH_P_IP = 0x0800

Result = dict[str, int]
CONSUMERS: dict[str, Callable[..., Result]] = {}


def consumer(function: Callable[..., Result]) -> Callable[..., Result]:
    CONSUMERS[function.__name__] = function
    return function


def cpu_ns() -> int:
    """User and system time of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return round((usage.ru_utime + usage.ru_stime) * 1e9)


began = 0


def ready() -> None:
    global began
    print("ready", flush=True)
    began = cpu_ns()


def done(received: int, dropped: int = -1) -> Result:
    """Stop the clock: what closing costs is not part of a datagram."""
    return {"cpu_ns": cpu_ns() - began, "received": received, "dropped": dropped}


# ---------------------------------------------------------------------------------------------
# winsockctl


@contextlib.contextmanager
def capture_on(interface: str, **options: float | str) -> Iterator:
    from winsockctl import Capture

    with Capture(interface, **{"buffer_size": BUFFER_SIZE} | options) as capture:
        ready()
        yield capture


@consumer
def views(interface: str, **options: float) -> Result:
    received = 0
    with capture_on(interface, **options) as capture:
        for datagram in capture:
            protocol = datagram[PROTOCOL]
            if protocol == UDP:
                received += 1
            elif protocol == END:
                break
        return done(received, capture.statistics.dropped)


@consumer
def records(interface: str) -> Result:
    import numpy

    received = 0
    with capture_on(interface) as capture:
        for batch in capture.batches():
            payload = numpy.asarray(batch.buffer)
            protocols = payload[PROTOCOL:].take(numpy.asarray(batch.offsets))
            received += int(numpy.count_nonzero(protocols == UDP))
            if protocols[-1] == END:
                break
        return done(received, capture.statistics.dropped)


def is_end(datagram: memoryview) -> bool:
    return datagram[PROTOCOL] == END


@consumer
def batches(interface: str) -> Result:
    received = 0
    # IPv4 only: it counts unseen, also what a host asks its neighbours of its own accord.
    with capture_on(interface, family=socket.AF_INET) as capture:
        for batch in capture.batches():
            received += len(batch)
            if batch[-1][PROTOCOL] == END:
                break
        received -= sum(1 for _ in takewhile(is_end, reversed(batch)))
        return done(received, capture.statistics.dropped)


@consumer
def among_64(interface: str) -> Result:
    """As ``views``, with 63 more captures open in the process that nothing passes."""
    from winsockctl import Capture

    with contextlib.ExitStack() as stack:
        for _ in range(63):
            stack.enter_context(Capture("lo", buffer_size=2**20))
        return views(interface)


@consumer
def pausing(interface: str) -> Result:
    """As ``views``, but once a second the program does something else for 20 ms."""
    received = 0
    with capture_on(interface) as capture:
        last = time.monotonic()
        for batch in capture.batches():
            for datagram in batch:
                protocol = datagram[PROTOCOL]
                if protocol == UDP:
                    received += 1
            if protocol == END:
                break
            if time.monotonic() - last > 1:
                time.sleep(0.02)
                last = time.monotonic()
        return done(received, capture.statistics.dropped)


@consumer
def dissecting(interface: str, **options: float) -> Result:
    """Takes a few microseconds for each; ends when nothing comes, as marks go to one of a group."""
    import dpkt

    received = 0
    with capture_on(interface, filter="udp", **options) as capture:
        for batch in capture.batches(timeout=1):
            for datagram in batch:
                received += isinstance(dpkt.ip.IP(datagram).data, dpkt.udp.UDP)
        return done(received, capture.statistics.dropped)


@consumer
def soak(interface: str, interval: float = 10) -> Result:
    """As ``views``; tells CPU time and resident memory of each interval on standard error."""
    received = 0
    with capture_on(interface) as capture:
        last, moment, used = 0, time.monotonic(), cpu_ns()
        for batch in capture.batches():
            ended = False
            for datagram in batch:
                protocol = datagram[PROTOCOL]
                if protocol == UDP:
                    received += 1
                elif protocol == END:
                    ended = True
            if ended or time.monotonic() - moment > interval:
                if received > last:
                    print(
                        json.dumps(
                            {
                                "ns": (cpu_ns() - used) / (received - last),
                                "resident": resident(),
                            }
                        ),
                        file=sys.stderr,
                        flush=True,
                    )
                last, moment, used = received, time.monotonic(), cpu_ns()
            if ended:
                break
        return done(received, capture.statistics.dropped)


def resident() -> int:
    """Bytes of memory of its own that the process has (the ring belongs to the kernel)."""
    with open("/proc/self/statm") as file:
        fields = file.read().split()
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")


@consumer
def delays(interface: str, **options: float) -> Result:
    """Tells on standard error how long after its sending each datagram was in the loop, in ns."""
    received = 0
    with capture_on(interface, **options) as capture:
        for datagram in capture:
            now = time.time_ns()
            if datagram[PROTOCOL] == END:
                break
            if datagram[PROTOCOL] == UDP:
                received += 1
                print(now - int.from_bytes(datagram[28:36], sys.byteorder), file=sys.stderr)
        return done(received, capture.statistics.dropped)


# ---------------------------------------------------------------------------------------------
# The standard library


def packet_socket(interface: str) -> socket.socket:
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
    raw.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_SIZE // 2)  # the kernel doubles it
    raw.bind((interface, ETH_P_IP))
    return raw


@consumer
def recv_into(interface: str) -> Result:
    received = 0
    buffer = bytearray(65535)
    view = memoryview(buffer)
    with packet_socket(interface) as raw:
        ready()
        while True:
            raw.recv_into(view)
            protocol = view[PROTOCOL]
            if protocol == UDP:
                received += 1
            elif protocol == END:
                return done(received)


@consumer
def recvfrom(interface: str) -> Result:
    received = 0
    with packet_socket(interface) as raw:
        ready()
        while True:
            data, _ = raw.recvfrom(65535)
            protocol = data[PROTOCOL]
            if protocol == UDP:
                received += 1
            elif protocol == END:
                return done(received)


# ---------------------------------------------------------------------------------------------
# Peers


@consumer
def pypcap(interface: str) -> Result:
    import pcap

    received = 0
    handle = pcap.pcap(interface, promisc=False, timeout_ms=LATENCY, buffer_size=BUFFER_SIZE)
    ready()
    ended = False
    while not ended:  # the iterator ends at each time-out
        for _, packet in handle:
            protocol = packet[ETHERNET_PROTOCOL]
            if protocol == UDP:
                received += 1
            elif protocol == END:
                ended = True
                break
    return done(received, handle.stats()[1])


def pcapy_reader(interface: str):
    import pcapy

    reader = pcapy.create(interface)
    reader.set_snaplen(65535)
    reader.set_buffer_size(BUFFER_SIZE)
    reader.set_timeout(LATENCY)
    reader.activate()
    return reader


@consumer
def pcapy_ng(interface: str) -> Result:
    received = 0
    reader = pcapy_reader(interface)
    ready()
    while True:
        header, packet = reader.next()
        if header is None:
            continue
        protocol = packet[ETHERNET_PROTOCOL]
        if protocol == UDP:
            received += 1
        elif protocol == END:
            return done(received, reader.stats()[1])


@consumer
def pcapy_ng_batch(interface: str) -> Result:
    import numpy

    received = 0
    reader = pcapy_reader(interface)
    ready()
    while True:
        payload, table = reader.next_batch(1024)
        if not table:
            continue
        offsets = numpy.frombuffer(table, numpy.uint32).reshape(-1, 4)[:, 2]
        protocols = numpy.frombuffer(payload, numpy.uint8)[ETHERNET_PROTOCOL:].take(offsets)
        received += int(numpy.count_nonzero(protocols == UDP))
        if protocols[-1] == END:
            return done(received, reader.stats()[1])


@consumer
def scapy_winsockctl(interface: str) -> Result:
    import winsockctl.scapy

    with winsockctl.scapy.use(buffer_size=BUFFER_SIZE, latency=LATENCY / 1000):
        return scapy(interface)


@consumer
def scapy(interface: str) -> Result:
    from scapy.all import IP, sniff

    received = 0

    def ended(packet) -> bool:
        nonlocal received
        protocol = packet[IP].proto if IP in packet else 0
        received += protocol == UDP
        return protocol == END

    sniff(iface=interface, store=False, stop_filter=ended, started_callback=ready)
    return done(received)


# ---------------------------------------------------------------------------------------------
# From a savefile


def count_ethernet(packets: Iterator[tuple]) -> Result:
    received = 0
    for _, packet in packets:
        if packet[ETHERNET_PROTOCOL] == UDP:
            received += 1
    return done(received, 0)


def count_datagrams(datagrams: Iterator[memoryview]) -> Result:
    received = 0
    for datagram in datagrams:
        if datagram[PROTOCOL] == UDP:
            received += 1
    return done(received, 0)


@consumer
def file_views(path: str) -> Result:
    from winsockctl import open_savefile

    ready()
    return count_datagrams(open_savefile(path))


@consumer
def file_pypcap(path: str) -> Result:
    import pcap

    ready()
    return count_ethernet(pcap.pcap(path))


@consumer
def file_pcapy_ng(path: str) -> Result:
    import pcapy

    ready()
    return count_ethernet(iter(pcapy.open_offline(path).next, (None, b"")))


@consumer
def file_dpkt(path: str) -> Result:
    import dpkt

    ready()
    with open(path, "rb") as file:
        return count_ethernet(dpkt.pcap.Reader(file))


@consumer
def file_scapy(path: str) -> Result:
    from scapy.all import IP, PcapReader

    ready()
    received = 0
    with PcapReader(path) as reader:
        for packet in reader:
            if packet[IP].proto == UDP:
                received += 1
    return done(received, 0)


@consumer
def file_scapy_raw(path: str) -> Result:
    from scapy.utils import RawPcapReader

    ready()
    with RawPcapReader(path) as reader:
        return count_ethernet((header, packet) for packet, header in reader)


# ---------------------------------------------------------------------------------------------
# From memory


def datagrams_of(path: str) -> list[bytes]:
    import dpkt

    with open(path, "rb") as file:
        return [packet[14:] for _, packet in dpkt.pcap.Reader(file)]


@consumer
def memory_views(path: str) -> Result:
    from winsockctl import Replay

    replay = Replay(datagrams_of(path))
    ready()
    return count_datagrams(replay)


@consumer
def memory_batches(path: str) -> Result:
    """As ``memory_views``, but the memory of the batches is given back after the measurement."""
    from winsockctl import Replay

    batches = list(Replay(datagrams_of(path)).batches())
    ready()
    return count_datagrams(chain.from_iterable(batches))


@consumer
def memory_floor(path: str) -> Result:
    """The least that a loop over memoryviews costs: one and the same view again and again."""
    datagrams = datagrams_of(path)
    ready()
    return count_datagrams(repeat(memoryview(datagrams[0]), len(datagrams)))


def main() -> None:
    name, source, *options = sys.argv[1:]
    numbers = {key: float(value) for key, _, value in (option.partition("=") for option in options)}
    numbers = {key: int(value) if value % 1 == 0 else value for key, value in numbers.items()}
    print(json.dumps(CONSUMERS[name](source, **numbers)))


if __name__ == "__main__":
    main()
