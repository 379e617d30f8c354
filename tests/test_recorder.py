"""Recorder: savefiles that other tools read, limits, rotation, and what a failed write leaves."""

import contextlib
import errno
import functools
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import network
import pytest
from conftest import OpenSocket
from datagrams import mixed, of_length, seeded_payload, udp
from network import PATIENCE, Port

import winsockctl
from winsockctl import (
    Batch,
    Capture,
    Direction,
    Filter,
    Reader,
    Recorder,
    Replay,
    WinsockError,
    open_savefile,
)

if sys.platform == "win32":
    import unix
    from unix import tool
else:
    import resource

    from network import tool

STAMP = 1_700_000_000_123_456_789
HEADER, RECORD_HEADER = 24, 16  # of pcap
FORMATS = ("pcapng", "pcap")
SECTION, INTERFACE, STATISTICS, PACKET = 0x0A0D0D0A, 1, 5, 6

linux_only = pytest.mark.linux  # about pipes, signals and limits as Linux has them


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(tool(name) is None, reason=f"{name} is missing")


@dataclass
class Savefile:
    """What a file holds; reading it fails if the file does not end with a whole record."""

    packets: list[tuple[int, int, bytes]]  # stamp in ns, original length, bytes
    flags: list[int | None]
    section: dict[int, bytes]
    interface: dict[int, bytes]
    statistics: list[dict[int, bytes]]
    snaplen: int

    @property
    def data(self) -> list[bytes]:
        return [packet for _, _, packet in self.packets]


def options(block: bytes) -> dict[int, bytes]:
    found = {}
    while block:
        code, length = struct.unpack_from("=HH", block)
        found[code] = block[4 : 4 + length]
        assert len(found[code]) == length
        block = block[4 + (length + 3) // 4 * 4 :]
        if code == 0:
            assert not block
    return found


def parse_pcapng(data: bytes) -> Savefile:
    file = Savefile([], [], {}, {}, [], 0)
    at, kinds = 0, []
    while at < len(data):
        kind, size = struct.unpack_from("=II", data, at)
        block = data[at : at + size]
        assert len(block) == size, "the last block is not whole"
        assert struct.unpack("=I", block[-4:]) == (size,)
        kinds.append(kind)
        if kind == SECTION:
            assert struct.unpack_from("=IHHq", block, 8) == (0x1A2B3C4D, 1, 0, -1)
            file.section = options(block[24:-4])
        elif kind == INTERFACE:
            link, file.snaplen = struct.unpack_from("=H2xI", block, 8)
            assert link == 101
            file.interface = options(block[16:-4])
            assert file.interface[9] == b"\x09"
        elif kind == STATISTICS:
            file.statistics.append(options(block[20:-4]))
        else:
            assert kind == PACKET
            number, high, low, length, original = struct.unpack_from("=IIIII", block, 8)
            assert number == 0
            file.packets.append((high << 32 | low, original, block[28 : 28 + length]))
            rest = options(block[28 + (length + 3) // 4 * 4 : -4])
            file.flags.append(struct.unpack("=I", rest[2])[0] if 2 in rest else None)
        at += size
    assert kinds[:2] == [SECTION, INTERFACE]
    return file


def parse_pcap(data: bytes) -> Savefile:
    magic, major, minor, zone, sigfigs, snaplen, link = struct.unpack_from("=IHHIIII", data)
    assert (magic, major, minor, zone, sigfigs, link) == (0xA1B23C4D, 2, 4, 0, 0, 101)
    file = Savefile([], [], {}, {}, [], snaplen)
    at = HEADER
    while at < len(data):
        seconds, nanoseconds, length, original = struct.unpack_from("=IIII", data, at)
        assert nanoseconds < 10**9
        at += RECORD_HEADER + length
        assert at <= len(data), "the last record is not whole"
        file.packets.append((seconds * 10**9 + nanoseconds, original, data[at - length : at]))
    return file


def parse(data: bytes) -> Savefile:
    return parse_pcapng(data) if data[:4] == struct.pack("=I", SECTION) else parse_pcap(data)


def batch_of(items, **options_) -> Batch:
    items = list(items)
    with Replay(items, batch_size=max(1, len(items)), **options_) as replay:
        return replay.read(0)


@pytest.fixture(name="format", params=FORMATS)
def each_format(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def path(tmp_path: Path, format: str) -> Path:
    return tmp_path / f"out.{format}"


# -------------------------------------------------------------------------------------------------
# What is in the file


def test_everything_that_a_replay_gives(path: Path, format: str) -> None:
    expected = mixed(3000)
    stamps = [0, 1, 999_999_999, 10**9, *(STAMP + i * 1_000_003 for i in range(2996))]
    with (
        Replay(zip(expected, stamps, strict=True), batch_size=7) as replay,
        Recorder(path, format=format) as recorder,
    ):
        assert recorder.record(replay) == 3000
        assert replay.ended
        assert (recorder.datagrams, recorder.path) == (3000, str(path))
        assert replay.statistics.received == 3000
    file = parse(path.read_bytes())
    assert file.data == expected
    assert [stamp for stamp, _, _ in file.packets] == stamps
    assert recorder.bytes == path.stat().st_size
    assert recorder.closed


def test_the_last_stamp_of_pcap(tmp_path: Path) -> None:
    stamps = [(2**32 - 1) * 10**9 + 999_999_999, -1]
    path = tmp_path / "out.pcap"
    with Recorder(path, format="pcap") as recorder:
        recorder.write(batch_of((of_length(28), stamp) for stamp in stamps))
    # A stamp before 1970 cannot be written and must not spoil the rest.
    assert [stamp for stamp, _, _ in parse(path.read_bytes()).packets] == [stamps[0], 0]


def test_what_pcapng_tells_besides(tmp_path: Path) -> None:
    path = tmp_path / "out.pcapng"
    with Recorder(
        path, interface="Ethernet é", filter="udp and port 53", comment="a note", snaplen=96
    ) as recorder:
        recorder.write(batch_of(mixed(3)))
    file = parse(path.read_bytes())
    assert file.section[1] == b"a note"
    assert file.section[4] == f"winsockctl {winsockctl.__version__}".encode()
    assert {2, 3} <= set(file.section)
    assert file.interface[2].decode() == "Ethernet é"
    assert file.interface[11] == b"\0udp and port 53"
    assert file.snaplen == 96
    [statistics] = file.statistics
    start, end = (struct.unpack("=II", statistics[code]) for code in (2, 3))
    assert 1.7e18 < start[0] << 32 | start[1] <= end[0] << 32 | end[1] < time.time_ns() + 10**9
    assert 5 not in statistics, "nobody has told how many were dropped"


@pytest.mark.parametrize(
    "filter", [None, "", "udp", Filter("udp"), Filter.from_instructions([(6, 0, 0, 1)])]
)
def test_the_filter_that_the_file_tells(tmp_path: Path, filter: Filter | str | None) -> None:
    path = tmp_path / "out.pcapng"
    Recorder(path, filter=filter).close()
    expected = b"\0udp" if str(filter) == "udp" else None
    assert parse(path.read_bytes()).interface.get(11) == expected


def test_directions(tmp_path: Path) -> None:
    path = tmp_path / "out.pcapng"
    items = [(of_length(28 + i), STAMP, direction) for i, direction in enumerate(Direction)]
    with Replay(items) as replay, Recorder(path) as recorder:
        recorder.record(replay)
    assert parse(path.read_bytes()).flags == [None, 1, 2, 1 | 4 << 2]


@pytest.mark.parametrize("snaplen", [None, 1, 96, 65535, 2**31 - 1])
def test_the_header_tells_the_snaplen(path: Path, format: str, snaplen: int | None) -> None:
    Recorder(path, format=format, snaplen=snaplen).close()
    assert parse(path.read_bytes()).snaplen == snaplen or 262144


def test_truncated_datagrams_tell_both_lengths(path: Path, format: str) -> None:
    batch = batch_of([of_length(1000), of_length(64), (of_length(60), STAMP, 1, 9000)], snaplen=64)
    with Recorder(path, format=format) as recorder:
        recorder.write(batch)
    packets = parse(path.read_bytes()).packets
    assert [(len(data), original) for _, original, data in packets] == [
        (64, 1000),
        (64, 64),
        (60, 9000),
    ]


def test_datagrams_of_every_length(path: Path, format: str) -> None:
    """Large pieces end anywhere in a record; padding is 0 to 3 bytes."""
    expected = [
        *(of_length(28 + i % 9, index=i) for i in range(60_000)),
        *(of_length(65_535 - i, index=i) for i in range(60)),
    ]
    with Replay(expected) as replay, Recorder(path, format=format) as recorder:
        assert recorder.record(replay) == len(expected)
    data = path.read_bytes()
    assert len(data) > 5 * 2**20
    assert parse(data).data == expected


def test_batches_and_recordings_in_turn(path: Path, format: str) -> None:
    expected = mixed(50)
    with Replay(expected, batch_size=10) as replay, Recorder(path, format=format) as recorder:
        assert replay.read(0).write_to(recorder) == 10
        assert recorder.write(replay.read(0), 4) == 4
        assert recorder.record(replay, count=10) == 10
        assert recorder.write(replay.read(0), 100) == 10
        assert recorder.write(replay.read(0), 0) == 0
        assert recorder.write(batch_of([])) == 0
        assert recorder.datagrams == 34
    assert parse(path.read_bytes()).data == expected[:14] + expected[20:40]


def test_an_existing_file_is_overwritten(path: Path, format: str) -> None:
    path.write_bytes(b"longer than the new one " * 10_000)
    with Recorder(path, format=format) as recorder:
        recorder.write(batch_of(mixed(3)))
    assert parse(path.read_bytes()).data == mixed(3)


def test_a_descriptor_stays_the_callers(path: Path, format: str) -> None:
    with open(path, "wb", buffering=0) as file:
        file.write(b"front")
        for target in (file, file.fileno()):
            with Recorder(target, format=format) as recorder:
                assert recorder.paths == ()
                assert recorder.path is None
                recorder.write(batch_of(mixed(3)))
        file.write(b"tail")
    data = path.read_bytes()
    assert data.startswith(b"front")
    assert data.endswith(b"tail")
    assert (len(data) - 9) % 2 == 0
    half = (len(data) - 9) // 2
    for part in (data[5 : 5 + half], data[5 + half : -4]):
        assert parse(part).data == mixed(3)


# -------------------------------------------------------------------------------------------------
# When it is in the file


def test_the_header_is_there_at_once(path: Path, format: str) -> None:
    with Recorder(path, format=format) as recorder:
        assert path.stat().st_size == recorder.bytes
        assert parse(path.read_bytes()).data == []


def test_flush(path: Path, format: str) -> None:
    with Recorder(path, format=format) as recorder:
        for count in (10, 20, 30):
            recorder.write(batch_of(mixed(10)))
            recorder.flush()
            recorder.flush()
            assert parse(path.read_bytes()).data == mixed(10) * (count // 10)
        for _ in range(400):
            recorder.write(batch_of([of_length(60_000)]))
        recorder.flush()
        assert len(parse(path.read_bytes()).data) == 430
        recorder.write(batch_of(mixed(1)))
    assert len(parse(path.read_bytes()).data) == 431


def test_a_flush_after_each_batch(path: Path, format: str) -> None:
    with (
        Replay(mixed(30), batch_size=10) as replay,
        Recorder(path, format=format, flush=True) as recorder,
    ):
        assert not recorder.direct
        recorder.write(replay.read(0))
        assert parse(path.read_bytes()).data == mixed(30)[:10]
        recorder.record(replay, count=10)
        assert parse(path.read_bytes()).data == mixed(30)[:20]


def test_what_waits_for_a_second_is_written(path: Path, format: str) -> None:
    with Replay(mixed(10), wait=True) as replay, Recorder(path, format=format) as recorder:
        seen: list[int] = []

        def look() -> None:
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                with contextlib.suppress(struct.error, AssertionError):
                    seen.append(len(parse(path.read_bytes()).data))
                    if seen[-1] == 10:
                        break
                time.sleep(0.02)
            recorder.close()

        thread = threading.Thread(target=look)
        thread.start()
        assert recorder.record(replay) == 10
        thread.join()
    assert seen[-1] == 10


def test_a_recorder_that_is_dropped_ends_its_file(path: Path, format: str) -> None:
    recorder = Recorder(path, format=format)
    recorder.write(batch_of(mixed(5)))
    del recorder
    assert parse(path.read_bytes()).data == mixed(5)


# -------------------------------------------------------------------------------------------------
# Limits


@pytest.mark.parametrize("count", [1, 9, 10, 11, 99, 100, 101])
def test_a_count_is_exact_and_loses_nothing(path: Path, format: str, count: int) -> None:
    expected = mixed(100)
    with Replay(expected, batch_size=10) as replay, Recorder(path, format=format) as recorder:
        assert recorder.record(replay, count=count) == min(count, 100)
        assert replay.statistics.received == min(count, 100)
        assert replay.statistics.bytes == sum(map(len, expected[:count]))
        rest = [bytes(datagram) for datagram in replay]
    assert parse(path.read_bytes()).data == expected[:count]
    assert rest == expected[count:]


def test_a_recording_begins_with_what_a_loop_has_left(path: Path, format: str) -> None:
    expected = mixed(50)
    with Replay(expected, batch_size=20) as replay, Recorder(path, format=format) as recorder:
        assert bytes(next(iter(replay))) == expected[0]
        assert recorder.record(replay, count=5) == 5
        assert recorder.record(replay, bytes=1) == 0
        assert bytes(next(iter(replay))) == expected[6]
        assert recorder.record(replay, count=13) == 13
        assert bytes(next(iter(replay))) == expected[20]
        assert recorder.record(replay, count=25) == 25
        assert [bytes(view) for view in replay] == expected[46:]
    written = [*expected[1:6], *expected[7:20], *expected[21:46]]
    with open_savefile(path) as savefile:
        assert [bytes(view) for view in savefile] == written


def test_what_a_loop_has_left_stays_with_the_source_until_it_is_written(path: Path) -> None:
    expected = mixed(50)
    recorder = Recorder(path)
    recorder.close()
    with Replay(expected, batch_size=20) as replay:
        next(iter(replay))
        with pytest.raises(ValueError, match="closed"):
            recorder.record(replay)
        assert [bytes(view) for view in replay] == expected[1:]


def test_what_is_left_over_meets_a_new_filter(path: Path, format: str) -> None:
    expected = mixed(60)
    with Replay(expected) as replay, Recorder(path, format=format) as recorder:
        recorder.record(replay, count=1)
        replay.filter = "tcp"
        recorder.record(replay)
    tcp = [d for d in expected[1:] if (d[9] if d[0] >> 4 == 4 else d[6]) == 6]
    assert parse(path.read_bytes()).data == [expected[0], *tcp]


def test_bytes_are_never_exceeded(path: Path, format: str) -> None:
    expected = [of_length(1000)] * 100
    for limit in (1, 500, 5000, 5001, 50_000, 10**6):
        with Replay(expected) as replay, Recorder(path, format=format) as recorder:
            before = recorder.bytes
            count = recorder.record(replay, bytes=limit)
            recorder.close()
            size = path.stat().st_size
            assert size == recorder.bytes
            assert count == 0 or size - before <= limit
            assert count == 100 or size - before + 1000 + 200 > limit
            assert len(list(replay)) == 100 - count


def test_seconds(path: Path, format: str) -> None:
    with Replay(mixed(10), wait=True) as replay, Recorder(path, format=format) as recorder:
        assert recorder.record(replay, seconds=0) == 10
        start = time.perf_counter()
        assert recorder.record(replay, seconds=0.2) == 0
        assert time.perf_counter() - start > 0.15  # a wait may end within a tick


def test_arguments_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.pcapng"
    for wrong, error in (
        ({"format": "erf"}, ValueError),
        ({"snaplen": 0}, ValueError),
        ({"rotate_size": 0}, ValueError),
        ({"rotate_count": -1}, ValueError),
        ({"rotate_seconds": 0}, ValueError),
        ({"rotate_seconds": float("nan")}, ValueError),
        ({"rotate_size": "1"}, TypeError),
        ({"rotate_size": 1000, "files": 0}, ValueError),
        ({"files": 3}, ValueError),
        ({"comment": "x" * 70_000}, ValueError),
        ({"interface": "a\0b"}, ValueError),
    ):
        with pytest.raises(error):
            Recorder(path, **wrong)
    with pytest.raises(ValueError, match="path"):
        Recorder(1, rotate_count=5)
    with pytest.raises((TypeError, AttributeError)):
        Recorder(None)
    assert not path.exists()
    with Replay(mixed(1)) as replay, Recorder(path) as recorder:
        for name in ("count", "bytes"):
            for value in (0, -1, 2**64):
                with pytest.raises((ValueError, OverflowError)):
                    recorder.record(replay, **{name: value})
        with pytest.raises(ValueError, match="timeout"):
            recorder.record(replay, seconds=-1)
        with pytest.raises((TypeError, AttributeError)):
            recorder.record(None)
        with pytest.raises(ValueError, match="count"):
            recorder.write(batch_of(mixed(1)), -1)
        for wrong in (b"bytes", None, [of_length(28)]):
            with pytest.raises(TypeError):
                recorder.write(wrong)
        assert recorder.record(replay) == 1


# -------------------------------------------------------------------------------------------------
# Rotation


def files_of(recorder: Recorder) -> list[Savefile]:
    return [parse(Path(path).read_bytes()) for path in recorder.paths]


def test_rotation_by_count(path: Path, format: str) -> None:
    with (
        Replay(mixed(1000), batch_size=33) as replay,
        Recorder(path, format=format, rotate_count=90) as recorder,
    ):
        recorder.record(replay)
    files = files_of(recorder)
    assert [len(file.data) for file in files] == [90] * 11 + [10]
    assert [data for file in files for data in file.data] == mixed(1000)
    if format == "pcapng":
        assert all(len(file.statistics) == 1 for file in files)
    names = [Path(name).name for name in recorder.paths]
    assert sorted(os.listdir(path.parent)) == names
    for number, name in enumerate(names, 1):
        stem, index, stamp = Path(name).stem.split("_")
        assert (stem, index, Path(name).suffix) == ("out", f"{number:05}", f".{format}")
        time.strptime(stamp, "%Y%m%d%H%M%S")
    assert recorder.bytes == sum(os.path.getsize(name) for name in recorder.paths)


def test_rotation_by_size(path: Path, format: str) -> None:
    expected = [of_length(28 + i % 1400, index=i) for i in range(3000)]
    with (
        Replay(expected) as replay,
        Recorder(path, format=format, rotate_size=50_000) as recorder,
    ):
        recorder.record(replay)
    sizes = [os.path.getsize(name) for name in recorder.paths]
    assert all(50_000 - 1500 - 200 < size <= 50_000 for size in sizes[:-1])
    assert sizes[-1] <= 50_000
    assert [data for file in files_of(recorder) for data in file.data] == expected


def test_a_datagram_larger_than_a_file_has_one_of_its_own(path: Path, format: str) -> None:
    expected = [of_length(length) for length in (100, 60_000, 60_001, 100, 101)]
    with Replay(expected) as replay, Recorder(path, format=format, rotate_size=1000) as recorder:
        recorder.record(replay)
    counts = [len(file.data) for file in files_of(recorder)]
    assert counts == [1, 1, 1, 2]


def test_rotation_by_time(path: Path, format: str) -> None:
    with Recorder(path, format=format, rotate_seconds=0.05) as recorder:
        for i in range(3):
            recorder.write(batch_of(mixed(10)))
            assert len(recorder.paths) == i + 1
            time.sleep(0.06)
        time.sleep(0.06)
    assert [len(file.data) for file in files_of(recorder)] == [10, 10, 10]


def test_a_ring_of_files_keeps_the_newest(path: Path, format: str) -> None:
    with Recorder(path, format=format, rotate_count=10, files=3) as recorder:
        for i in range(7):
            recorder.write(batch_of(mixed(70)[i * 10 : i * 10 + 10]))
            assert sorted(os.listdir(path.parent)) == [Path(name).name for name in recorder.paths]
            assert len(recorder.paths) == min(i + 1, 3)
    assert [data for file in files_of(recorder) for data in file.data] == mixed(70)[40:]
    assert recorder.datagrams == 70


def test_a_file_of_the_ring_that_somebody_removed(path: Path, format: str) -> None:
    with Recorder(path, format=format, rotate_count=1, files=2) as recorder:
        for _ in range(5):
            recorder.write(batch_of(mixed(1)))
            if sys.platform != "win32":
                Path(recorder.paths[0]).unlink(missing_ok=True)
    assert recorder.datagrams == 5


# -------------------------------------------------------------------------------------------------
# Other threads


def test_closing_the_recorder_ends_the_recording(path: Path, format: str) -> None:
    with Replay(mixed(10), wait=True) as replay, Recorder(path, format=format) as recorder:
        timer = threading.Timer(0.2, recorder.close)
        timer.start()
        assert recorder.record(replay) == 10
        timer.join()
        assert recorder.closed
        for use in (
            recorder.flush,
            lambda: recorder.record(replay),
            lambda: recorder.write(batch_of(mixed(1))),
        ):
            with pytest.raises(ValueError, match="closed"):
                use()
        recorder.close()
    assert parse(path.read_bytes()).data == mixed(10)


def test_closing_the_source_ends_the_recording(path: Path, format: str) -> None:
    with Replay(mixed(10), wait=True) as replay, Recorder(path, format=format) as recorder:
        timer = threading.Timer(0.2, replay.close)
        timer.start()
        assert recorder.record(replay) == 10
        timer.join()
        with pytest.raises(WinsockError) as error:
            recorder.record(replay)
        assert error.value.symbol == "WSAENOTSOCK"
    assert parse(path.read_bytes()).data == mixed(10)


def test_writes_of_many_threads_do_not_mix(path: Path, format: str) -> None:
    expected = [of_length(30 + i % 900, index=i) for i in range(4000)]
    batches = [batch_of(expected[i : i + 20]) for i in range(0, 4000, 20)]
    with Recorder(path, format=format, rotate_size=300_000) as recorder:

        def work(own: list[Batch]) -> None:
            for batch in own:
                recorder.write(batch)

        threads = [threading.Thread(target=work, args=(batches[i::4],)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    data = [data for file in files_of(recorder) for data in file.data]
    assert sorted(data) == sorted(expected)
    assert recorder.datagrams == 4000


def test_two_recorders_share_a_source(tmp_path: Path) -> None:
    expected = mixed(4000)
    with Replay(expected, batch_size=3) as replay:
        recorders = [Recorder(tmp_path / f"{i}.pcapng") for i in range(2)]
        threads = [threading.Thread(target=r.record, args=(replay,)) for r in recorders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for recorder in recorders:
            recorder.close()
    both = [d for i in range(2) for d in parse((tmp_path / f"{i}.pcapng").read_bytes()).data]
    assert sorted(both) == sorted(expected)


# -------------------------------------------------------------------------------------------------
# Pipes and signals


@contextlib.contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            with contextlib.suppress(OSError):
                os.close(end)


@pytest.mark.parametrize("flush", [False, True])
def test_a_slow_reader_of_a_pipe_gets_everything(format: str, flush: bool) -> None:
    expected = [of_length(1400, index=i) for i in range(3000)]
    chunks = []
    with pipe() as (receive, send):

        def read() -> None:
            while chunk := os.read(receive, 1237):
                chunks.append(chunk)

        thread = threading.Thread(target=read)
        thread.start()
        with Replay(expected) as replay, Recorder(send, format=format, flush=flush) as recorder:
            recorder.record(replay)
        os.close(send)
        thread.join()
    assert parse(b"".join(chunks)).data == expected
    assert recorder.bytes == sum(map(len, chunks))


def test_a_pipe_that_nobody_reads_any_more(format: str) -> None:
    with pipe() as (receive, send):
        recorder = Recorder(send, format=format, flush=True)
        os.close(receive)
        # Windows says EINVAL.
        with pytest.raises(OSError, match="write failed") as error:
            recorder.write(batch_of(mixed(3)))
        assert error.value.errno in (errno.EPIPE, errno.EINVAL)
        assert error.value.filename is None
        assert recorder.closed
        assert recorder.datagrams == 0
        recorder.close()
        with pytest.raises(OSError, match="write failed"):
            Recorder(send)


@linux_only
def test_the_reader_of_a_pipe_goes_away_in_the_middle() -> None:
    with pipe() as (receive, send), Replay([of_length(1400)] * 5000) as replay:
        recorder = Recorder(send)

        def read() -> None:
            os.read(receive, 100_000)
            os.close(receive)

        thread = threading.Thread(target=read)
        thread.start()
        with pytest.raises(BrokenPipeError):
            recorder.record(replay)
        thread.join()
        assert recorder.closed


def send_signals(number: int, times: int = 1) -> threading.Thread:
    def send() -> None:
        for _ in range(times):
            time.sleep(0.1)
            signal.pthread_kill(threading.main_thread().ident, number)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


@contextlib.contextmanager
def handling(number: int, handler: object) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


@linux_only
def test_ctrl_c_while_nothing_comes(path: Path, format: str) -> None:
    with Replay(mixed(10), wait=True) as replay, Recorder(path, format=format) as recorder:
        thread = send_signals(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            recorder.record(replay)
        thread.join()
        assert recorder.datagrams == 10
        assert replay.statistics.received == 10
    assert parse(path.read_bytes()).data == mixed(10)


@linux_only
def test_ctrl_c_while_nobody_reads_the_pipe(format: str) -> None:
    with pipe() as (_, send), Replay([of_length(1400)] * 5000) as replay:
        recorder = Recorder(send, format=format)
        thread = send_signals(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            recorder.record(replay)
        thread.join()
        assert recorder.closed
        recorder.close()


@linux_only
def test_signals_do_not_tear_what_goes_through_a_pipe(format: str) -> None:
    expected = [of_length(1400, index=i) for i in range(2000)]
    ticks, chunks = [], []
    with pipe() as (receive, send), handling(signal.SIGUSR1, lambda *_: ticks.append(1)):
        signals = send_signals(signal.SIGUSR1, times=3)

        def read() -> None:
            signals.join()
            while chunk := os.read(receive, 65536):
                chunks.append(chunk)

        thread = threading.Thread(target=read)
        thread.start()
        with Replay(expected) as replay, Recorder(send, format=format) as recorder:
            assert recorder.record(replay) == 2000
        os.close(send)
        thread.join()
    assert ticks
    assert parse(b"".join(chunks)).data == expected


@linux_only
def test_a_signal_handler_cannot_use_the_recorder_that_it_interrupts() -> None:
    seen = []
    with pipe() as (_, send), Replay([of_length(1400)] * 5000) as replay:
        recorder = Recorder(send)

        def handle(*_: object) -> None:
            seen.append((recorder.closed, recorder.paths))
            recorder.write(batch_of(mixed(1)))

        with handling(signal.SIGUSR1, handle):
            thread = send_signals(signal.SIGUSR1)
            with pytest.raises(RuntimeError, match="signal handler"):
                recorder.record(replay)
            thread.join()
    assert seen == [(False, ())]


@linux_only
def test_a_signal_handler_may_close_what_waits(path: Path, format: str) -> None:
    with (
        Replay(mixed(10), wait=True) as replay,
        Recorder(path, format=format) as recorder,
        handling(signal.SIGUSR1, lambda *_: recorder.close()),
    ):
        thread = send_signals(signal.SIGUSR1)
        assert recorder.record(replay) == 10
        thread.join()
    assert parse(path.read_bytes()).data == mixed(10)


@linux_only
def test_a_full_pipe_that_does_not_block_is_an_error_and_no_endless_loop() -> None:
    with pipe() as (_, send):
        os.set_blocking(send, False)
        recorder = Recorder(send)
        with Replay([of_length(1400)] * 5000) as replay, pytest.raises(BlockingIOError):
            recorder.record(replay)


# -------------------------------------------------------------------------------------------------
# Files that take no more


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    for path, number in ((tmp_path / "none" / "x.pcapng", errno.ENOENT), (tmp_path, None)):
        with pytest.raises(OSError, match="open failed") as error:
            Recorder(path)
        assert error.value.filename == str(path)
        if number is not None:
            assert error.value.errno == number
        assert not isinstance(error.value, WinsockError)
    with pytest.raises(OSError, match="open failed") as error:
        Recorder(tmp_path / "none" / "x.pcapng", rotate_count=1)
    assert "x_00001_" in error.value.filename or error.value.filename.endswith("x")


def test_a_descriptor_that_cannot_be_written(path: Path, format: str) -> None:
    path.touch()
    with open(path, "rb") as file, pytest.raises(OSError, match="write failed") as error:
        Recorder(file.fileno(), format=format)
    assert error.value.errno == errno.EBADF


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_full_device(format: str) -> None:
    with pytest.raises(OSError, match="write failed") as error:
        Recorder("/dev/full", format=format)
    assert (error.value.errno, error.value.filename) == (errno.ENOSPC, "/dev/full")


@functools.cache
def filling() -> list[bytes]:
    return [of_length(1000, index=i) for i in range(6000)]


def fill(target: Path, format: str, batch: int, *, flush: bool) -> list[str]:
    """Record until there is no room: error number, file of the error, datagrams, bytes, closed."""
    recorder = Recorder(target, format=format, flush=flush)
    try:
        with Replay(filling(), batch_size=batch) as replay, recorder:
            recorder.record(replay)
    except OSError as error:
        said = (error.errno, error.filename, recorder.datagrams, recorder.bytes, recorder.closed)
        return list(map(str, said))
    raise AssertionError("there was room for everything")


def check_filled(data: bytes, said: list[str], number: int, path: Path) -> None:
    file = parse(data)
    count = len(file.data)
    assert said == [str(number), str(path), str(count), str(len(data)), "True"]
    assert file.data == filling()[:count]


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Inside, no file of this process grows beyond; that of its standard output neither."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@linux_only
@pytest.mark.parametrize("flush", [False, True], ids=["direct", "flush"])
@pytest.mark.parametrize("batch", [1, 500])
@pytest.mark.parametrize(
    "room",
    [
        *(300, 1299, 1300, 4096, 50_000, 2**20, 2**20 + 1),
        *(2**21, 2**21 + 1, 2**21 + 10_000, 3 * 2**20 + 777, 2**22 + 1),
    ],
)
def test_a_file_that_cannot_grow_is_whole_up_to_the_last_datagram(
    path: Path, format: str, room: int, batch: int, flush: bool
) -> None:
    with largest_file(room):
        said = fill(path, format, batch, flush=flush)
    data = path.read_bytes()
    assert room - 1100 <= len(data) <= room
    check_filled(data, said, errno.EFBIG, path)


@pytest.fixture
def small_disk(tmp_path: Path, can_make_networks: None) -> Iterator[Path]:
    """A file system of 2 MiB, in a mount namespace of the program that is run by it."""
    if os.geteuid() != 0 or tool("unshare") is None:
        pytest.skip("a file system of its own needs root and unshare(1)")
    return tmp_path


@linux_only
@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
@pytest.mark.parametrize("flush", [False, True], ids=["direct", "flush"])
def test_a_disk_that_is_full(small_disk: Path, format: str, kind: str, flush: bool) -> None:
    disk = small_disk / "disk"
    disk.mkdir()
    image = small_disk / "image"
    mount = f"mount -t tmpfs -o size=2M none {disk}"
    if kind == "ext4":
        if network.tool("mkfs.ext4") is None:
            pytest.skip("mkfs.ext4 is missing")
        with open(image, "wb") as file:
            file.truncate(8 * 2**20)
        subprocess.run(
            [network.tool("mkfs.ext4"), "-q", "-m", "0", "-b", "4096", "-O", "^has_journal", image],
            check=True,
        )
        mount = f"mount -o loop {image} {disk}"
    program = "import sys, test_recorder as t; print(*t.fill(sys.argv[1], sys.argv[2], 500, flush="
    target, copy = disk / f"x.{format}", small_disk / f"copy.{format}"
    # 6000 datagrams do not fit into 2 MiB; the disk of 8 MiB is filled but for 2 before.
    script = f"""
        set -e
        {mount} || exit 77
        if [ {kind} = ext4 ]; then
            blocks=$(( $(stat -f -c %a {disk}) / 256 - 2 ))
            dd if=/dev/zero of={disk}/ballast bs=1M count=$blocks status=none
        fi
        "$@"
        cp {target} {copy}
        sync
        umount {disk}
    """
    done = subprocess.run(
        [
            *(tool("unshare"), "--mount", "sh", "-c", script, "sh"),
            *(sys.executable, "-c", f"{program}{flush}))"),
            *(str(target), format),
        ],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode == 77:
        pytest.skip(f"a {kind} cannot be mounted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    data = copy.read_bytes()
    assert len(data) > 2**20
    check_filled(data, done.stdout.split(), errno.ENOSPC, target)


# -------------------------------------------------------------------------------------------------
# Other tools, and a live interface


def run_tool(*arguments: str) -> str:
    if sys.platform == "win32":
        done = unix.run(*arguments)
    else:
        done = subprocess.run(
            [tool(arguments[0]) or arguments[0], *arguments[1:]],
            capture_output=True,
            text=True,
            env=network.tool_environment(),
            check=False,
            timeout=60,
        )
    complaints = [
        line
        for line in done.stderr.splitlines()
        if "could be dangerous" not in line and not line.startswith("reading from file")
    ]
    assert (done.returncode, complaints) == (0, []), arguments
    return done.stdout


@needs("tshark")
@needs("capinfos")
def test_tshark_and_capinfos_agree(path: Path, format: str) -> None:
    items = [
        (datagram, STAMP + i * 1_000_003, i % 4, len(datagram) + i % 3)
        for i, datagram in enumerate(mixed(500))
    ]
    with Recorder(
        path, format=format, interface="eth7", filter="udp or tcp or icmp", comment="a comment"
    ) as recorder:
        recorder.write(batch_of(items))
    fields = ["frame.time_epoch", "frame.len", "frame.cap_len"]
    rows = run_tool(
        *("tshark", "-n", "-r", str(path), "-T", "fields"),
        *(part for field in fields for part in ("-e", field)),
    ).splitlines()
    assert [row.split("\t") for row in rows] == [
        [f"{stamp // 10**9}.{stamp % 10**9:09}", str(original), str(len(datagram))]
        for datagram, stamp, _, original in items
    ]
    report = run_tool("capinfos", "-M", str(path))
    assert "Number of packets:   500\n" in report
    assert "rawip" in report
    if format == "pcapng":
        for line in (
            "Capture comment:     a comment",
            "Name = eth7",
            "Filter string = udp or tcp or icmp",
            f"Capture application: winsockctl {winsockctl.__version__}",
            "Number of stat entries = 1",
        ):
            assert line in report


@needs("tcpdump")
def test_libpcap_reads_it(path: Path, format: str) -> None:
    with Replay(mixed(600)) as replay, Recorder(path, format=format, rotate_count=200) as recorder:
        recorder.record(replay)
    for name in recorder.paths:
        assert len(run_tool("tcpdump", "-n", "-r", name, "-t").splitlines()) >= 200
        assert "link-type RAW" not in run_tool("tcpdump", "-n", "-c1", "-r", name)


def test_a_live_interface(
    pair: tuple[Port, Port], open_socket: OpenSocket, live_backend: str, tmp_path: Path
) -> None:
    local, neighbour = pair
    path = tmp_path / "out.pcapng"
    sent = [numbered(local, neighbour, i) for i in range(300)]
    with (
        Reader(open_socket(live_backend, local.name, latency=0.001)) as reader,
        only_from(neighbour, reader),
        Recorder(path, interface=local.name) as recorder,
    ):
        sender = threading.Thread(target=neighbour.send_datagrams, args=(local, sent))
        sender.start()
        assert recorder.record(reader, count=300, seconds=PATIENCE) == 300
        sender.join()
        assert reader.statistics.received == 300
    file = parse(path.read_bytes())
    assert file.data == sent
    assert set(file.flags) == {1}
    [statistics] = file.statistics
    assert struct.unpack("=QQ", statistics[4] + statistics[5]) == (300, 0)


def only_from(neighbour: Port, reader: Reader) -> contextlib.AbstractContextManager[None]:
    """Without the ICMP messages that answer."""
    reader.filter = f"udp and src host {neighbour.ipv4}"
    return contextlib.nullcontext()


def numbered(local: Port, neighbour: Port, index: int) -> bytes:
    return udp(
        seeded_payload(index, 20 + index % 1000), source=neighbour.ipv4, destination=local.ipv4
    )


def test_drops_are_in_the_statistics(
    pair: tuple[Port, Port], open_socket: OpenSocket, tmp_path: Path
) -> None:
    """More than the ring takes comes before anybody records: received + dropped = what passed."""
    local, neighbour = pair
    path = tmp_path / "out.pcapng"
    count = 4000
    with (
        Reader(open_socket("packet-ring", local.name, buffer_size=2**20)) as reader,
        only_from(neighbour, reader),
        Recorder(path) as recorder,
    ):
        neighbour.send_datagrams(local, (numbered(local, neighbour, 980) for _ in range(count)))
        time.sleep(0.1)
        received = recorder.record(reader, seconds=0.5)
        assert reader.statistics.dropped == count - received > 0
    [statistics] = parse(path.read_bytes()).statistics
    assert struct.unpack("=QQ", statistics[4] + statistics[5]) == (count, count - received)


def test_an_interface_that_goes_away(pair: tuple[Port, Port], tmp_path: Path) -> None:
    local, neighbour = pair
    path = tmp_path / "out.pcapng"
    with Capture(local.name, latency=0.001) as capture, Recorder(path) as recorder:
        neighbour.send_datagrams(local, [numbered(local, neighbour, 1)])
        timer = threading.Timer(0.2, functools.partial(local.host.ip, f"link del {local.name}"))
        timer.start()
        with pytest.raises(WinsockError) as error:
            recorder.record(capture)
        timer.join()
        assert error.value.symbol == "WSAENETDOWN"
        assert recorder.datagrams >= 1
        assert not recorder.closed
    assert len(parse(path.read_bytes()).data) == recorder.datagrams
