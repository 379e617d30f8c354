"""SavefileWriter: pcap files that other tools read, and what happens when a write fails."""

import errno
import io
import os
import signal
import struct
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import dpkt
import pytest
from datagrams import mixed, of_length
from receiving import send_signal

from winsockctl import Batch, Replay, SavefileWriter, WinsockError

STAMP = 1_700_000_000_123_456_789
HEADER, RECORD_HEADER = 24, 16


def batch_of(items, **options) -> Batch:
    items = list(items)
    with Replay(items, batch_size=max(1, len(items)), **options) as replay:
        return replay.read(0)


def parse(data: bytes) -> list[tuple[int, int, bytes]]:
    """Return (timestamp in ns, original length, bytes) of each record; the file must end whole."""
    records = []
    at = HEADER
    while at < len(data):
        seconds, nanoseconds, length, original = struct.unpack_from("=IIII", data, at)
        assert nanoseconds < 10**9
        at += RECORD_HEADER + length
        assert at <= len(data), "the last record is not whole"
        records.append((seconds * 10**9 + nanoseconds, original, data[at - length : at]))
    return records


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "out.pcap"


def written(path: Path, *batches: Batch, **options) -> bytes:
    with open(path, "wb") as file:
        writer = SavefileWriter(file.fileno(), **options)
        for batch in batches:
            assert writer.write(batch) == len(batch)
        assert writer.size == os.fstat(file.fileno()).st_size
    return path.read_bytes()


def test_the_header_is_there_at_once(path):
    with open(path, "wb") as file:
        writer = SavefileWriter(file.fileno())
        data = path.read_bytes()
        assert writer.size == len(data) == HEADER
    magic, major, minor, zone, sigfigs, snaplen, link = struct.unpack("=IHHIIII", data)
    assert (magic, major, minor, zone, sigfigs, link) == (0xA1B23C4D, 2, 4, 0, 0, 101)
    assert snaplen >= 65535


@pytest.mark.parametrize("snaplen", [1, 96, 65535, 2**31 - 1])
def test_the_header_tells_the_snaplen(path, snaplen):
    assert struct.unpack_from("=I", written(path, snaplen=snaplen), 16) == (snaplen,)


def test_another_tool_reads_it(path):
    expected = mixed(500)
    stamps = [STAMP + i * 1_000_003 for i in range(500)]
    data = written(path, batch_of(zip(expected, stamps, strict=True)))
    reader = dpkt.pcap.Reader(io.BytesIO(data))
    assert reader.datalink() == dpkt.pcap.DLT_RAW or reader.datalink() == 101
    seen = [(float(stamp), packet) for stamp, packet in reader]
    assert [packet for _, packet in seen] == expected
    assert [stamp for stamp, _ in seen] == pytest.approx([ns / 1e9 for ns in stamps])


def test_stamps_keep_their_nanoseconds(path):
    stamps = [0, 1, 999_999_999, 1_000_000_000, STAMP, STAMP + 1, (2**32 - 1) * 10**9 + 999_999_999]
    data = written(path, batch_of((of_length(28), stamp) for stamp in stamps))
    assert [record[0] for record in parse(data)] == stamps


def test_a_stamp_before_1970_does_not_spoil_the_file(path):
    data = written(path, batch_of([(of_length(28), -1), (of_length(29), STAMP)]))
    records = parse(data)
    assert [record[2] for record in records] == [of_length(28), of_length(29)]
    assert records[1][0] == STAMP


def test_truncated_records_tell_both_lengths(path):
    batch = batch_of([of_length(1000), of_length(64), (of_length(60), STAMP, 1, 9000)], snaplen=64)
    records = parse(written(path, batch, snaplen=64))
    assert [(len(data), original) for _, original, data in records] == [
        (64, 1000),
        (64, 64),
        (60, 9000),
    ]
    assert records[0][2] == of_length(1000)[:64]


def test_an_empty_batch_writes_nothing(path):
    assert len(written(path, batch_of([]), batch_of([]))) == HEADER


def test_datagrams_of_65535_bytes(path):
    expected = [of_length(65535, index=i) for i in range(40)]
    records = parse(written(path, batch_of(expected)))
    assert [data for _, _, data in records] == expected
    assert {original for _, original, _ in records} == {65535}


def test_many_batches_and_a_batch_of_many(path):
    expected = mixed(20000)
    batches = [batch_of(expected[:1]), batch_of(expected[1:3]), batch_of(expected[3:])]
    assert [data for _, _, data in parse(written(path, *batches))] == expected


@pytest.mark.parametrize(
    ("count", "result"), [(0, 0), (1, 1), (6, 6), (7, 7), (8, 7), (10**6, 7), (None, 7)]
)
def test_count_writes_only_the_first(path, count, result):
    expected = mixed(7)
    batch = batch_of(expected)
    with open(path, "wb") as file:
        assert SavefileWriter(file.fileno()).write(batch, count) == result
    assert [data for _, _, data in parse(path.read_bytes())] == expected[:result]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((), TypeError),
        ((b"bytes",), TypeError),
        ((None,), TypeError),
        (([of_length(28)],), TypeError),
        (("batch", "1"), TypeError),
        (("batch", 1.0), TypeError),
        (("batch", -1), ValueError),
        (("batch", -(2**64)), (ValueError, OverflowError)),
    ],
)
def test_what_cannot_be_written_is_refused(path, arguments, error):
    batch = batch_of(mixed(3))
    arguments = [batch if argument == "batch" else argument for argument in arguments]
    with open(path, "wb") as file:
        writer = SavefileWriter(file.fileno())
        with pytest.raises(error):
            writer.write(*arguments)
        assert writer.size == HEADER
    assert path.stat().st_size == HEADER


@pytest.mark.parametrize("descriptor", ["1", None, 1.0, b"1"])
def test_a_descriptor_of_the_wrong_type_is_refused(descriptor):
    with pytest.raises(TypeError):
        SavefileWriter(descriptor)


@pytest.mark.parametrize("descriptor", [-1, 2**31, 2**64, -(2**64)])
def test_a_descriptor_that_cannot_be_one_is_refused(descriptor):
    with pytest.raises((OSError, ValueError, OverflowError)):
        SavefileWriter(descriptor)


def test_a_closed_descriptor(path):
    with open(path, "wb") as file:
        number = os.dup(file.fileno())
        writer = SavefileWriter(number)
        os.close(number)
        with pytest.raises(OSError, match="write") as error:
            writer.write(batch_of(mixed(3)))
        assert error.value.errno == errno.EBADF
        assert not isinstance(error.value, WinsockError)
        assert writer.size == HEADER
    with pytest.raises(OSError) as error:  # noqa: PT011
        SavefileWriter(number)
    assert error.value.errno == errno.EBADF


def test_a_descriptor_that_only_reads(path):
    path.touch()
    with open(path, "rb") as file, pytest.raises(OSError) as error:  # noqa: PT011
        SavefileWriter(file.fileno())
    assert error.value.errno == errno.EBADF


def test_the_descriptor_stays_the_callers(path):
    with open(path, "wb") as file:
        writer = SavefileWriter(file.fileno())
        writer.write(batch_of(mixed(3)))
        del writer
        file.write(b"tail")
    assert path.read_bytes().endswith(b"tail")


def test_a_slow_reader_of_a_pipe_gets_everything():
    expected = [of_length(1400, index=i) for i in range(3000)]
    receive, send = os.pipe()
    chunks = []

    def read():
        # Other sizes than the writer's: a write then ends in the middle of a record. It would
        # never end if the writer held the interpreter while it waits.
        while chunk := os.read(receive, 1237):
            chunks.append(chunk)

    thread = threading.Thread(target=read)
    thread.start()
    writer = SavefileWriter(send)
    assert writer.write(batch_of(expected)) == 3000
    os.close(send)
    thread.join()
    os.close(receive)
    data = b"".join(chunks)
    assert writer.size == len(data)
    assert [packet for _, _, packet in parse(data)] == expected


def test_a_pipe_that_nobody_reads_any_more():
    receive, send = os.pipe()
    writer = SavefileWriter(send)
    os.close(receive)
    with pytest.raises(BrokenPipeError) as error:
        writer.write(batch_of(mixed(3)))
    assert error.value.errno == errno.EPIPE
    assert writer.size == HEADER
    with pytest.raises(BrokenPipeError):
        SavefileWriter(send)
    os.close(send)


def test_the_reader_of_a_pipe_goes_away_in_the_middle():
    receive, send = os.pipe()
    writer = SavefileWriter(send)

    def read():
        os.read(receive, 100)
        os.close(receive)

    thread = threading.Thread(target=read)
    thread.start()
    with pytest.raises(BrokenPipeError):
        writer.write(batch_of(of_length(1400, index=i) for i in range(1000)))
    thread.join()
    os.close(send)


def send_signals(number, times=1):
    """Have signals come to the main thread while it writes."""

    def send():
        for _ in range(times):
            time.sleep(0.1)
            send_signal(number)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


# A write to a pipe that waits for its reader is not interrupted on Windows.
@pytest.mark.linux
def test_ctrl_c_while_nobody_reads_the_pipe():
    receive, send = os.pipe()
    writer = SavefileWriter(send)
    thread = send_signals(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        writer.write(batch_of(of_length(1400, index=i) for i in range(1000)))
    thread.join()
    os.close(receive)
    os.close(send)


@pytest.mark.linux
def test_signals_do_not_tear_what_goes_through_a_pipe():
    expected = [of_length(1400, index=i) for i in range(1000)]
    receive, send = os.pipe()
    writer = SavefileWriter(send)
    ticks, chunks = [], []

    def read():
        signals.join()
        while chunk := os.read(receive, 65536):
            chunks.append(chunk)

    before = signal.signal(signal.SIGUSR1, lambda *_: ticks.append(1))
    try:
        signals = send_signals(signal.SIGUSR1, times=3)
        thread = threading.Thread(target=read)
        thread.start()
        assert writer.write(batch_of(expected)) == 1000
        os.close(send)
        thread.join()
        os.close(receive)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert ticks
    assert [packet for _, _, packet in parse(b"".join(chunks))] == expected


@pytest.mark.linux
def test_a_signal_handler_cannot_write_to_the_savefile_that_it_interrupts():
    receive, send = os.pipe()
    writer = SavefileWriter(send)
    batch = batch_of(of_length(1400, index=i) for i in range(1000))
    before = signal.signal(signal.SIGUSR1, lambda *_: writer.write(batch))
    try:
        thread = send_signals(signal.SIGUSR1)
        with pytest.raises(RuntimeError, match="signal handler"):
            writer.write(batch)
        thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    os.close(receive)
    os.close(send)


@pytest.mark.linux
def test_a_full_pipe_that_does_not_block_is_an_error_and_no_endless_loop():
    receive, send = os.pipe()
    os.set_blocking(send, False)
    writer = SavefileWriter(send)
    with pytest.raises(BlockingIOError):
        writer.write(batch_of(of_length(1400, index=i) for i in range(1000)))
    os.close(receive)
    os.close(send)


@pytest.mark.linux
def test_a_full_disk():
    with open("/dev/full", "wb", buffering=0) as full:
        with pytest.raises(OSError, match="write") as error:
            SavefileWriter(full.fileno())
        assert error.value.errno == errno.ENOSPC


# The file may grow to `limit` bytes and no further. The child reports what the writer said.
LIMITED = """
    import os, resource, sys
    from winsockctl import Replay, SavefileWriter
    from datagrams import of_length

    path, flags, before, limit, batches = sys.argv[1:]
    with open(path, "wb") as file:
        file.write(b"x" * int(before))
    descriptor = os.open(path, os.O_WRONLY | int(flags))
    os.lseek(descriptor, 0, os.SEEK_END)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
    datagrams = [of_length(1000, index=i) for i in range(100)]
    with Replay(datagrams, batch_size=100 // int(batches)) as replay:
        try:
            writer = SavefileWriter(descriptor)
            for batch in replay.batches():
                writer.write(batch)
        except OSError as error:
            print(error.errno, writer.size, "write" in str(error))
            resource.setrlimit(
                resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            )
            with Replay([of_length(50)]) as more:
                writer.write(more.read(0))
            print(writer.size, os.lseek(descriptor, 0, os.SEEK_CUR))
"""


def limited(path, *, flags=0, before=0, limit, batches=1) -> tuple[list[str], bytes]:
    script = textwrap.dedent(LIMITED)
    arguments = [str(path), str(flags), str(before), str(limit), str(batches)]
    child = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return child.stdout.split(), path.read_bytes()


@pytest.mark.linux
@pytest.mark.parametrize("flags", [0, os.O_APPEND], ids=["plain", "append"])
@pytest.mark.parametrize("before", [0, 100])
@pytest.mark.parametrize("batches", [1, 10])
@pytest.mark.parametrize(
    "room",
    [
        HEADER + 50 * (RECORD_HEADER + 1000),
        HEADER + 50 * (RECORD_HEADER + 1000) + 1,
        HEADER + 50 * (RECORD_HEADER + 1000) + RECORD_HEADER,
        HEADER + 50 * (RECORD_HEADER + 1000) + RECORD_HEADER + 999,
    ],
    ids=["whole", "in a record header", "behind it", "one byte short"],
)
def test_a_file_that_cannot_grow_is_whole_up_to_the_last_datagram(
    path, flags, before, batches, room
):
    output, data = limited(path, flags=flags, before=before, limit=before + room, batches=batches)
    size = HEADER + 50 * (RECORD_HEADER + 1000)
    further = RECORD_HEADER + 50
    assert output == [
        str(errno.EFBIG),
        str(size),
        "True",
        str(size + further),
        str(before + size + further),
    ]
    assert data[:before] == b"x" * before
    records = [packet for _, _, packet in parse(data[before:])]
    assert records == [*(of_length(1000, index=i) for i in range(50)), of_length(50)]


def test_writes_of_many_threads_do_not_mix(path):
    expected = [of_length(30 + i % 900, index=i) for i in range(4000)]
    batches = [batch_of(expected[i : i + 20]) for i in range(0, 4000, 20)]
    with open(path, "wb") as file:
        writer = SavefileWriter(file.fileno())

        def work(own):
            for batch in own:
                writer.write(batch)

        threads = [threading.Thread(target=work, args=(batches[i::4],)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert writer.size == os.fstat(file.fileno()).st_size
    records = [packet for _, _, packet in parse(path.read_bytes())]
    assert sorted(records) == sorted(expected)


def test_size_cannot_be_set(path):
    with open(path, "wb") as file:
        writer = SavefileWriter(file.fileno())
        with pytest.raises(AttributeError):
            writer.size = 0
