"""What ``winsockctl info`` and ``winsockctl top`` count: with numpy and without, the same."""

import struct
from collections.abc import Iterable

import pytest
from datagrams import ICMP, TCP, UDP, icmp_echo, ipv4, ipv6, mixed, tcp, udp

from winsockctl import Batch, Replay
from winsockctl.cli import counts
from winsockctl.cli.counts import Counts, conversation_name

PORTS = struct.pack("!HH", 5000, 53)
HOP_BY_HOP = bytes([UDP, 0, 1, 4, 0, 0, 0, 0])


def batch_of(datagrams: Iterable[object], **options: object) -> Batch:
    with Replay(datagrams, **options) as replay:
        return replay.read(0)


def odd() -> list[bytes]:
    """Each needs a look of its own."""
    return [
        ipv4(PORTS + bytes(20), UDP, options=bytes(12)),
        ipv4(PORTS + bytes(20), UDP, fragment=0x2000),
        ipv4(PORTS + bytes(20), UDP, fragment=0x0001),
        ipv4(PORTS + bytes(20), UDP, fragment=0x0100),
        ipv4(PORTS[:3], UDP),
        ipv4(PORTS, 200),
        ipv6(HOP_BY_HOP + PORTS + bytes(4), 0),
        ipv6(PORTS, 50),
        ipv6(PORTS[:3], TCP),
        ipv6(b"", 59, source="2001:db8::", destination="2001:db8::1"),
        ipv4(b"", ICMP)[:19],
        ipv6(b"", UDP)[:39],
        b"\x45",
        b"\x60",
    ]


def as_tuples(counted: Counts) -> list[object]:
    return [
        counted.first,
        counted.last,
        (counted.total.datagrams, counted.total.bytes),
        *(
            {key: (amount.datagrams, amount.bytes) for key, amount in amounts.items()}
            for amounts in (counted.protocols, counted.conversations)
        ),
    ]


@pytest.mark.parametrize("ports", [False, True])
@pytest.mark.parametrize("snaplen", [None, 41, 23, 20, 10, 1])
def test_numpy_counts_what_is_counted_one_by_one(
    monkeypatch: pytest.MonkeyPatch, ports: bool, snaplen: int | None
) -> None:
    datagrams = [
        (data, place * 1000) for place, data in enumerate((mixed(120) + odd() + mixed(30)) * 2)
    ]
    batches = [batch_of(datagrams, snaplen=snaplen), batch_of(datagrams[7:107], snaplen=snaplen)]
    with_numpy, without = Counts(ports=ports), Counts(ports=ports)
    for batch in batches:
        with_numpy.add(batch)
    monkeypatch.setattr(counts, "numpy", None)
    for batch in batches:
        without.add(batch)
    assert as_tuples(with_numpy) == as_tuples(without)
    assert with_numpy.total.datagrams == sum(map(len, batches)) > 300


@pytest.mark.parametrize("repeat", [1, 50])
def test_both_directions_are_one_conversation(repeat: int) -> None:
    ends = {"source": "192.0.2.9", "destination": "192.0.2.80"}
    back = {"source": "192.0.2.80", "destination": "192.0.2.9"}
    passed = [
        tcp(source_port=40000, destination_port=443, **ends),
        tcp(b"answer", source_port=443, destination_port=40000, **back),
        udp(source_port=40000, destination_port=443, **ends),
        icmp_echo(**back),
    ]
    batch = batch_of(passed * repeat)
    counted = Counts()
    counted.add(batch)
    ((key, amount),) = counted.conversations.items()
    assert conversation_name(key) == "192.0.2.9 - 192.0.2.80"
    assert amount.datagrams == 4 * repeat
    assert amount.bytes == sum(map(len, passed)) * repeat
    by_port = Counts(ports=True)
    by_port.add(batch)
    assert {
        conversation_name(key): amount.datagrams for key, amount in by_port.conversations.items()
    } == {
        "192.0.2.9:40000 - 192.0.2.80:443 TCP": 2 * repeat,
        "192.0.2.9:40000 - 192.0.2.80:443 UDP": repeat,
        "192.0.2.9 - 192.0.2.80 ICMP": repeat,
    }


def test_ipv6_ends_have_brackets_around_them_where_a_port_follows() -> None:
    counted = Counts(ports=True)
    counted.add(batch_of([udp(source="2001:db8::1", destination="2001:db8::2")]))
    (key,) = counted.conversations
    assert conversation_name(key) == "[2001:db8::1]:40000 - [2001:db8::2]:40001 UDP"


def test_nothing_is_counted_of_an_empty_batch() -> None:
    counted = Counts()
    counted.add(batch_of([]))
    assert as_tuples(counted) == [None, None, (0, 0), {}, {}]
