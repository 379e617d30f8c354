"""The line that ``winsockctl capture`` prints for a datagram."""

import datetime
import random
import re
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from datagrams import ICMP, ICMPV6, TCP, UDP, icmp_echo, ipv4, ipv6, mixed, tcp, udp

from winsockctl import Datagram, Direction, Recorder, RecordFlag, Replay
from winsockctl.cli.summary import hex_dump, line

FIN, SYN, RST, PUSH, ACK, URG = 1, 2, 4, 8, 16, 32
HOP_BY_HOP, ROUTING, FRAGMENT, ESP, AH, DESTINATION = 0, 43, 44, 50, 51, 60

PORTS = struct.pack("!HH", 1111, 2222)
UDP_4 = PORTS + struct.pack("!HH", 12, 0) + b"data"
PAD = bytes([1, 4, 0, 0, 0, 0])
ROUTER_ALERT = bytes([0x94, 4, 0, 0])


def captured(data: bytes, *, snaplen: int | None = None, timestamp_ns: int = 0) -> Datagram:
    with Replay([(data, timestamp_ns)], snaplen=snaplen) as replay:
        (datagram,) = replay.datagrams()
    return datagram


def text_of(data: bytes, *, snaplen: int | None = None) -> str:
    """Return the line without its time."""
    clock, text = line(captured(data, snaplen=snaplen)).split(" ", 1)
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{6}", clock)
    return text


def fragment_header(next_header: int, offset: int, *, more: bool) -> bytes:
    return struct.pack("!BBHI", next_header, 0, offset | more, 0xBEEF)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        pytest.param(
            udp(b"data"), "127.0.0.1:40000 > 127.0.0.1:40001 UDP length 32", id="udp-over-ipv4"
        ),
        pytest.param(
            udp(b"data", source="2001:db8::1", destination="2001:db8::2"),
            "[2001:db8::1]:40000 > [2001:db8::2]:40001 UDP length 52",
            id="udp-over-ipv6",
        ),
        pytest.param(
            tcp(sequence=7, flags=SYN),
            "127.0.0.1:40000 > 127.0.0.1:40001 TCP SYN seq 7 win 65535 length 40",
            id="tcp-syn-has-no-ack-number",
        ),
        pytest.param(
            tcp(b"hello", sequence=7, acknowledgment=9, flags=PUSH | ACK, window=500),
            "127.0.0.1:40000 > 127.0.0.1:40001 TCP PUSH,ACK seq 7:12 ack 9 win 500 length 45",
            id="tcp-data-as-range-of-sequence-numbers",
        ),
        pytest.param(
            tcp(b"ab", source="::1", destination="::1", sequence=2**32 - 1, flags=FIN | RST | URG),
            "[::1]:40000 > [::1]:40001 TCP FIN,RST,URG seq 4294967295:1 win 65535 length 62",
            id="tcp-sequence-numbers-wrap",
        ),
        pytest.param(
            tcp(flags=0),
            "127.0.0.1:40000 > 127.0.0.1:40001 TCP no flags seq 0 win 65535 length 40",
            id="tcp-without-flags",
        ),
        pytest.param(
            icmp_echo(identifier=5, sequence=6),
            "127.0.0.1 > 127.0.0.1 ICMP echo request id 5 seq 6 length 28",
            id="icmp-echo-request",
        ),
        pytest.param(
            icmp_echo(source="fe80::1", destination="ff02::1", identifier=5, reply=True),
            "fe80::1 > ff02::1 ICMPv6 echo reply id 5 seq 1 length 48",
            id="icmpv6-echo-reply",
        ),
        pytest.param(
            ipv4(bytes([3, 3, 0, 0, 0, 0, 0, 0]) + udp(), ICMP),
            "127.0.0.1 > 127.0.0.1 ICMP port unreachable length 56",
            id="icmp-port-unreachable",
        ),
        pytest.param(
            ipv4(bytes([3, 3, 0, 0, 0, 0, 0, 0]) + bytes(20), ICMP),
            "127.0.0.1 > 127.0.0.1 ICMP port unreachable length 48",
            id="icmp-that-quotes-garbage",
        ),
        pytest.param(
            ipv4(bytes([3, 9, 0, 0]), ICMP),
            "127.0.0.1 > 127.0.0.1 ICMP destination unreachable length 24",
            id="icmp-code-without-a-name",
        ),
        pytest.param(
            ipv4(bytes([200, 1, 0, 0]), ICMP),
            "127.0.0.1 > 127.0.0.1 ICMP type 200 code 1 length 24",
            id="icmp-type-without-a-name",
        ),
        pytest.param(
            ipv6(bytes([135, 0, 0, 0]) + bytes(20), ICMPV6),
            "::1 > ::1 ICMPv6 neighbor solicitation length 64",
            id="icmpv6-neighbor-solicitation",
        ),
        pytest.param(
            ipv6(bytes([2, 0, 0, 0, 0, 0, 5, 0]) + bytes(40), ICMPV6),
            "::1 > ::1 ICMPv6 packet too big length 88",
            id="icmpv6-packet-too-big",
        ),
        pytest.param(
            ipv4(PORTS + bytes(8), 132),
            "127.0.0.1:1111 > 127.0.0.1:2222 SCTP length 32",
            id="sctp",
        ),
        pytest.param(ipv4(bytes(8), 47), "127.0.0.1 > 127.0.0.1 GRE length 28", id="gre"),
        pytest.param(
            ipv6(udp(), 4), "::1 > ::1 IPv4 length 68", id="tunnel-is-named-and-not-entered"
        ),
        pytest.param(
            ipv4(b"", 253), "127.0.0.1 > 127.0.0.1 protocol 253 length 20", id="unnamed-protocol"
        ),
        pytest.param(
            ipv4(b"", 255), "127.0.0.1 > 127.0.0.1 protocol 255 length 20", id="reserved-protocol"
        ),
        pytest.param(
            ipv4(UDP_4, UDP, options=ROUTER_ALERT),
            "127.0.0.1:1111 > 127.0.0.1:2222 UDP length 36",
            id="ipv4-options",
        ),
        pytest.param(
            ipv4(UDP_4, UDP, options=bytes(40)),
            "127.0.0.1:1111 > 127.0.0.1:2222 UDP length 72",
            id="ipv4-with-all-the-options-that-fit",
        ),
        pytest.param(
            ipv4(UDP_4, UDP, identification=0xBEEF, fragment=0x2000),
            "127.0.0.1:1111 > 127.0.0.1:2222 UDP fragment id 0xbeef offset 0 more follow length 32",
            id="ipv4-first-fragment",
        ),
        pytest.param(
            ipv4(UDP_4, UDP, identification=0xBEEF, fragment=185),
            "127.0.0.1 > 127.0.0.1 UDP fragment id 0xbeef offset 1480 last length 32",
            id="ipv4-later-fragment-has-no-ports",
        ),
        pytest.param(
            ipv4(UDP_4, UDP, fragment=0x4000),
            "127.0.0.1:1111 > 127.0.0.1:2222 UDP length 32",
            id="ipv4-dont-fragment-is-no-fragment",
        ),
        pytest.param(
            ipv6(bytes([UDP, 0]) + PAD + UDP_4, HOP_BY_HOP),
            "[::1]:1111 > [::1]:2222 UDP length 60",
            id="ipv6-hop-by-hop-options",
        ),
        pytest.param(
            ipv6(
                bytes([DESTINATION, 0])
                + PAD
                + bytes([ROUTING, 0])
                + PAD
                + bytes([AH, 2, 0, 0, 0, 0, 0, 0])
                + bytes(16)
                + bytes([UDP, 4, 0, 0])
                + bytes(20)
                + UDP_4,
                HOP_BY_HOP,
            ),
            "[::1]:1111 > [::1]:2222 UDP length 116",
            id="ipv6-chain-of-extension-headers",
        ),
        pytest.param(
            ipv6(fragment_header(UDP, 0, more=True) + UDP_4, FRAGMENT),
            "[::1]:1111 > [::1]:2222 UDP fragment id 0xbeef offset 0 more follow length 60",
            id="ipv6-first-fragment",
        ),
        pytest.param(
            ipv6(bytes([FRAGMENT, 0]) + PAD + fragment_header(TCP, 1448, more=False) + UDP_4, 0),
            "::1 > ::1 TCP fragment id 0xbeef offset 1448 last length 68",
            id="ipv6-later-fragment-behind-options",
        ),
        pytest.param(
            ipv6(fragment_header(DESTINATION, 1448, more=True) + UDP_4, FRAGMENT),
            "::1 > ::1 DSTOPTS fragment id 0xbeef offset 1448 more follow length 60",
            id="ipv6-later-fragment-of-options",
        ),
        pytest.param(ipv6(bytes(16), ESP), "::1 > ::1 ESP length 56", id="ipv6-encrypted-payload"),
        pytest.param(
            ipv6(bytes([UDP, 255]) + PAD, HOP_BY_HOP),
            "::1 > ::1 HOPOPTS length 48",
            id="ipv6-options-that-are-cut-off",
        ),
        pytest.param(
            ipv4(PORTS, TCP),
            "127.0.0.1:1111 > 127.0.0.1:2222 TCP (too short to read) length 24",
            id="tcp-header-that-is-cut-off",
        ),
        pytest.param(
            ipv4(b"", UDP),
            "127.0.0.1 > 127.0.0.1 UDP (too short to read) length 20",
            id="udp-empty",
        ),
        pytest.param(
            b"\x40" + ipv4(UDP_4, UDP)[1:],
            "127.0.0.1:1111 > 127.0.0.1:2222 UDP length 32",
            id="ipv4-header-length-below-the-minimum",
        ),
    ],
)
def test_line_says_who_to_whom_and_what(data: bytes, text: str) -> None:
    assert text_of(data) == text


@pytest.mark.parametrize(
    ("data", "snaplen", "text"),
    [
        (tcp(b"x" * 60, flags=ACK), 40, "127.0.0.1:40000 > 127.0.0.1:40001 TCP ACK seq 0:60 ack 0"),
        (tcp(), 24, "127.0.0.1:40000 > 127.0.0.1:40001 TCP (too short to read)"),
        (tcp(), 20, "127.0.0.1 > 127.0.0.1 TCP (too short to read)"),
        (tcp(), 19, "127.0.0.1 > ? TCP (too short to read)"),
        (tcp(), 15, "? > ? TCP (too short to read)"),
        (tcp(), 9, "? > ? protocol ?"),
        (icmp_echo(), 26, "127.0.0.1 > 127.0.0.1 ICMP echo request"),
        (udp(source="::1", destination="::1"), 24, "::1 > ? UDP (too short to read)"),
        (udp(source="::1", destination="::1"), 1, "? > ? protocol ?"),
    ],
)
def test_truncated_datagram_keeps_what_is_known(data: bytes, snaplen: int, text: str) -> None:
    seen = text_of(data, snaplen=snaplen)
    assert seen.startswith(text)
    assert seen.endswith(f" length {len(data)} [truncated {snaplen} of {len(data)}]")


def test_r11_what_a_rebuilt_header_cannot_tell_is_said_not_guessed() -> None:
    # As the header is rebuilt: 59 for the next header, zero for the other fields.
    told = ipv6(b"\x11" * 20, 59, source="fe80::1", destination="ff02::1")
    for flag, text in (
        (0, "fe80::1 > ff02::1 NONE length 60"),
        (
            RecordFlag.NEXT_HEADER_UNKNOWN,
            "fe80::1 > ff02::1 protocol ? (next header not told by the system) length 60",
        ),
        (RecordFlag.DESTINATION_UNKNOWN, "fe80::1 > ? NONE length 60"),
        (RecordFlag.HOP_LIMIT_UNKNOWN, "fe80::1 > ff02::1 NONE length 60"),
    ):
        with Replay([(told, 0, Direction.INCOMING, 60, RecordFlag.REBUILT | flag)]) as replay:
            (datagram,) = replay.datagrams()
        assert line(datagram).split(" ", 1)[1] == text


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="time.tzset() is missing")
def test_time_is_local_with_microseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    stamp = datetime.datetime(2024, 7, 1, 22, 59, 58, 70_000, tzinfo=datetime.UTC)
    timestamp_ns = int(stamp.timestamp()) * 10**9 + 70_000_999
    monkeypatch.setenv("TZ", "<+02>-2")
    try:
        time.tzset()
        assert line(captured(udp(), timestamp_ns=timestamp_ns)).startswith("00:59:58.070000 ")
    finally:
        monkeypatch.undo()
        time.tzset()


def garbage() -> Iterator[bytes]:
    source = random.Random(7)
    for number in range(1000):
        version = (0x45, 0x4F, 0x60)[number % 3]
        data = bytearray(source.randbytes(source.randrange(40, 140)))
        data[0] = version
        # Mostly protocols that are dissected, or the random bytes would seldom get that far.
        protocol = source.choice([0, 1, 6, 17, 43, 44, 51, 58, 60, 132, source.randrange(256)])
        data[6 if version == 0x60 else 9] = protocol
        yield bytes(data)


def test_every_datagram_has_its_line() -> None:
    options = ipv6(bytes([FRAGMENT, 0]) + PAD + fragment_header(UDP, 0, more=True) + UDP_4, 60)
    datas = [*mixed(6), ipv4(UDP_4, UDP, options=bytes(40)), options, *garbage()]
    pattern = re.compile(r"\S+ \S+ > \S+ \S+.* length \d+( \[truncated \d+ of \d+\])?")
    for snaplen in (*range(1, 110), None):
        with Replay(datas, snaplen=snaplen) as replay:
            lines = [line(datagram) for datagram in replay.datagrams()]
        assert len(lines) == len(datas)
        assert [text for text in lines if not pattern.fullmatch(text)] == []


@pytest.mark.skipif(shutil.which("tshark") is None, reason="the program tshark is missing")
def test_ports_and_protocols_are_those_that_tshark_sees(tmp_path: Path) -> None:
    datas = [
        *mixed(60),
        ipv4(UDP_4, UDP, options=ROUTER_ALERT),
        ipv6(bytes([UDP, 0]) + PAD + UDP_4, HOP_BY_HOP),
        ipv6(bytes([TCP, 0]) + PAD + tcp()[20:], DESTINATION),
        ipv6(fragment_header(UDP, 0, more=True) + UDP_4, FRAGMENT),
    ]
    path = tmp_path / "datagrams.pcap"
    with Replay(datas) as replay, Recorder(path) as recorder:
        batch = replay.read()
        recorder.write(batch)
    fields = ["ip.src", "ipv6.src", "tcp.srcport", "udp.srcport", "tcp.seq_raw", "icmp.ident"]
    fields.append("icmpv6.echo.identifier")
    command = ["tshark", "-r", str(path), "-o", "ipv6.defragment:FALSE", "-T", "fields"]
    command += ["-E", "separator=,", "-E", "occurrence=f"]
    for field in fields:
        command += ["-e", field]
    tshark = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    seen = tshark.stdout.splitlines()
    assert len(seen) == len(datas)
    for row, datagram in zip(seen, batch.datagrams(), strict=True):
        ip_source, ipv6_source, tcp_port, udp_port, sequence, *identifiers = row.split(",")
        text = line(datagram)
        port = tcp_port or udp_port
        source = ip_source or (f"[{ipv6_source}]" if port else ipv6_source)
        assert f" {source}:{port} > " in text if port else f" {source} > " in text
        assert ("TCP" in text, "UDP" in text) == (bool(tcp_port), bool(udp_port))
        assert not sequence or f" seq {sequence}" in text
        for identifier in filter(None, identifiers):
            assert f"id {int(identifier, 0)} " in text


def test_hex_dump_shows_offsets_bytes_and_ascii() -> None:
    data = bytes(range(0x41, 0x51)) + b"\x00\x1f ~\x7f\xff"
    assert list(hex_dump(memoryview(data))) == [
        "    0000  41 42 43 44 45 46 47 48 49 4a 4b 4c 4d 4e 4f 50  ABCDEFGHIJKLMNOP",
        "    0010  00 1f 20 7e 7f ff                                .. ~..",
    ]
