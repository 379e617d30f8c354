"""A filter that is changed while datagrams come, and what a frame's padding does to a filter."""

import contextlib
import io
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import datagrams as build
import network
import pytest
import savefiles
from conftest import FailsWith, OpenSocket, Tap
from network import PATIENCE, Port, ethernet

from winsockctl import (
    Batch,
    Direction,
    Filter,
    FilterSyntaxError,
    RawSocket,
    Reader,
    Replay,
    Savefile,
    WinsockInterruptedError,
    open_savefile,
)

EVEN = "udp[8] & 1 = 0"  # of the payload's first byte
ODD = "udp[8] & 1 = 1"
LAST = b"\xff\xff"  # neither is asked about it, but ODD wants it


def payload_of(datagram: memoryview) -> int:
    return datagram[28]


def numbered(tap: Tap, count: int) -> list[bytes]:
    return [tap.datagram(struct.pack("!BH", i % 256, i)) for i in range(count)]


def read_all(raw: RawSocket, until: Callable[[memoryview], bool]) -> list[int]:
    """The first payload byte of each IPv4 UDP datagram up to one."""
    seen: list[int] = []
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for datagram in raw.receive(0.1):
            if datagram[0] >> 4 == 4 and datagram[9] == 17:
                if until(datagram):
                    return seen
                seen.append(payload_of(datagram))
    raise AssertionError(f"the last datagram did not come behind {len(seen)} others")


def is_last(datagram: memoryview) -> bool:
    return datagram[28:30] == LAST


@pytest.mark.parametrize("before", [None, EVEN])
def test_what_waits_is_judged_by_the_new_filter(tap: Tap, before: str | None) -> None:
    instructions = None if before is None else Filter(before).instructions
    raw = tap.capture([*numbered(tap, 500), tap.datagram(LAST)], filter=instructions)
    raw.set_filter(Filter(ODD).instructions)
    if tap.backend != "replay":
        tap.send([tap.datagram(b"\x01after"), tap.datagram(LAST)])
    if tap.backend in ("replay", "winsock"):
        # Everything is still waiting there, and the first filter has never seen it.
        before = None
    seen = read_all(raw, is_last)
    assert all(number & 1 for number in seen)
    if before is None:
        assert seen[:250] == [i % 256 for i in range(500) if i % 2]
    else:
        assert seen == [1]


def test_no_filter_any_more(tap: Tap) -> None:
    raw = tap.capture([], filter=Filter("udp port 1").instructions)
    raw.set_filter(None)
    passing = [*numbered(tap, 10), tap.datagram(LAST)]
    if tap.backend == "replay":
        raw = tap.capture(passing, filter=Filter("udp port 1").instructions)
        raw.set_filter(None)
    else:
        tap.send(passing)
    assert read_all(raw, is_last) == list(range(10))


def test_a_filter_is_changed_while_a_thread_waits(tap: Tap) -> None:
    raw = tap.open(filter=Filter("udp port 1").instructions)
    got: list[Batch] = []

    def read() -> None:
        with contextlib.suppress(WinsockInterruptedError):
            got.append(raw.receive(PATIENCE))

    thread = threading.Thread(target=read)
    thread.start()
    time.sleep(0.05)
    raw.set_filter(Filter("udp").instructions)
    if tap.backend == "replay":
        # Nothing more comes there; the change itself must not wait for the receive.
        assert thread.is_alive()
        raw.close()
    else:
        tap.send([tap.datagram(b"now")])
    thread.join(PATIENCE)
    assert not thread.is_alive()
    if tap.backend != "replay":
        assert bytes(got[0][0][28:31]) == b"now"


@contextlib.contextmanager
def traffic(pair: tuple[Port, Port]) -> Iterator[None]:
    """Datagrams of both kinds from the neighbour, as fast as a thread can send them."""
    local, neighbour = pair
    stop = threading.Event()

    def send() -> None:
        with neighbour.udp() as udp:
            udp.connect((local.ipv4, 9))
            number = 0
            while not stop.is_set():
                with contextlib.suppress(ConnectionRefusedError):
                    udp.send(struct.pack("!BI", number % 2, number) + bytes(60))
                number += 1

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("buffer_size", [2**20, 4 * 2**20])
def test_changes_under_live_traffic(
    pair: tuple[Port, Port], open_socket: OpenSocket, live_backend: str, buffer_size: int
) -> None:
    local, _ = pair
    raw = open_socket(live_backend, local.name, buffer_size=buffer_size, latency=0.001)
    udp = f"udp and src host {pair[1].ipv4} and "
    filters = [Filter(f"{udp}{EVEN}").instructions, Filter(f"{udp}{ODD}").instructions]
    counts = [0, 0]
    with traffic(pair):
        for change in range(60):
            raw.set_filter(filters[change % 2])
            # Without a pause, with a little, and with one in which the ring runs over.
            time.sleep((0, 0.002, 0.05)[change // 2 % 3])
            raw.set_filter(filters[(change + 1) % 2])
            for _ in range(3):
                batch = raw.receive(PATIENCE)
                assert {payload_of(view) & 1 for view in batch} == {(change + 1) % 2}
                counts[(change + 1) % 2] += len(batch)
    assert min(counts) > 0


def savefile_of(items: list[bytes], **options: Any) -> Savefile:
    return open_savefile(io.BytesIO(savefiles.pcap(map(savefiles.pcap_record, items))), **options)


@pytest.mark.parametrize("open_reader", [Replay, savefile_of])
def test_each_batch_follows_the_filter(open_reader: Callable[..., Reader]) -> None:
    rounds = 200
    items = [build.udp(bytes([i % 2])) for i in range(rounds * 64)]
    with open_reader(items, batch_size=16) as reader:
        for change in range(rounds):
            wanted = change % 2
            reader.filter = (EVEN, ODD)[wanted]
            batch = reader.read(0)
            assert len(batch) >= 8
            assert {payload_of(view) for view in batch} == {wanted}


@pytest.mark.parametrize("loop", [iter, Reader.datagrams], ids=["views", "records"])
@pytest.mark.parametrize("kept", [False, True])
def test_a_loop_over_datagrams_follows_the_filter(
    loop: Callable[[Reader], Iterator[Any]], kept: bool
) -> None:
    items = [build.udp(bytes([i % 2, i % 256])) for i in range(100)]
    with Replay(items, batch_size=32) as reader:
        seen, held = [], []
        for number, datagram in enumerate(loop(reader)):
            if number in (10, 20):
                reader.filter = EVEN if number == 10 else None
            view = datagram if isinstance(datagram, memoryview) else datagram.data
            seen.append(view[29])
            if kept:
                held.append(view)
    # EVEN while it lasts, and what it refused in the first batch does not come back.
    assert seen == [*range(11), *range(12, 32, 2), *range(32, 100)]
    assert [view[29] for view in held] == (seen if kept else [])


class ChangedMeanwhile:
    """A source behind whose back the filter is changed, when a batch is on its way to the loop."""

    def __init__(self, replay: Replay) -> None:
        self._socket = replay._socket
        self.reader = Reader(self)

    def receive(self, timeout: float | None = None) -> Batch:
        batch = self._socket.receive(timeout)
        self.reader.filter = ODD
        return batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


@pytest.mark.parametrize("loop", [iter, Reader.datagrams], ids=["views", "records"])
def test_a_batch_on_its_way_to_a_loop_follows_the_filter(
    loop: Callable[[Reader], Iterator[Any]],
) -> None:
    with Replay([build.udp(bytes([i % 2, i])) for i in range(20)], batch_size=20) as replay:
        items = loop(ChangedMeanwhile(replay).reader)
        seen = [bytes(getattr(item, "data", item))[29] for item in items]
    assert seen == list(range(1, 20, 2))


def test_what_a_left_loop_did_not_come_to_follows_the_filter() -> None:
    items = [build.udp(bytes([i % 2, i])) for i in range(20)]
    with Replay(items, batch_size=16) as reader:
        assert next(iter(reader))[29] == 0
        reader.filter = ODD
        batch = reader.read(0)
        assert [view[29] for view in batch] == [1, 3, 5, 7, 9, 11, 13, 15]
        assert batch.lengths.tolist() == [30] * 8
        assert [view[29] for view in reader] == [17, 19]


@pytest.fixture
def busy_switching() -> Iterator[None]:
    """Threads take turns often: a reader would be through before anything changes."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.parametrize("open_reader", [Replay, savefile_of])
@pytest.mark.usefixtures("busy_switching")
def test_reads_of_another_thread_follow_the_filter(open_reader: Callable[..., Reader]) -> None:
    items = [build.udp(bytes([i % 2]) + bytes(100)) for i in range(40_000)]
    current: list[object] = [{0}]  # what is wanted while it is in force, None while it is changed
    wrong: list[object] = []
    checked = 0
    with open_reader(items, filter=EVEN, batch_size=8) as reader:

        def read() -> None:
            nonlocal checked
            in_force = current[0]
            for number, batch in enumerate(reader.batches(0)):
                if number % 64 == 0:  # it would be through before anything changes
                    time.sleep(0.001)
                if in_force is not None and in_force is current[0]:
                    checked += 1
                    if {payload_of(view) for view in batch} != in_force:
                        wrong.append(in_force)
                in_force = current[0]

        thread = threading.Thread(target=read)
        change = 0
        while change == 0 or thread.is_alive():
            change += 1
            current[0] = None
            reader.filter = (EVEN, ODD)[change % 2]
            current[0] = {change % 2}
            if change == 1:
                thread.start()
            before = checked
            while change % 8 == 1 and checked == before and thread.is_alive():
                time.sleep(0.0005)
        thread.join()
    assert change > 1
    assert checked > 0
    assert not wrong


def test_the_property(tap: Tap) -> None:
    with Reader(tap.open()) as reader:
        assert reader.filter is None
        reader.filter = "udp"
        assert reader.filter == Filter("udp")
        with pytest.raises(FilterSyntaxError):
            reader.filter = "udp port"
        with pytest.raises(TypeError):
            reader.filter = 53
        assert reader.filter == Filter("udp")
        reader.filter = None
        assert reader.filter is None


def test_a_savefile_that_is_closed_takes_no_filter(fails_with: FailsWith) -> None:
    savefile = savefile_of([build.udp(b"")], filter="udp")
    savefile.close()
    with fails_with("WSAENOTSOCK", call="set_filter"):
        savefile.filter = "tcp"
    assert savefile.filter == Filter("udp")


def test_what_a_socket_refuses(tap: Tap, fails_with: FailsWith) -> None:
    raw = tap.open()
    for wrong, error in (
        ("udp", TypeError),
        (5, TypeError),
        ([(6, 0, 0)], TypeError),
        ([], ValueError),
    ):
        with pytest.raises(error):
            raw.set_filter(wrong)
    raw.close()
    with fails_with("WSAENOTSOCK", "set_filter"):
        raw.set_filter(None)


def test_the_filter_of_a_capture_that_is_off(tap: Tap) -> None:
    raw = tap.create(filter=Filter("udp port 1").instructions)
    raw.set_filter(Filter("udp").instructions)
    raw.close()


# What an Ethernet frame of 60 bytes carries beyond a short datagram is no part of it.
SHORT = [
    ("less 40", True),
    ("greater 40", False),
    ("len = 32", True),
    ("len = 46", False),
    ("not len = 46", True),
    ("udp and len <= 32", True),
    ("tcp and len <= 32", False),
    ("ip[40] = 0xaa", False),
    ("not ip[40] = 0", False),
    ("ip[31] = 0x72", True),
    ("udp", True),
]


@pytest.mark.parametrize("snaplen", [None, 20, 30])
@pytest.mark.parametrize(("expression", "wanted"), SHORT)
def test_padding_is_no_part_of_the_datagram(
    pair: tuple[Port, Port],
    open_socket: OpenSocket,
    live_backend: str,
    expression: str,
    wanted: bool,
    snaplen: int | None,
) -> None:
    local, neighbour = pair
    raw = open_socket(
        live_backend,
        local.name,
        snaplen=snaplen,
        filter=Filter(f"({expression}) or tcp port 7").instructions,
    )
    short = build.udp(b"four", source=neighbour.ipv4, destination=local.ipv4)
    frame = ethernet(local.mac, neighbour.mac, network.ethertype_of(short), short)
    last = build.tcp(
        b"the last one" * 8, source=neighbour.ipv4, destination=local.ipv4, destination_port=7
    )
    assert len(frame) < 60
    neighbour.send_frames([frame.ljust(60, b"\xaa")])
    neighbour.send_datagrams(local, [last])
    seen = []
    while not any(entry[0] == last[:snaplen] for entry in seen):
        batch = raw.receive(PATIENCE)
        assert batch
        seen += [
            (bytes(d.data), d.original_length, d.truncated)
            for d in batch.datagrams()
            if d.direction is Direction.INCOMING
        ]
    expected = [(last[:snaplen], len(last), snaplen is not None)]
    if wanted:
        expected.insert(0, (short[:snaplen], len(short), snaplen is not None))
    assert [entry for entry in seen if entry[0][9] in (6, 17)] == expected


def test_the_answer_of_a_program_is_yes_or_no(tap: Tap) -> None:
    """How much is kept is for snaplen to say, on every platform."""
    load_5_and_return_it = [(0x00, 0, 0, 5), (0x16, 0, 0, 0)]
    for program in ([(0x06, 0, 0, 40)], load_5_and_return_it):
        raw = tap.capture([tap.datagram(bytes(100)), tap.datagram(LAST)], filter=program)
        batch = raw.receive(PATIENCE)
        assert [len(view) for view in batch if view[0] == 0x45][:1] == [128]
        raw.close()


def test_a_program_begins_with_an_empty_accumulator(tap: Tap) -> None:
    raw = tap.capture([tap.datagram(LAST)], filter=[(0x16, 0, 0, 0)])
    assert len(raw.receive(0.2)) == 0
