"""Everything at once, from many threads: what the GIL or, without one, the locks have to bear."""

import contextlib
import os
import random
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pytest
from datagrams import mixed
from savefiles import pcap, pcap_record

from winsockctl import (
    Batch,
    ControlCode,
    RawSocket,
    RcvAll,
    Reader,
    Recorder,
    Replay,
    WinsockError,
    ioctl,
    open_savefile,
    set_rcvall,
)

THREADS = 8
EXPECTED = mixed(3000)

OpenReader = Callable[..., Reader]


def savefile(datagrams: list[bytes], **options: object) -> Reader:
    return open_savefile(BytesIO(pcap(map(pcap_record, datagrams))), **options)


readers = pytest.mark.parametrize("open_reader", [Replay, savefile])


def run(*actions: Callable[[], object]) -> None:
    """Each in a thread; they begin together, and an exception of any is raised."""
    barrier = threading.Barrier(len(actions))

    def begin(action: Callable[[], object]) -> None:
        barrier.wait()
        action()

    with ThreadPoolExecutor(len(actions)) as executor:
        for future in [executor.submit(begin, action) for action in actions]:
            future.result()


def test_an_iterator_gives_each_datagram_once() -> None:
    for _ in range(20):
        with Replay(EXPECTED, batch_size=3000) as replay:
            iterator = iter(replay.read())
        seen: list[bytes] = []
        rests: list[Batch] = []

        def take(iterator: Iterator[memoryview] = iterator, seen: list[bytes] = seen) -> None:
            for view in iterator:
                seen.append(bytes(view))

        def end(iterator: object = iterator, rests: list[Batch] = rests) -> None:
            if (rest := iterator.rest()) is not None:
                rests.append(rest)

        run(*[take] * THREADS, end, end)
        assert len(rests) <= 1
        seen += [bytes(view) for batch in rests for view in batch]
        assert sorted(seen) == sorted(EXPECTED)


@readers
def test_a_reader_gives_each_datagram_once_in_every_way(open_reader: OpenReader) -> None:
    for seed in range(5):
        seen: list[bytes] = []
        with open_reader(EXPECTED, batch_size=16) as reader:

            def read(reader: Reader = reader, seen: list[bytes] = seen, seed: int = seed) -> None:
                choose = random.Random(seed + threading.get_ident())
                while True:
                    way = choose.randrange(4)
                    if way == 0:
                        taken = [bytes(view) for view in reader.read()]
                    elif way == 1:
                        taken = [bytes(view) for _, view in zip(range(5), reader, strict=False)]
                    elif way == 2:
                        taken = [
                            bytes(datagram.data)
                            for _, datagram in zip(range(5), reader.datagrams(), strict=False)
                        ]
                    else:
                        reader._socket.wait()
                        taken = [bytes(view) for view in next(reader.batches(), ())]
                    if not taken and reader.ended:
                        return
                    seen.extend(taken)

            run(*[read] * THREADS)
            assert reader.statistics.received == len(EXPECTED)
        assert sorted(seen) == sorted(EXPECTED)


@readers
def test_counts_are_exact(open_reader: OpenReader) -> None:
    for _ in range(5):
        with open_reader(EXPECTED, batch_size=4) as reader:
            counts: list[int] = []

            def read(reader: Reader = reader, counts: list[int] = counts) -> None:
                while batch := reader.read():
                    counts.append(len(batch))

            run(*[read] * THREADS)
            assert sum(counts) == reader.statistics.received == len(EXPECTED)
            assert reader.statistics.bytes == sum(map(len, EXPECTED))


@readers
def test_closing_ends_everything(open_reader: OpenReader) -> None:
    for _ in range(30):
        reader = open_reader(EXPECTED, batch_size=2)

        def loop(reader: Reader = reader) -> None:
            for view in reader:
                bytes(view)

        def read(reader: Reader = reader) -> None:
            with contextlib.suppress(WinsockError):
                while batch := reader.read():
                    batch.records.tobytes()
                    numbers = batch.lengths.tolist()
                    assert len(numbers) == len(batch)

        def look(reader: Reader = reader) -> None:
            while not reader.closed:
                (reader.statistics, reader.ended, reader.fileno(), repr(reader))

        def filter_(reader: Reader = reader) -> None:
            with contextlib.suppress(WinsockError):
                for expression in ("udp", "tcp", None) * 30:
                    reader.filter = expression

        def close(reader: Reader = reader) -> None:
            for _ in range(20):
                reader.filter  # noqa: B018
            reader.close()

        run(loop, loop, read, read, look, filter_, close, close)
        with pytest.raises(WinsockError, match="WSAENOTSOCK"):
            reader.read()


def test_a_filter_that_changes_all_the_time() -> None:
    with Replay(EXPECTED, batch_size=16) as replay:
        ended = threading.Event()

        def read() -> None:
            while (batch := replay.read()) or not replay.ended:
                for view in batch:
                    assert bytes(view) in expected
            ended.set()

        def loop() -> None:
            for view in replay:
                assert bytes(view) in expected

        def change() -> None:
            while not ended.is_set():
                for expression in ("udp", "tcp", "icmp or icmp6", None):
                    replay.filter = expression

        expected = set(EXPECTED)
        run(read, read, loop, loop, change, change)


def test_a_recorder_that_all_use() -> None:
    with Recorder(os.devnull) as recorder, Replay(EXPECTED, batch_size=8) as replay:

        def record() -> None:
            while recorder.record(replay, count=7):
                pass

        def write() -> None:
            while batch := replay.read():
                recorder.write(batch)

        def look() -> None:
            while not replay.ended:
                assert recorder.bytes >= 0
                assert isinstance(recorder.paths, tuple)
                recorder.flush()

        run(record, record, write, write, look)
        assert recorder.datagrams == replay.statistics.received == len(EXPECTED)


def test_control_codes_of_sockets_that_come_and_go() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:

        def work() -> None:
            for _ in range(300):
                raw = RawSocket.replay(EXPECTED[:2])
                raw.bind("replay")
                set_rcvall(raw, RcvAll.ON)
                raw.receive()
                with contextlib.suppress(WinsockError):
                    ioctl(other, ControlCode.SIO_RCVALL, bytes(4))
                raw.close()

        run(*[work] * THREADS)


def test_live_sockets_that_are_opened_used_and_closed(loopback: object, live_backend: str) -> None:
    raws: list[RawSocket] = []

    def work() -> None:
        for i in range(15):
            raw = RawSocket(socket.AF_INET, backend=live_backend, buffer_size=2**20)
            raws.append(raw)
            raw.bind("127.0.0.1")
            set_rcvall(raw.fileno(), RcvAll.IPLEVEL)
            raw.receive(0.001)
            if i % 2:
                raw.close()

    def use() -> None:
        for _ in range(200):
            with contextlib.suppress(IndexError, WinsockError):
                raw = raws[-1]
                (raw.mode, raw.fileno(), raw.statistics())
                ioctl(raw.fileno(), ControlCode.SIO_RCVALL, (3).to_bytes(4, "little"))
                raw.wait(0.001)

    def drop() -> None:
        for _ in range(200):
            with contextlib.suppress(IndexError):
                raws.pop(0)

    run(work, work, use, use, drop)
    for raw in raws:
        raw.close()
