"""Datagram: the bytes of one datagram and what is known about it."""

import gc
import socket
import struct

import numpy
import pytest
from datagrams import mixed, of_length, udp

from winsockctl import Datagram, Direction, RecordFlag, Replay

STAMP = 1_700_000_000_123_456_789


def records_of(items, **options) -> list[Datagram]:
    with Replay(items, **options) as replay:
        return list(replay.datagrams())


def test_tells_what_was_given():
    data = udp(b"hello", source="192.0.2.1", destination="192.0.2.2")
    (record,) = records_of([(data, STAMP, Direction.OUTGOING, 900)])
    assert type(record) is Datagram
    assert bytes(record.data) == data
    assert record.timestamp_ns == STAMP
    assert record.length == len(record) == len(data)
    assert record.original_length == 900
    assert record.truncated is True
    assert record.direction is Direction.OUTGOING
    assert record.family == socket.AF_INET
    assert isinstance(record.interface_index, int)


def test_family_is_that_of_the_ip_header():
    four, six = records_of([udp(b""), udp(b"", source="::1", destination="::1")])
    assert four.family == socket.AF_INET
    assert six.family == socket.AF_INET6


@pytest.mark.parametrize("direction", list(Direction))
def test_every_direction(direction):
    (record,) = records_of([(of_length(28), 0, direction)])
    assert record.direction is direction


def test_a_whole_datagram_is_not_truncated():
    (record,) = records_of([of_length(28)])
    assert record.truncated is False
    assert record.length == record.original_length == 28


def test_snaplen_truncates_and_keeps_the_original_length():
    whole, cut = records_of([of_length(40), of_length(41)], snaplen=40)
    assert (whole.length, whole.original_length, whole.truncated) == (40, 40, False)
    assert (cut.length, cut.original_length, cut.truncated) == (40, 41, True)
    assert bytes(cut.data) == of_length(41)[:40]


UNKNOWN = [flag for flag in RecordFlag if flag.name.endswith("_UNKNOWN")]


@pytest.mark.parametrize("unknown", [RecordFlag(0), *UNKNOWN, sum(UNKNOWN)])
def test_r11_says_which_fields_of_a_rebuilt_header_are_unknown(unknown):
    data = udp(b"x", source="::1", destination="::1")
    flags = RecordFlag.REBUILT | unknown
    with Replay([(data, 0, Direction.INCOMING, len(data), flags), data]) as replay:
        batch = replay.read()
    rebuilt, whole = batch.datagrams()
    assert type(rebuilt.flags) is RecordFlag
    assert (rebuilt.flags, rebuilt.rebuilt, rebuilt.truncated) == (flags, True, False)
    assert (whole.flags, whole.rebuilt) == (RecordFlag(0), False)
    assert numpy.asarray(batch.records)["flags"].tolist() == [flags, 0]


def test_flags_tell_truncation_from_the_lengths():
    data = of_length(50)
    given = [
        (data, 0, Direction.INCOMING, 50, RecordFlag.TRUNCATED),
        (data, 0, Direction.INCOMING, 51, RecordFlag.REBUILT),
    ]
    assert [record.flags for record in records_of(given)] == [
        RecordFlag(0),
        RecordFlag.TRUNCATED | RecordFlag.REBUILT,
    ]


@pytest.mark.parametrize("stamp", [0, 1, -1, 2**63 - 1, -(2**63)])
def test_any_64_bit_timestamp(stamp):
    (record,) = records_of([(of_length(28), stamp)])
    assert record.timestamp_ns == stamp


def test_outlives_everything_it_came_from():
    expected = mixed(40)
    records = records_of(expected, batch_size=7)
    gc.collect()
    assert [bytes(record.data) for record in records] == expected
    data = [record.data for record in records]
    del records
    gc.collect()
    assert [bytes(view) for view in data] == expected


def test_is_bytes_like_itself():
    (record,) = records_of([of_length(50)])
    assert bytes(record) == of_length(50)
    with memoryview(record) as view:
        assert view.readonly
        assert view == of_length(50)
    assert struct.unpack_from("!H", record, 2) == (50,)


def test_data_can_be_asked_for_again():
    (record,) = records_of([of_length(50)])
    first = record.data
    first.release()
    assert bytes(record.data) == of_length(50)


def test_cannot_be_made_or_changed_by_hand():
    with pytest.raises(TypeError):
        Datagram()
    (record,) = records_of([of_length(50)])
    for name in (
        "data",
        "timestamp_ns",
        "length",
        "original_length",
        "truncated",
        "rebuilt",
        "flags",
        "direction",
        "family",
        "interface_index",
    ):
        with pytest.raises(AttributeError):
            setattr(record, name, 0)
    with pytest.raises(AttributeError):
        record.colour = "red"


def test_repr_tells_what_matters():
    (record,) = records_of([(of_length(50), STAMP, Direction.INCOMING, 77)])
    text = repr(record)
    assert "Datagram" in text
    assert "50" in text


def test_can_be_replayed_with_all_it_knows():
    items = [
        (of_length(100), STAMP, Direction.INCOMING),
        (udp(b"x", source="::1", destination="::1"), STAMP + 1, Direction.OUTGOING),
        (of_length(60), STAMP + 5, Direction.OTHER, 1500),
        (
            udp(b"y", source="::1", destination="::1"),
            STAMP + 6,
            Direction.INCOMING,
            60,
            RecordFlag.REBUILT | RecordFlag.FLOW_LABEL_UNKNOWN,
        ),
    ]
    first = records_of(items)
    again = records_of(first)
    for before, after in zip(first, again, strict=True):
        assert bytes(after.data) == bytes(before.data)
        for name in ("timestamp_ns", "length", "original_length", "flags", "direction"):
            assert getattr(after, name) == getattr(before, name)
