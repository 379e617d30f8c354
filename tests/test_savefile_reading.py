"""open_savefile: files made byte by byte, sound ones, cut ones and spoilt ones."""

import collections
import gc
import gzip
import importlib.util
import io
import os
import random
import struct
import sys
import threading
import tracemalloc
import zlib
from collections.abc import Iterator

import pytest
import savefiles
from datagrams import mixed, of_length, udp
from savefiles import (
    block,
    enhanced,
    ethernet,
    interface,
    obsolete,
    pcap,
    pcap_record,
    pcapng,
    section,
    simple,
    sll,
    sll2,
    statistics,
)

from winsockctl import (
    Direction,
    Filter,
    FilterSyntaxError,
    Savefile,
    SavefileError,
    WinsockError,
    WinsockInterruptedError,
    open_savefile,
)

WSAENOTSOCK = 10038
STAMP = 1_800_000_000  # seconds
ARP = bytes(12) + b"\x08\x06" + bytes(46)
ZSTD = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"


def has_zstd() -> bool:
    try:
        return importlib.util.find_spec(ZSTD) is not None
    except ModuleNotFoundError:
        return False


class Dripping(io.RawIOBase):
    """A pipe that gives so many bytes at a time."""

    def __init__(self, data: bytes, size: int) -> None:
        self._data = io.BytesIO(data)
        self._size = size

    def read(self, size: int = -1) -> bytes:
        return self._data.read(min(size, self._size))


def opened(data: bytes, **options) -> Savefile:
    return open_savefile(io.BytesIO(data), **options)


def views(savefile: Savefile) -> list[bytes]:
    with savefile:
        return [bytes(view) for view in savefile]


def until_fault(savefile: Savefile) -> tuple[list[bytes], SavefileError | None]:
    seen = []
    try:
        for view in savefile:
            seen.append(bytes(view))
    except SavefileError as error:
        return seen, error
    return seen, None


def everything(data: bytes, **options) -> list[tuple[bytes, int, Direction, int, int]]:
    with opened(data, **options) as savefile:
        return [
            (
                bytes(each.data),
                each.timestamp_ns,
                each.direction,
                each.original_length,
                each.interface_index,
            )
            for each in savefile.datagrams()
        ]


@pytest.fixture(params=["mapped", "file object", "dripping", "gzip"])
def way(request, tmp_path):
    """Every way to a file's bytes."""

    def open_it(data: bytes, **options) -> Savefile:
        if request.param == "mapped":
            path = tmp_path / "file"
            path.write_bytes(data)
            return open_savefile(path, **options)
        if request.param == "gzip":
            data = gzip.compress(data)
        size = 7 if request.param == "dripping" else 2**20
        return open_savefile(Dripping(data, size), **options)

    return open_it


# Formats


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("magic", "fraction", "nanoseconds", "more"),
    [
        (savefiles.MICROSECONDS, 123456, 123456000, b""),
        (savefiles.NANOSECONDS, 123456789, 123456789, b""),
        (savefiles.MODIFIED, 123456, 123456000, bytes(8)),
    ],
)
def test_pcap_in_each_byte_order_and_resolution(way, order, magic, fraction, nanoseconds, more):
    expected = mixed(300)
    records = [
        pcap_record(data, STAMP + place, fraction, order=order, more=more)
        for place, data in enumerate(expected)
    ]
    with way(pcap(records, order=order, magic=magic, snaplen=65535)) as savefile:
        assert savefile.format == "pcap"
        assert savefile.byte_order == ("little" if order == "<" else "big")
        assert savefile.link_types == (savefiles.RAW,)
        assert savefile.snaplen == 65535
        seen = list(savefile.datagrams())
    assert [bytes(each.data) for each in seen] == expected
    assert [each.timestamp_ns for each in seen] == [
        (STAMP + place) * 10**9 + nanoseconds for place in range(300)
    ]
    assert {each.direction for each in seen} == {Direction.UNKNOWN}
    assert {each.interface_index for each in seen} == {0}


@pytest.mark.parametrize("version", [(2, 2), (2, 3)])
def test_the_lengths_of_old_pcap_files_stand_the_other_way_round(version):
    data = of_length(60)
    record = struct.pack("<IIII", 0, 0, 100, 60) + data
    assert everything(pcap([record], version=version)) == [(data, 0, Direction.UNKNOWN, 100, 0)]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("make", [enhanced, obsolete, simple])
def test_each_packet_block_of_pcapng(way, order, make):
    expected = mixed(300)
    with way(pcapng([make(data, order=order) for data in expected], order=order)) as savefile:
        assert savefile.format == "pcapng"
        assert savefile.byte_order == ("little" if order == "<" else "big")
        assert [bytes(view) for view in savefile] == expected
        assert savefile.ended


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("make", [enhanced, obsolete])
@pytest.mark.parametrize(
    ("resolution", "offset", "units", "expected"),
    [
        (None, 0, STAMP * 10**6 + 5, STAMP * 10**9 + 5000),
        (6, 0, 1, 1000),
        (9, 0, STAMP * 10**9 + 7, STAMP * 10**9 + 7),
        (0, 0, STAMP, STAMP * 10**9),
        (3, 0, STAMP * 1000 + 1, STAMP * 10**9 + 10**6),
        (12, 0, STAMP * 10**9 + 7, STAMP * 10**6),
        (19, 0, 2**64 - 1, (2**64 - 1) // 10**10),
        (20, 0, 2**64 - 1, (2**64 - 1) // 10**11),
        (127, 0, 2**64 - 1, 0),
        (0x80, 0, STAMP, STAMP * 10**9),
        (0x80 | 10, 0, STAMP << 10 | 512, STAMP * 10**9 + 500_000_000),
        (0x80 | 20, 0, (1 << 20) - 1, ((1 << 20) - 1) * 10**9 >> 20),
        (0x80 | 32, 0, STAMP << 32 | 1 << 31, STAMP * 10**9 + 500_000_000),
        (0x80 | 33, 0, 0x123456789ABCDEF0, 0x123456789ABCDEF0 * 10**9 >> 33),
        (0x80 | 63, 0, 2**64 - 1, (2**64 - 1) * 10**9 >> 63),
        (0x80 | 64, 0, 2**64 - 1, (2**64 - 1) * 10**9 >> 64),
        (0x80 | 127, 0, 2**64 - 1, 0),
        (6, 100, 1, 100 * 10**9 + 1000),
        (6, -100, 0, -100 * 10**9),
        (0, -11_644_473_600, STAMP + 11_644_473_600, STAMP * 10**9),
    ],
)
def test_resolution_and_offset_of_stamps(order, make, resolution, offset, units, expected):
    more = [] if resolution is None else [(9, bytes([resolution]))]
    more += [(14, struct.pack(order + "q", offset))] if offset else []
    data = section(order=order) + interface(order=order, more=more)
    data += make(of_length(28), units, order=order)
    assert everything(data) == [(of_length(28), expected, Direction.UNKNOWN, 28, 0)]


@pytest.mark.parametrize(
    ("offset", "units"), [(2**63 - 1, 0), (2**63 - 1, 2**64 - 1), (-(2**63), 0), (0, 2**64 - 1)]
)
def test_a_stamp_that_no_clock_shows_is_the_nearest_one_that_fits(offset, units):
    more = [(9, b"\0"), (14, struct.pack("<q", offset))]
    data = section() + interface(more=more) + enhanced(of_length(28), units)
    [[_, stamp, *_]] = everything(data)
    assert -(2**63) <= stamp < 2**63
    assert abs(stamp) > 9 * 10**18


@pytest.mark.parametrize("order", ["<", ">"])
def test_sections_and_interfaces_have_their_own_numbers_and_byte_order(way, order):
    other = ">" if order == "<" else "<"
    first, second, third, fourth = mixed(4)
    data = (
        section(order=order, more=[(1, b"a comment"), (4, b"made by hand")])
        + interface(order=order, snaplen=100, more=[(2, b"eth0"), (3, b"the first")])
        + enhanced(first, order=order)
        + interface(1, order=order, more=[(2, b"eth1"), (11, b"\0udp"), (9, b"\x09")])
        + enhanced(ethernet(second), 5, order=order, number=1)
        + section(order=other, length=8)
        + interface(113, order=other, more=[(2, "schnittstelle-ü".encode())])
        + enhanced(sll(third), order=other)
        + section(order=order)
        + interface(order=order)
        + simple(fourth, order=order)
    )
    with way(data) as savefile:
        assert [(bytes(each.data), each.interface_index) for each in savefile.datagrams()] == [
            (first, 0),
            (second, 1),
            (third, 2),
            (fourth, 3),
        ]
        assert [(each.name, each.link_type) for each in savefile.interfaces] == [
            ("eth0", 101),
            ("eth1", 1),
            ("schnittstelle-ü", 113),
            (None, 101),
        ]
        assert savefile.interfaces[0].description == "the first"
        assert [each.filter for each in savefile.interfaces] == [None, "udp", None, None]
        assert savefile.interfaces[0].snaplen == 100
        assert savefile.link_types == (101, 1, 113)
        assert savefile.comment == "a comment"


def test_what_is_no_packet_is_skipped(way):
    other = block(0xBAD, b"unknown.") + block(4, bytes(400)) + block(0x40000BAD, bytes(4))
    packets = [other + enhanced(data) for data in mixed(20)]
    savefile = way(section() + other + interface() + b"".join(packets) + other)
    assert views(savefile) == mixed(20)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("make", [enhanced, obsolete])
def test_the_flags_of_a_packet_tell_its_direction(order, make):
    data = section(order=order) + interface(order=order)
    for flags in (0, 1, 2, 3, 0xFFFFFFF1):
        more = [(1, b"a comment"), (2, struct.pack(order + "I", flags)), (4, bytes(8))]
        data += make(of_length(29), order=order, more=more)
    assert [direction for _, _, direction, *_ in everything(data)] == [
        Direction.UNKNOWN,
        Direction.INCOMING,
        Direction.OUTGOING,
        Direction.UNKNOWN,
        Direction.INCOMING,
    ]


def test_the_length_of_a_simple_packet_is_bounded_by_the_snaplen():
    whole = of_length(100)
    data = section() + interface(snaplen=64) + simple(whole[:64], original=100)
    assert everything(data) == [(whole[:64], 0, Direction.UNKNOWN, 100, 0)]


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_file_tells_what_its_capture_dropped(order):
    def counts(received: int, dropped: int) -> list[tuple[int, bytes]]:
        return [(4, struct.pack(order + "Q", received)), (5, struct.pack(order + "Q", dropped))]

    data = section(order=order) + interface(order=order) * 2 + enhanced(of_length(28), order=order)
    with opened(data) as savefile:
        list(savefile)
        assert savefile.statistics.dropped is None
    data += statistics(order=order, more=counts(10, 3))
    data += statistics(order=order, more=counts(20, 5))
    data += statistics(order=order, number=1, more=counts(7, 2))
    data += statistics(order=order, number=9, more=counts(7, 1000))
    with opened(data) as savefile:
        list(savefile)
        assert savefile.statistics.dropped == 5 + 2


# Link layers


@pytest.mark.parametrize("name", savefiles.LINKS)
def test_each_link_layer_is_cut_off(way, name):
    link_type, wrap = savefiles.LINKS[name]
    expected = mixed(60)
    records = [pcap_record(wrap(data)) for data in expected]
    savefile = way(pcap(records, link_type=link_type))
    assert views(savefile) == expected
    assert savefile.statistics.passed_over == 0


@pytest.mark.parametrize("name", savefiles.LINKS)
def test_a_frame_that_was_cut_short_is_passed_over_or_truncated(name):
    link_type, wrap = savefiles.LINKS[name]
    for data in (of_length(100), udp(bytes(60), source="::1", destination="::1")):
        frame = wrap(data)
        header = frame.index(data)
        for length in range(len(frame)):
            record = pcap_record(frame[:length], original=len(frame))
            with opened(pcap([record], link_type=link_type)) as savefile:
                seen = [(bytes(each.data), each.original_length) for each in savefile.datagrams()]
                if length <= header:
                    assert (seen, savefile.statistics.passed_over) == ([], 1)
                else:
                    assert seen == [(data[: length - header], len(data))]
                    assert savefile.statistics.truncated == (length - header < len(data))


def test_link_type_ipv4_has_no_ipv6_and_the_other_way_round():
    for link_type, version in ((savefiles.IPV4, 4), (savefiles.IPV6, 6)):
        savefile = opened(pcap(map(pcap_record, mixed(60)), link_type=link_type))
        assert views(savefile) == [data for data in mixed(60) if data[0] >> 4 == version]
        assert savefile.statistics.passed_over == 30


@pytest.mark.parametrize(
    ("link_type", "frame"),
    [
        (savefiles.ETHERNET, ARP),
        (savefiles.ETHERNET, b""),
        (savefiles.ETHERNET, bytes(12) + b"\x08\x00" + bytes(46)),
        (savefiles.ETHERNET, bytes(12) + b"\x08\x00" + udp(source="::1", destination="::1")),
        (savefiles.ETHERNET, bytes(12) + b"\x81\x00\x00\x01"),
        (savefiles.ETHERNET, bytes(12) + b"\x81\x00" * 30),
        (savefiles.ETHERNET, bytes(12) + b"\x00\x26" + bytes(38)),
        (savefiles.SLL, bytes(14) + b"\x08\x06" + bytes(28)),
        (savefiles.SLL2, b"\x00\x04" + bytes(40)),
        (savefiles.PPP, b"\xff\x03\xc0\x21" + bytes(10)),
        (savefiles.PPP, b"\xff\x03"),
        (savefiles.NULL, struct.pack("<I", 7) + bytes(40)),
        (savefiles.LOOP, struct.pack(">I", 0x02000001) + bytes(40)),
        (savefiles.RAW, b"\x50" + bytes(40)),
        (savefiles.RAW, b""),
        (savefiles.IPV4, of_length(28)[:19]),
    ],
)
def test_r8_what_is_neither_ipv4_nor_ipv6_is_counted_and_passed_over(link_type, frame):
    for make in (
        pcap([pcap_record(frame), pcap_record(frame)], link_type=link_type),
        pcapng([enhanced(frame), enhanced(frame)], link_type=link_type),
    ):
        with opened(make) as savefile:
            assert list(savefile) == []
            assert savefile.statistics.passed_over == 2
            assert savefile.statistics.received == 0
            assert savefile.ended


def test_cooked_frames_tell_the_direction():
    for wrap, link_type in ((sll, savefiles.SLL), (sll2, savefiles.SLL2)):
        records = [pcap_record(wrap(of_length(40), packet_type)) for packet_type in range(6)]
        seen = everything(pcap(records, link_type=link_type))
        assert [direction.name for _, _, direction, *_ in seen] == [
            *("INCOMING", "INCOMING", "INCOMING", "OTHER", "OUTGOING", "UNKNOWN")
        ]


def test_the_check_sequence_behind_a_frame_is_no_part_of_the_datagram():
    # The upper bits of the header's link type say that there is one.
    frames = [pcap_record(ethernet(data) + b"\xf0\x0d\xf0\x0d") for data in mixed(60)]
    assert views(opened(pcap(frames, link_type=0x24000001))) == mixed(60)


@pytest.mark.parametrize("link_type", [2, 105, 127, 147, 189, 195, 65535])
def test_an_unknown_link_type_is_named(link_type):
    with pytest.raises(SavefileError, match=f"link type {link_type} is not read: only") as caught:
        opened(pcap([], link_type=link_type))
    assert caught.value.offset == 20
    start = section() + interface() + enhanced(of_length(28)) + interface(link_type)
    assert views(opened(start)) == [of_length(28)]  # nothing of it is there
    with opened(start + enhanced(b"frame", number=1)) as savefile:
        seen, error = until_fault(savefile)
    assert seen == [of_length(28)]
    assert f"link type {link_type} is not read" in error.reason
    assert error.offset == len(start)


# Options


def test_the_filter_sees_the_datagram_without_its_link_layer(way):
    frames = [pcap_record(ethernet(data)) for data in mixed(600)]
    savefile = way(pcap(frames, link_type=1), filter="ip6 and udp")
    assert views(savefile) == [data for data in mixed(600) if data[0] >> 4 == 6 and data[6] == 17]
    assert savefile.statistics.passed_over == 0


def test_a_filter_can_be_made_before():
    wanted = Filter("icmp")
    assert len(views(opened(pcap(map(pcap_record, mixed(600))), filter=wanted))) == 100


def test_snaplen_cuts_what_is_handed_out(way):
    savefile = way(pcap(map(pcap_record, mixed(60))), snaplen=30)
    with savefile:
        seen = list(savefile.datagrams())
    assert [bytes(each.data) for each in seen] == [data[:30] for data in mixed(60)]
    assert [each.original_length for each in seen] == list(map(len, mixed(60)))
    assert savefile.statistics.truncated == 60
    assert savefile.statistics.bytes == 60 * 30


@pytest.mark.parametrize("size", [1, 7, 100, 1000, 65536])
def test_batch_size_is_the_most_that_a_batch_holds(tmp_path, size):
    path = tmp_path / "file"
    path.write_bytes(pcap(map(pcap_record, mixed(1000))))
    with open_savefile(path, batch_size=size) as savefile:
        sizes = [len(batch) for batch in savefile.batches()]
    full, rest = divmod(1000, size)
    assert sizes == [size] * full + [rest] * (rest > 0)


def test_the_default_batch_size_is_1024(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(pcap(pcap_record(of_length(28)) for _ in range(1500)))
    with open_savefile(path) as savefile:
        assert [len(batch) for batch in savefile.batches()] == [1024, 476]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"batch_size": 0}, ValueError),
        ({"batch_size": 65537}, ValueError),
        ({"batch_size": "1"}, TypeError),
        ({"snaplen": 0}, ValueError),
        ({"snaplen": -1}, ValueError),
        ({"snaplen": 1.5}, TypeError),
        ({"filter": "udp and and"}, FilterSyntaxError),
        ({"filter": 7}, TypeError),
    ],
)
def test_an_unacceptable_option_is_refused(tmp_path, options, error):
    path = tmp_path / "file"
    path.write_bytes(pcap([]))
    with pytest.raises(error):
        open_savefile(path, **options)


@pytest.mark.parametrize("other", [None, 7, [], io.StringIO("text"), object()])
def test_what_is_no_binary_file_is_refused(other):
    with pytest.raises(TypeError, match="binary"):
        open_savefile(other)


@pytest.mark.parametrize("answer", [None, "text", 7])
def test_a_file_that_gives_no_bytes_is_refused(answer):
    class Strange:
        def read(self, size: int) -> object:
            return answer

    with pytest.raises(TypeError):
        open_savefile(Strange())


def test_what_reading_raises_is_heard_and_the_file_can_be_read_on():
    data = pcap(map(pcap_record, mixed(20)))

    class Failing(Dripping):
        def read(self, size: int = -1) -> bytes:
            self.count = getattr(self, "count", 0) + 1
            if self.count == 40:
                raise OSError(5, "the disk is broken")
            return super().read(size)

    with open_savefile(Failing(data, 50)) as savefile:
        seen = []
        with pytest.raises(OSError, match="the disk is broken"):
            seen += [bytes(view) for view in iter_into(savefile, seen)]
        assert 0 < len(seen) < 20
        seen += [bytes(view) for view in savefile]
    assert seen == mixed(20)


def iter_into(savefile: Savefile, seen: list[bytes]) -> Iterator[memoryview]:
    for view in savefile:
        seen.append(bytes(view))
    yield from ()


# The reading API


def test_views_outlive_the_savefile_and_the_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(pcap(map(pcap_record, mixed(200))))
    for source in (path, io.BytesIO(path.read_bytes()), Dripping(path.read_bytes(), 999)):
        kept = list(open_savefile(source, batch_size=30))
        gc.collect()
        assert [bytes(view) for view in kept] == mixed(200)


def test_views_of_a_stream_stay_as_they_are_while_it_is_read_on():
    expected = mixed(3000)
    with open_savefile(Dripping(pcap(map(pcap_record, expected)), 5000)) as savefile:
        kept = []
        for place, view in enumerate(savefile):
            if place % 3 == 0:
                kept.append((expected[place], view))
        assert all(view == data for data, view in kept)
        assert len(kept) == 1000


def test_records_and_buffer_of_a_batch_fit(way):
    frames = [pcap_record(ethernet(data), STAMP) for data in mixed(50)]
    with way(pcap(frames, link_type=1), filter="tcp", batch_size=3) as savefile:
        for batch in savefile.batches():
            table = struct.iter_unpack("=qQIIIHBB", batch.records.tobytes())
            for view, (_, offset, length, *_) in zip(batch, table, strict=True):
                assert batch.buffer[offset : offset + length] == view
            assert len(batch.buffer) < 3000


def test_the_ways_to_read_can_be_mixed_and_end_is_told():
    with opened(pcap(map(pcap_record, mixed(90))), batch_size=10) as savefile:
        assert not savefile.ended
        seen = [bytes(view) for view in savefile.read()]
        seen += [bytes(view) for view in savefile.read(0)]
        seen += [bytes(view) for view in next(savefile.batches(timeout=1))]
        seen += [bytes(each.data) for each in savefile.datagrams()]
        assert seen == mixed(90)
        assert savefile.ended
        assert len(savefile.read()) == 0
        assert savefile.statistics.received == 90
        assert savefile.statistics.bytes == sum(map(len, seen))
        assert savefile.backend == "savefile"
        assert savefile.fileno() == -1
        assert "pcap" in repr(savefile)


def test_r15_a_closed_savefile_says_so_and_ends_an_iteration():
    savefile = opened(pcap(map(pcap_record, mixed(90))), batch_size=10)
    seen = []
    for view in savefile:
        seen.append(bytes(view))
        savefile.close()
    assert seen == mixed(10)
    savefile.close()
    assert savefile.closed
    with pytest.raises(WinsockError, match="open it again") as caught:
        savefile.read()
    assert caught.value.code == WSAENOTSOCK
    assert savefile.statistics.received == 10
    assert savefile.format == "pcap"


def test_r15_a_savefile_that_is_closed_while_a_thread_reads_ends_it():
    waiting, go_on = threading.Event(), threading.Event()

    class Pipe(Dripping):
        def read(self, size: int = -1) -> bytes:
            piece = super().read(size)
            if not piece:
                waiting.set()
                go_on.wait()
            return piece

    savefile = open_savefile(Pipe(pcap(map(pcap_record, mixed(5))) + b"half", 100))
    caught = []

    def read() -> None:
        try:
            while savefile.read():
                pass
        except WinsockInterruptedError as error:
            caught.append(error)
        except SavefileError as error:
            caught.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    waiting.wait()
    savefile.close()
    go_on.set()
    thread.join()
    assert len(caught) == 1
    with pytest.raises(WinsockError):
        savefile.read()


def test_threads_share_the_datagrams_of_a_file(tmp_path):
    path = tmp_path / "file"
    expected = mixed(5000)
    path.write_bytes(pcap(map(pcap_record, expected)))
    seen = collections.Counter()
    with open_savefile(path, batch_size=10) as savefile:

        def read() -> None:
            mine = [bytes(view) for view in savefile]
            assert savefile.interfaces[0].link_type == savefiles.RAW
            with lock:
                seen.update(mine)

        lock = threading.Lock()
        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == collections.Counter(expected)


def test_a_read_from_within_a_read_is_refused():
    class Recursive(Dripping):
        def read(self, size: int = -1) -> bytes:
            if savefiles_open:
                with pytest.raises(RuntimeError, match="its own reading"):
                    savefiles_open[0].read()
            return super().read(size)

    savefiles_open: list[Savefile] = []
    savefiles_open.append(open_savefile(Recursive(pcap(map(pcap_record, mixed(30))), 99)))
    assert views(savefiles_open[0]) == mixed(30)


def test_a_file_object_stays_open_and_a_path_does_not(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(pcap(map(pcap_record, mixed(3)))))
    with open(path, "rb") as file:
        assert views(open_savefile(file)) == mixed(3)
        assert not file.closed
    for name in (path, str(path), os.fsencode(path)):
        assert views(open_savefile(name)) == mixed(3)
    path.unlink()  # which Windows refuses while the file is open


@pytest.mark.skipif(sys.platform == "win32", reason="named pipes of a file system are missing")
def test_what_comes_through_a_pipe_is_handed_out_at_once(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read_first = threading.Event()
    data = pcapng(map(enhanced, mixed(10)))
    half = len(pcapng(map(enhanced, mixed(5))))

    def write() -> None:
        with open(path, "wb", buffering=0) as file:
            file.write(data[:half])
            assert read_first.wait(60)
            file.write(data[half:])

    thread = threading.Thread(target=write)
    thread.start()
    with open_savefile(path) as savefile:
        assert [bytes(view) for view in savefile.read()] == mixed(5)
        read_first.set()
        assert [bytes(view) for view in savefile] == mixed(10)[5:]
    thread.join()


# Compression


@pytest.mark.skipif(not has_zstd(), reason=f"the library {ZSTD} is missing")
def test_zstd_is_read(tmp_path):
    zstd = importlib.import_module(ZSTD)
    path = tmp_path / "file"
    path.write_bytes(zstd.compress(pcap(map(pcap_record, mixed(2000)))))
    savefile = open_savefile(path)
    assert savefile.compression == "zstd"
    assert views(savefile) == mixed(2000)
    path.write_bytes(path.read_bytes()[:-100])
    with open_savefile(path) as savefile:
        seen, error = until_fault(savefile)
    assert seen == mixed(2000)[: len(seen)]
    assert "the zstd stream is damaged" in error.reason


def test_zstd_without_its_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, ZSTD, None)
    with pytest.raises(ImportError, match=r"winsockctl\[zstd\]"):
        opened(b"\x28\xb5\x2f\xfd" + bytes(100))


def test_gzip_is_told_by_its_first_bytes_and_may_have_several_members(tmp_path):
    whole = pcapng(map(enhanced, mixed(500)))
    path = tmp_path / "file.pcap"
    path.write_bytes(gzip.compress(whole[:5000]) + gzip.compress(whole[5000:]))
    with open_savefile(path) as savefile:
        assert savefile.compression == "gzip"
        assert [bytes(view) for view in savefile] == mixed(500)
    with opened(whole) as savefile:
        assert savefile.compression is None


@pytest.mark.parametrize("damage", ["cut", "spoilt", "followed"])
def test_a_damaged_gzip_stream_gives_what_was_whole(damage):
    whole = pcap(map(pcap_record, mixed(20_000)))
    packed = bytearray(gzip.compress(whole))
    if damage == "cut":
        del packed[len(packed) // 2 :]
    elif damage == "spoilt":
        packed[-6] ^= 0xFF  # the checksum
    else:
        packed += b"something else"
    with opened(packed) as savefile:
        seen, error = until_fault(savefile)
        assert seen == mixed(20_000)[: len(seen)]
        assert "the gzip stream is damaged" in error.reason
        assert 0 < error.offset <= len(whole)
        with pytest.raises(SavefileError, match="gzip"):
            savefile.read()
    if damage == "cut":
        decompressed = zlib.decompressobj(31).decompress(bytes(packed))
        assert seen == views_before(decompressed)
    else:
        assert len(seen) == 20_000


def views_before(data: bytes) -> list[bytes]:
    with opened(data) as savefile:
        return until_fault(savefile)[0]


# Cut, spoilt, lying


@pytest.mark.parametrize("data", [b"", gzip.compress(b"", mtime=0)])
def test_an_empty_file_says_so(tmp_path, data):
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(SavefileError, match="the file is empty") as caught:
        open_savefile(path)
    assert (caught.value.offset, caught.value.reason) == (0, "the file is empty")


@pytest.mark.parametrize(
    "data", [b"\x7fELF" + bytes(100), b"GET / HTTP/1.1\r\n", bytes(24), b"\xa1\xb2\xc3\xd5" * 9]
)
def test_another_file_says_so(tmp_path, data):
    path = tmp_path / "file"
    path.write_bytes(data)
    for source in (path, io.BytesIO(data)):
        with pytest.raises(SavefileError, match="neither pcap nor pcapng"):
            open_savefile(source)


def test_a_fault_is_a_wrong_value():
    assert issubclass(SavefileError, ValueError)


def test_what_cannot_be_opened_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        open_savefile(tmp_path / "nowhere")
    with pytest.raises((IsADirectoryError, PermissionError)):
        open_savefile(tmp_path)


def small_files() -> dict[str, bytes]:
    packets = [of_length(28), of_length(33, index=1), udp(source="::1", destination="::1")]
    more = [(2, b"\1\0\0\0"), (1, b"comment")]
    return {
        "pcap": pcap(map(pcap_record, packets)),
        "pcap, Ethernet": pcap([pcap_record(ethernet(data)) for data in packets], link_type=1),
        "pcap, big-endian": pcap(
            [pcap_record(data, order=">") for data in packets],
            order=">",
            magic=savefiles.MICROSECONDS,
        ),
        "pcapng": section(more=[(1, b"comment")])
        + interface(more=[(2, b"eth0"), (9, b"\x09")])
        + b"".join(enhanced(data, more=more) for data in packets)
        + statistics(more=[(5, bytes(8))]),
        "pcapng, big-endian": pcapng([obsolete(data, order=">") for data in packets], order=">"),
        "pcapng, simple": pcapng(map(simple, packets)),
    }


@pytest.mark.parametrize("name", small_files())
def test_a_file_that_ends_at_any_byte_gives_every_whole_packet(tmp_path, name):
    data = small_files()[name]
    whole = views(opened(data))
    assert len(whole) == 3
    # Where each thing of the file ends, by the number of packets before.
    path = tmp_path / "file"
    counts = []
    for length in range(len(data)):
        part = data[:length]
        path.write_bytes(part)
        outcomes = []
        for source in (path, io.BytesIO(part), Dripping(part, 3)):
            try:
                with open_savefile(source) as savefile:
                    seen, error = until_fault(savefile)
                    ended = savefile.ended
            except SavefileError as fault:
                seen, error, ended = [], fault, False
            assert ended == (error is None)
            assert seen == whole[: len(seen)]
            outcomes.append((len(seen), error and (error.offset, error.reason)))
            if error is not None:
                assert error.offset <= length
                assert str(error) == f"{error.reason} (byte {error.offset})"
                if length > 0:
                    assert "ends" in error.reason or "too short" in error.reason
        assert len(set(outcomes)) == 1
        counts.append(outcomes[0])
    # A packet is delivered as soon as its last byte is there.
    for number, datagram in enumerate(whole):
        first_with_it = next((at for at, (seen, _) in enumerate(counts) if seen > number), None)
        ends = data.index(datagram) + len(datagram)
        assert first_with_it is None or first_with_it >= ends
    assert [seen for seen, _ in counts] == sorted(seen for seen, _ in counts)
    assert {seen for seen, _ in counts} >= {0, 1, 2}


@pytest.mark.parametrize(
    ("data", "offset", "reason"),
    [
        (pcap([], version=(3, 0)), 4, "version 3 of the pcap format"),
        (section(major=2), 12, "version 2 of the pcapng format"),
        (pcap([struct.pack("<IIII", 0, 0, 2**24 + 1, 40)]), 24, "claims 16777217 bytes"),
        (pcap([struct.pack("<IIII", 0, 0, 2**32 - 1, 40)]), 24, "claims 4294967295 bytes"),
        (pcap([struct.pack("<IIII", 0, 0, 2**24, 40)]), 24, "ends inside a packet"),
        (section() + struct.pack("<II", 6, 2**32 - 4), 28, "claims 4294967292 bytes"),
        (section() + struct.pack("<II", 6, 0), 28, "claims 0 bytes, which it cannot have"),
        (section() + struct.pack("<II", 9, 11) + bytes(20), 28, "claims 11 bytes"),
        (section() + struct.pack("<II", 9, 13) + bytes(20), 28, "claims 13 bytes"),
        (section() + struct.pack("<II", 6, 28) + bytes(40), 28, "claims 28 bytes"),
        (section() + struct.pack("<II", 1, 16) + bytes(40), 28, "claims 16 bytes"),
        (section() + struct.pack("<II", 9, 1000), 28, "ends inside a block"),
        (section() + struct.pack("<III", 9, 12, 16), 28, "another length at its end"),
        (section() + enhanced(of_length(28)), 28, "interface 0, which was not described"),
        (section() + simple(of_length(28)), 28, "interface 0, which was not described"),
        (
            section() + interface() + section() + enhanced(of_length(28)),
            76,
            "interface 0, which was not described",
        ),
        (
            section() + interface() + enhanced(of_length(28), number=1),
            48,
            "interface 1, which was not described",
        ),
        (
            section() + interface() + block(6, struct.pack("<5I", 0, 0, 0, 41, 41) + bytes(40)),
            48,
            "claims 41 bytes, more than its block has",
        ),
        (
            section() + interface() + block(6, struct.pack("<5I", 0, 0, 0, 2**32 - 1, 4)),
            48,
            "claims 4294967295 bytes, more than its block has",
        ),
        (
            section() + interface() + block(3, struct.pack("<I", 41) + bytes(40)),
            48,
            "claims 41 bytes, more than its block has",
        ),
        (
            section() + block(1, struct.pack("<HHIHH", 101, 0, 0, 2, 5)),
            44,
            "an option is longer than its block",
        ),
        (
            section() + interface() + b"\n\r\r\n" + bytes(24),
            56,
            "a section does not tell its byte order",
        ),
    ],
)
def test_a_lie_is_told_with_its_place(data, offset, reason):
    for source in (io.BytesIO(data), Dripping(data, 1)):
        with pytest.raises(SavefileError, match=reason) as caught:
            list(open_savefile(source))
        assert caught.value.offset == offset


def test_a_fault_comes_again_and_does_not_go_away():
    data = pcapng([*map(enhanced, mixed(3)), b"\xff" * 100])
    with opened(data) as savefile:
        assert len(savefile.read()) == 3
        for _ in range(3):
            with pytest.raises(SavefileError, match="claims 4294967295 bytes") as caught:
                savefile.read()
            assert caught.value.offset == len(data) - 100
        assert not savefile.ended


def test_no_memory_is_taken_by_a_length_that_is_claimed():
    claims = (
        pcap([struct.pack("<IIII", 0, 0, 2**24, 2**24), bytes(50)]),
        section() + interface() + struct.pack("<II", 6, 2**24) + bytes(50),
    )
    for data in claims:
        source = io.BytesIO(data)
        tracemalloc.start()
        try:
            with pytest.raises(SavefileError, match="ends inside"):
                list(open_savefile(source))
            assert tracemalloc.get_traced_memory()[1] < 2**20
        finally:
            tracemalloc.stop()


def mutated(rng: random.Random, data: bytes) -> bytes:
    spoilt = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(spoilt))
        match rng.randrange(5):
            case 0:
                spoilt[at] ^= 1 << rng.randrange(8)
            case 1:
                spoilt[at : at + 4] = rng.choice(
                    (b"\xff\xff\xff\xff", bytes(4), b"\0\0\0\x80", rng.randbytes(4))
                )
            case 2:
                del spoilt[at : at + rng.randrange(1, 20)]
            case 3:
                spoilt[at:at] = rng.randbytes(rng.randrange(1, 20))
            case _:
                start = rng.randrange(len(spoilt))
                spoilt[at:at] = spoilt[start : start + rng.randrange(1, 100)]
        spoilt = spoilt or bytearray(1)
    return bytes(spoilt)


@pytest.mark.parametrize("name", small_files())
def test_a_spoilt_file_is_read_the_same_way_in_one_piece_and_in_many(name):
    rng = random.Random(name)
    data = small_files()[name]
    faults = 0
    for _ in range(1500):
        spoilt = mutated(rng, data)
        outcomes = []
        for source in (io.BytesIO(spoilt), Dripping(spoilt, rng.randrange(1, 40))):
            try:
                with open_savefile(source, filter="len >= 0") as savefile:
                    seen, error = until_fault(savefile)
                    passed_over = savefile.statistics.passed_over
                    assert savefile.ended == (error is None)
            except SavefileError as fault:
                seen, error, passed_over = [], fault, 0
            assert error is None or error.offset <= len(spoilt)
            assert all(view[0] >> 4 in (4, 6) for view in seen)
            outcomes.append((seen, error and (error.offset, error.reason), passed_over))
        assert outcomes[0] == outcomes[1]
        faults += outcomes[0][1] is not None
    assert 100 < faults < 1500
