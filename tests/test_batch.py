"""Batch: a sequence of read-only memoryviews onto one block, and its tables of records."""

import gc
import itertools
import socket
import struct
import sys

import numpy
import pytest
from datagrams import mixed, of_length, udp, version_of

from winsockctl import Batch, Direction, RawSocket, RcvAll, Replay, set_rcvall

RECORD_FIELDS = {
    "timestamp_ns": "<i8",
    "offset": "<u8",
    "length": "<u4",
    "original_length": "<u4",
    "interface_index": "<u4",
    "flags": "<u2",
    "direction": "u1",
    "version": "u1",
}
STAMP = 1_700_000_000_123_456_789


def batch_of(datagrams, **options) -> Batch:
    datagrams = list(datagrams)
    with Replay(datagrams, batch_size=max(1, len(datagrams)), **options) as replay:
        return replay.read(0)


def test_is_a_sequence_of_the_datagrams():
    expected = mixed(50)
    batch = batch_of(expected)
    assert len(batch) == 50
    assert [bytes(view) for view in batch] == expected
    assert [bytes(batch[i]) for i in range(50)] == expected
    assert [bytes(batch[i]) for i in range(-50, 0)] == expected
    assert [bytes(view) for view in reversed(batch)] == expected[::-1]


@pytest.mark.parametrize("index", [50, -51, 2**31, -(2**31), sys.maxsize, -sys.maxsize - 1])
def test_an_index_out_of_range_raises(index):
    batch = batch_of(mixed(50))
    with pytest.raises(IndexError):
        batch[index]
    with pytest.raises(IndexError):
        batch.datagram(index)


@pytest.mark.parametrize("index", [2**64, -(2**64)])
def test_an_index_that_no_machine_word_holds_raises(index):
    batch = batch_of(mixed(3))
    with pytest.raises(IndexError):
        batch[index]
    with pytest.raises(IndexError):
        batch.datagram(index)


@pytest.mark.parametrize("index", [1.0, "0", None, (0, 1), b"\0"])
def test_an_index_that_is_no_integer_raises(index):
    batch = batch_of(mixed(3))
    with pytest.raises(TypeError):
        batch[index]
    with pytest.raises(TypeError):
        batch.datagram(index)


def test_an_index_may_be_any_object_that_stands_for_an_integer():
    batch = batch_of(mixed(3))
    assert bytes(batch[numpy.int64(1)]) == mixed(3)[1]
    assert bytes(batch.datagram(numpy.uint8(2)).data) == mixed(3)[2]


@pytest.mark.parametrize(
    "part",
    [
        slice(None),
        slice(10, 20),
        slice(-5, None),
        slice(None, None, -3),
        slice(40, 1000, 7),
        slice(20, 10),
        slice(-(2**70), 2**70, 2**70),
    ],
)
def test_a_slice_is_a_list_of_views(part):
    expected = mixed(50)
    views = batch_of(expected)[part]
    assert type(views) is list
    assert [bytes(view) for view in views] == expected[part]


def test_a_step_of_zero_is_refused():
    with pytest.raises(ValueError, match="zero"):
        batch_of(mixed(3))[::0]


def test_views_are_read_only_bytes():
    batch = batch_of(mixed(3))
    for view in [batch[0], *batch, batch.datagram(0).data, batch.buffer]:
        assert type(view) is memoryview
        assert view.readonly
        assert (view.format, view.itemsize, view.ndim, view.contiguous) == ("B", 1, 1, True)
        with pytest.raises(TypeError):
            view[0] = 0


def test_an_empty_batch_is_false_and_has_nothing():
    batch = batch_of([])
    assert len(batch) == 0
    assert not batch
    assert list(batch) == list(batch.datagrams()) == []
    assert batch.buffer.nbytes == batch.lengths.nbytes == batch.timestamps_ns.nbytes == 0
    assert batch.offsets.nbytes == 0
    assert batch.records.nbytes == 0
    with pytest.raises(IndexError):
        batch[0]


def test_only_an_empty_one_can_be_made_by_hand():
    assert len(Batch()) == len(list(Batch())) == len(Batch().records) == Batch().buffer.nbytes == 0
    with pytest.raises(TypeError):
        Batch(mixed(1))


def test_cannot_be_changed_by_hand():
    batch = batch_of(mixed(1))
    with pytest.raises(AttributeError):
        batch.records = None
    with pytest.raises(AttributeError):
        batch.colour = "red"
    with pytest.raises(TypeError):
        batch[0] = b""
    with pytest.raises(TypeError):
        del batch[0]


def test_buffer_holds_every_datagram_where_its_record_says():
    expected = mixed(200)
    batch = batch_of(expected)
    records = numpy.asarray(batch.records)
    for record, datagram in zip(records, expected, strict=True):
        start = int(record["offset"])
        assert bytes(batch.buffer[start : start + int(record["length"])]) == datagram
    # Every view lies inside the buffer: it is one block, nothing was copied.
    base = numpy.frombuffer(batch.buffer, numpy.uint8)
    for view, record in zip(batch, records, strict=True):
        assert numpy.shares_memory(base, numpy.frombuffer(view, numpy.uint8))
        address = numpy.frombuffer(view, numpy.uint8).ctypes.data
        assert address - base.ctypes.data == int(record["offset"])


def test_records_are_a_structured_array_for_numpy():
    items = [
        (of_length(100), STAMP, Direction.INCOMING),
        (udp(b"six", source="2001:db8::1", destination="::1"), STAMP + 1, Direction.OUTGOING),
        (of_length(60), STAMP + 5, Direction.OTHER, 1500),
        (of_length(28), -5, Direction.UNKNOWN),
    ]
    records = numpy.asarray(batch_of(items).records)
    assert records.shape == (4,)
    assert records.itemsize == 32
    assert {name: records.dtype[name].str.lstrip("|") for name in records.dtype.names} == {
        name: kind.replace("<", "<" if sys.byteorder == "little" else ">")
        for name, kind in RECORD_FIELDS.items()
    }
    assert list(records.dtype.names) == list(RECORD_FIELDS)
    assert records["timestamp_ns"].tolist() == [STAMP, STAMP + 1, STAMP + 5, -5]
    assert records["length"].tolist() == [100, 51, 60, 28]
    assert records["original_length"].tolist() == [100, 51, 1500, 28]
    assert records["flags"].tolist() == [0, 0, 1, 0]
    assert records["direction"].tolist() == [1, 2, 3, 0]
    assert records["version"].tolist() == [4, 6, 4, 4]
    assert not records.flags.writeable


def test_records_can_be_read_without_numpy():
    batch = batch_of([(of_length(100), STAMP), (of_length(60), STAMP + 1, Direction.OUTGOING, 61)])
    assert batch.records.itemsize == struct.calcsize("=qQIIIHBB") == 32
    assert len(batch.records) == 2
    assert batch.records.readonly
    rows = list(struct.iter_unpack("=qQIIIHBB", batch.records.tobytes()))
    assert [(row[0], row[2], row[3], row[5], row[6], row[7]) for row in rows] == [
        (STAMP, 100, 100, 0, Direction.INCOMING, 4),
        (STAMP + 1, 60, 61, 1, Direction.OUTGOING, 4),
    ]


def test_timestamps_offsets_and_lengths_are_columns_of_the_same_table():
    stamps = [STAMP + i * 7 for i in range(20)]
    expected = mixed(20)
    batch = batch_of(zip(expected, stamps, strict=True))
    assert batch.timestamps_ns.format == "q"
    assert batch.offsets.format == "Q"
    assert batch.lengths.format == "I"
    assert batch.timestamps_ns.tolist() == list(batch.timestamps_ns) == stamps
    assert batch.lengths.tolist() == [len(datagram) for datagram in expected]
    places = zip(batch.offsets, batch.lengths, strict=True)
    assert [bytes(batch.buffer[start : start + length]) for start, length in places] == expected
    assert batch.timestamps_ns.readonly
    assert batch.offsets.readonly
    assert batch.lengths.readonly
    records = numpy.asarray(batch.records)
    assert numpy.shares_memory(numpy.asarray(batch.timestamps_ns), records)
    assert numpy.shares_memory(numpy.asarray(batch.offsets), records)
    assert numpy.shares_memory(numpy.asarray(batch.lengths), records)


def test_datagrams_carry_the_same_bytes_as_the_views():
    expected = mixed(30)
    batch = batch_of(expected)
    assert [bytes(datagram.data) for datagram in batch.datagrams()] == expected
    assert [bytes(batch.datagram(i).data) for i in range(-30, 30)] == expected * 2


def test_iterators_are_independent_and_know_when_they_end():
    expected = mixed(9)
    batch = batch_of(expected)
    first, second = iter(batch), iter(batch)
    assert bytes(next(first)) == expected[0]
    assert bytes(next(first)) == expected[1]
    assert bytes(next(second)) == expected[0]
    assert [bytes(view) for view in first] == expected[2:]
    for _ in range(3):
        with pytest.raises(StopIteration):
            next(first)
    assert iter(second) is second
    assert len(list(second)) == 8
    pairs = [(bytes(a), bytes(b)) for a, b in itertools.product(batch, batch)]
    assert pairs == list(itertools.product(expected, expected))


def test_an_iterator_alone_keeps_the_block():
    expected = mixed(100)
    iterator = iter(batch_of(expected))
    records = batch_of(expected).datagrams()
    gc.collect()
    assert [bytes(view) for view in iterator] == expected
    assert [bytes(datagram.data) for datagram in records] == expected


def test_membership_compares_bytes():
    expected = mixed(5)
    batch = batch_of(expected)
    assert expected[3] in batch
    assert b"something else" not in batch


def test_a_finalizer_that_uses_the_batch_does_not_disturb_a_view_in_the_making():
    expected = mixed(50)
    batch = batch_of(expected)

    class Cycle:
        def __init__(self):
            self.myself = self

        def __del__(self):
            assert len(batch.buffer) > 0
            assert bytes(batch[-1]) == expected[-1]

    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(20):
            for i, datagram in enumerate(expected):
                Cycle()
                assert bytes(batch[i]) == datagram
    finally:
        gc.set_threshold(*threshold)


def test_truncated_datagrams_are_cut_and_flagged():
    batch = batch_of([of_length(1000), of_length(64), of_length(65)], snaplen=64)
    assert batch.lengths.tolist() == [64, 64, 64]
    records = numpy.asarray(batch.records)
    assert records["original_length"].tolist() == [1000, 64, 65]
    assert (records["flags"] & 1).tolist() == [1, 0, 1]
    assert [bytes(view) for view in batch] == [
        of_length(1000)[:64],
        of_length(64),
        of_length(65)[:64],
    ]


def test_a_batch_of_the_largest_datagrams():
    expected = [of_length(65535, index=i) for i in range(20)]
    batch = batch_of(expected)
    assert [bytes(view) for view in batch] == expected
    assert batch.lengths.tolist() == [65535] * 20


def test_one_family_only():
    expected = mixed(60)
    for family, version in ((socket.AF_INET, 4), (socket.AF_INET6, 6)):
        with RawSocket.replay(expected, family=family) as raw:
            raw.bind("replay")
            set_rcvall(raw, RcvAll.ON)
            batch = raw.receive(0)
        assert [bytes(view) for view in batch] == version_of(expected, version)
        assert set(numpy.asarray(batch.records)["version"].tolist()) == {version}


def test_can_be_compared_hashed_and_shown_like_any_object():
    batch, other = batch_of(mixed(3)), batch_of(mixed(3))
    assert batch == batch
    assert batch != other
    assert len({batch, other}) == 2
    assert "Batch" in repr(batch)
