"""The receive path beside the standard library; METHOD.md says how to read the rows."""

import socket
from collections import deque

import numpy
import pytest

from winsockctl import Capture, Replay, WinsockPermissionError

COUNT = 20_000
PAYLOAD = 18  # bytes
UDP = 17
ETH_P_IP = 0x0800


def datagram(payload: bytes) -> bytes:
    """An IPv4 UDP datagram; nobody looks at its checksums here."""
    length = 28 + len(payload)
    return (
        bytes([0x45, 0, length >> 8, length & 0xFF, 0, 0, 0, 0, 64, UDP, 0, 0])
        + socket.inet_aton("127.0.0.1") * 2
        + bytes([0, 9, 0, 9, 0, length - 20, 0, 0])
        + payload
    )


@pytest.fixture(scope="module")
def datagrams() -> list[bytes]:
    return [datagram(bytes(PAYLOAD))] * COUNT


def drain(iterator) -> None:
    deque(iterator, maxlen=0)


@pytest.mark.benchmark(group="iterate")
def test_replay(benchmark, datagrams):
    benchmark.pedantic(drain, setup=lambda: ((iter(Replay(datagrams)),), {}), rounds=30)


@pytest.mark.benchmark(group="iterate")
def test_floor(benchmark, datagrams):
    view = memoryview(datagrams[0])

    def same_view():
        for _ in range(COUNT):
            yield view

    benchmark.pedantic(drain, setup=lambda: ((same_view(),), {}), rounds=30)


@pytest.mark.benchmark(group="count a protocol")
def test_records(benchmark, datagrams):
    batches = list(Replay(datagrams).batches())

    def count() -> int:
        found = 0
        for batch in batches:
            payload = numpy.asarray(batch.buffer)
            protocols = payload[numpy.asarray(batch.records)["offset"] + 9]
            found += int(numpy.count_nonzero(protocols == UDP))
        return found

    assert benchmark(count) == COUNT


@pytest.mark.benchmark(group="count a protocol")
def test_views(benchmark, datagrams):
    batches = list(Replay(datagrams).batches())
    assert benchmark(lambda: sum(view[9] == UDP for batch in batches for view in batch)) == COUNT


class Traffic:
    """UDP datagrams on loopback, sent before they are read."""

    def __init__(self) -> None:
        self.receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.receiver.bind(("127.0.0.1", 0))
        self.sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sender.connect(self.receiver.getsockname())

    def send(self) -> None:
        for _ in range(COUNT):
            self.sender.send(bytes(PAYLOAD))

    def close(self) -> None:
        self.sender.close()
        self.receiver.close()


@pytest.fixture
def traffic():
    traffic = Traffic()
    yield traffic
    traffic.close()


@pytest.mark.benchmark(group="receive")
def test_capture(benchmark, traffic):
    try:
        capture = Capture("lo")
    except WinsockPermissionError as error:
        pytest.skip(f"CAP_NET_RAW is missing: {error}")

    def read() -> int:
        found = 0
        for datagram in capture:
            found += datagram[9] == UDP
            if found == COUNT:
                break
        return found

    with capture:
        counts = benchmark.pedantic(read, setup=lambda: traffic.send(), rounds=10)
        assert counts == COUNT
        assert capture.statistics.dropped == 0


@pytest.mark.benchmark(group="receive")
def test_recv_into(benchmark, traffic):
    try:
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
    except PermissionError as error:
        pytest.skip(f"CAP_NET_RAW is missing: {error}")
    raw.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_RCVBUFFORCE", 33), 1 << 28)
    raw.bind(("lo", ETH_P_IP))
    buffer = bytearray(65535)
    view = memoryview(buffer)

    def read() -> int:
        found = 0
        while found < COUNT:
            raw.recv_into(view)
            found += view[9] == UDP
        return found

    with raw:
        raw.settimeout(5)
        assert benchmark.pedantic(read, setup=lambda: traffic.send(), rounds=10) == COUNT
