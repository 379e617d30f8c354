"""Of the datagrams that pass the filter, every one is received or counted as dropped."""

import threading
import time
from collections.abc import Callable

import datagrams as build
import pytest
from conftest import OpenSocket
from network import Port, eventually

from winsockctl import Batch, Filter, RawSocket

pytestmark = pytest.mark.linux  # Windows does not tell how many were dropped

BUFFER = 2**20  # bytes, the least: a few thousand of these datagrams
COUNT = 12_000
WANTED, UNWANTED = 4711, 4712  # ports


@pytest.fixture
def send(pair: tuple[Port, Port]) -> Callable[[int], None]:
    """``send(count)``: so many wanted datagrams leave the left host, and as many unwanted.

    A capture sees them before send(2) returns, so nothing but its buffer can be too small for them.
    """
    left, right = pair
    ends = {"source": left.ipv4, "destination": right.ipv4}
    both = [build.udp(bytes(100), destination_port=port, **ends) for port in (WANTED, UNWANTED)]
    return lambda count: left.send_datagrams(right, both * count)


@pytest.fixture
def open_raw(
    pair: tuple[Port, Port], live_backend: str, open_socket: OpenSocket
) -> Callable[..., RawSocket]:
    """A socket on the left host's port that wants the wanted datagrams."""
    options = {"filter": Filter(f"udp port {WANTED}").instructions, "buffer_size": BUFFER}
    return lambda **others: open_socket(live_backend, pair[0].name, **options | others)


@pytest.fixture
def raw(open_raw: Callable[..., RawSocket]) -> RawSocket:
    return open_raw()


def counts(raw: RawSocket) -> tuple[int, int]:
    received, dropped, _, _ = raw.statistics()
    assert dropped is not None
    return received, dropped


def read_all(raw: RawSocket, sent: int, kept: list[Batch] | None = None) -> tuple[int, int]:
    """Read until all that was sent is accounted for; what was received, and dropped."""
    found = 0

    def complete() -> bool:
        nonlocal found
        while batch := raw.receive(0.05):
            found += len(batch)
            if kept is not None:
                kept.append(batch)
        return sum(counts(raw)) >= sent

    assert eventually(complete), (counts(raw), sent)
    received, dropped = counts(raw)
    assert received == found
    return received, dropped


def read_all_after(raw: RawSocket, sent: int) -> tuple[int, int]:
    """As ``read_all``, where something was read before."""
    assert eventually(lambda: not raw.receive(0.05) and sum(counts(raw)) >= sent)
    return counts(raw)


def test_nothing_is_dropped_that_fits(
    open_raw: Callable[..., RawSocket], send: Callable[[int], None]
) -> None:
    # The kernel closes a block of the ring after the latency, however little is in it.
    raw = open_raw(latency=1)
    send(1000)
    assert read_all(raw, 1000) == (1000, 0)


def test_a_stop_at_a_low_rate_loses_nothing(
    open_raw: Callable[..., RawSocket], send: Callable[[int], None]
) -> None:
    """Each takes a block of the ring for itself, as the latency is over before the next comes."""
    raw = open_raw(buffer_size=64 * BUFFER, latency=0.001)
    for _ in range(250):
        send(1)
        time.sleep(0.002)
    assert read_all(raw, 250) == (250, 0)


def test_what_finds_no_room_is_counted(raw: RawSocket, send: Callable[[int], None]) -> None:
    send(COUNT)
    received, dropped = read_all(raw, COUNT)
    assert received > 0
    assert dropped > 0
    assert received + dropped == COUNT


def test_counts_add_up_over_many_overflows(raw: RawSocket, send: Callable[[int], None]) -> None:
    sent = before = 0
    for _ in range(4):
        send(COUNT)
        sent += COUNT
        _, dropped = counts(raw)  # the kernel begins anew whenever it is asked
        assert dropped >= before
        before = dropped
        while raw.receive(0.05):
            pass
    received, dropped = read_all_after(raw, sent)
    assert dropped > 0
    assert received + dropped == sent


def test_a_reader_that_keeps_everything_while_more_comes(
    raw: RawSocket, send: Callable[[int], None]
) -> None:
    kept: list[Batch] = []
    sender = threading.Thread(target=send, args=(COUNT,))
    sender.start()
    read_all(raw, COUNT, kept)
    sender.join()
    received, dropped = counts(raw)
    assert received + dropped == COUNT
    assert sum(map(len, kept)) == received
    port = WANTED.to_bytes(2, "big")
    assert all(view[22:24] == port for batch in kept for view in batch)


def test_members_of_a_group_account_for_all_together(
    pair: tuple[Port, Port], live_backend: str, open_socket: OpenSocket
) -> None:
    left, right = pair
    options = {"filter": Filter("udp").instructions, "buffer_size": BUFFER}
    members = [open_socket(live_backend, left.name, fanout=1, **options) for _ in range(2)]
    flows = [
        build.udp(bytes(100), source=left.ipv4, destination=right.ipv4, source_port=1024 + flow)
        for flow in range(64)
    ]
    sent = flows * (3 * COUNT // len(flows))
    left.send_datagrams(right, sent)

    def total() -> int:
        for member in members:
            while member.receive(0.05):
                pass
        return sum(sum(counts(member)) for member in members)

    assert eventually(lambda: total() >= len(sent))
    assert total() == len(sent)
    assert all(dropped > 0 for _, dropped in map(counts, members))
