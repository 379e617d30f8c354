"""Savefiles of the world's own programs, read as tshark and libpcap read them.

tshark tells where in a frame the IP header is, and libpcap gives the frames where it can read the
file: what stands from there to the end that the header tells has to be what we read.
"""

import ctypes
import hashlib
import json
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import savefiles
import scapy.layers.inet
import scapy.layers.inet6
import scapy.layers.l2
import scapy.packet
import scapy.utils
from datagrams import mixed
from network import PATIENCE, Port, talk, tool, tool_environment

from winsockctl import SavefileError, open_savefile

TOOLS = ("tshark", "editcap", "mergecap", "text2pcap", "tcpdump", "dumpcap")
PACKETS = 60
STAMP = 1_800_000_000  # seconds
FORMATS = ("pcap", "nsecpcap", "modpcap", "pcapng")
LINKS = (
    *("RAW", "ETHERNET", "ETHERNET, three tags", "SLL", "SLL2", "PPP, HDLC framing"),
    *("NULL, AF_INET6 24, <", "LOOP, AF_INET6 30, >"),
)

pytestmark = [
    pytest.mark.skipif(tool(name) is None, reason=f"the program {name!r} is missing")
    for name in TOOLS
]


class Packet(NamedTuple):
    """A datagram and what the file tells of it."""

    data: bytes
    timestamp_ns: int
    original_length: int


def run(name: str, *arguments: object, **options: Any) -> str:
    done = subprocess.run(
        [tool(name) or name, *map(str, arguments)],
        env=tool_environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class FrameOfTshark(NamedTuple):
    data: bytes
    timestamp_ns: int
    length: int
    start: int | None
    """Where the IP header is; ``None`` if there is none."""


def tshark_frames(path: Path) -> list[FrameOfTshark]:
    text = run("tshark", "-r", path, "-Tjson", "-x", "--no-duplicate-keys", "-Jframe ip ipv6")
    frames = []
    for packet in json.loads(text):
        layers = packet["_source"]["layers"]
        starts = []
        for name in ("ip_raw", "ipv6_raw"):
            raw = layers.get(name, [])
            # With a datagram inside a datagram there are several.
            starts += [
                entry[1] for entry in (raw if raw and isinstance(raw[0], list) else [raw]) if entry
            ]
        facts = layers["frame"]
        seconds, _, fraction = facts.get("frame.time_epoch", "0.0").partition(".")
        timestamp = int(seconds) * 10**9 + int(fraction[:9].ljust(9, "0"))
        data = bytes.fromhex(layers["frame_raw"][0])
        start = min(starts, default=None)
        frames.append(FrameOfTshark(data, timestamp, int(facts["frame.len"]), start))
    return frames


def libpcap_frames(path: Path) -> list[tuple[bytes, int]] | None:
    """Return frames and lengths; ``None`` for a file that libpcap does not read."""

    class Header(ctypes.Structure):
        _fields_ = (
            ("seconds", ctypes.c_long),
            ("fraction", ctypes.c_long),
            ("captured", ctypes.c_uint32),
            ("length", ctypes.c_uint32),
        )

    library = ctypes.CDLL("libpcap.so.0.8")
    library.pcap_open_offline.restype = ctypes.c_void_p
    message = ctypes.create_string_buffer(256)
    handle = library.pcap_open_offline(str(path).encode(), message)
    if handle is None:
        return None
    handle = ctypes.c_void_p(handle)
    header, data = ctypes.POINTER(Header)(), ctypes.POINTER(ctypes.c_ubyte)()
    frames = []
    while (outcome := library.pcap_next_ex(handle, ctypes.byref(header), ctypes.byref(data))) == 1:
        frames.append((bytes(data[: header.contents.captured]), header.contents.length))
    library.pcap_close(handle)
    return frames if outcome == -2 else None  # the end


def cut_off(frame: bytes, length: int, start: int, *, pads: bool) -> tuple[bytes, int]:
    data, length = frame[start:], length - start
    if pads:
        told = int.from_bytes(data[2:4]) if data[0] >> 4 == 4 else 40 + int.from_bytes(data[4:6])
        length = min(length, told)
    return data[:length], length


def expected_packets(told: list[FrameOfTshark]) -> list[Packet]:
    return [
        Packet(data, frame.timestamp_ns, length)
        for frame in told
        if frame.start is not None
        for data, length in [cut_off(frame.data, frame.length, frame.start, pads=frame.start > 0)]
    ]


def our_packets(path: Path) -> tuple[list[Packet], int]:
    """Return them and how many other packets there are."""
    with open_savefile(path) as savefile:
        packets = [
            Packet(bytes(each.data), each.timestamp_ns, each.original_length)
            for each in savefile.datagrams()
        ]
        assert savefile.ended
    with open(path, "rb") as file, open_savefile(file) as streamed:
        assert [bytes(view) for view in streamed] == [packet.data for packet in packets]
    return packets, savefile.statistics.passed_over or 0


def digest(packets: list[Packet]) -> str:
    return hashlib.sha256(repr(packets).encode()).hexdigest()


def check(path: Path) -> list[Packet]:
    told = tshark_frames(path)
    frames = libpcap_frames(path)
    if frames is not None:
        assert frames == [(frame.data, frame.length) for frame in told]
    ours, others = our_packets(path)
    assert ours == expected_packets(told)
    assert digest(ours) == digest(expected_packets(told))
    assert len(ours) + others == len(told)
    assert ours
    return ours


def frames_of(name: str) -> tuple[int, list[bytes]]:
    link_type, wrap = savefiles.LINKS[name]
    frames = [wrap(data) for data in mixed(PACKETS)]
    if link_type == savefiles.ETHERNET:
        arp = b"\xff" * 6 + bytes(6) + b"\x08\x06" + bytes.fromhex("0001080006040001") + bytes(38)
        frames[10:10] = [arp, arp]
    return link_type, frames


def make(folder: Path, name: str, *, order: str = "<") -> Path:
    path = folder / f"{re.sub('[^A-Za-z0-9]+', '-', name)}-{ord(order)}.pcap"
    link_type, frames = frames_of(name)
    records = [
        savefiles.pcap_record(frame, STAMP + place, place * 1001 + 7, order=order)
        for place, frame in enumerate(frames)
    ]
    path.write_bytes(savefiles.pcap(records, link_type=link_type, order=order))
    return path


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", LINKS)
def test_editcap_writes_every_link_layer_in_every_format(
    tmp_path: Path, name: str, form: str
) -> None:
    path = tmp_path / "file"
    run("editcap", "-F", form, make(tmp_path, name), path)
    seen = check(path)
    assert [packet.data for packet in seen] == mixed(PACKETS)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", ["RAW", "ETHERNET", "ETHERNET, 802.1ad", "SLL2"])
def test_both_byte_orders(tmp_path: Path, name: str, order: str) -> None:
    check(make(tmp_path, name, order=order))


@pytest.mark.parametrize("length", [60, 96])
@pytest.mark.parametrize("form", FORMATS)
def test_editcap_cuts_packets(tmp_path: Path, form: str, length: int) -> None:
    path = tmp_path / "file"
    run("editcap", "-F", form, "-s", length, make(tmp_path, "ETHERNET"), path)
    seen = check(path)
    assert any(len(packet.data) < packet.original_length for packet in seen)


def test_editcap_adds_comments_and_splits(tmp_path: Path) -> None:
    path = tmp_path / "file.pcapng"
    source = make(tmp_path, "ETHERNET")
    run("editcap", "--capture-comment", "of a test", "-a", "3:this one", source, path)
    check(path)
    with open_savefile(path) as savefile:
        assert savefile.comment == "of a test"
    run("editcap", "-c", 25, source, path)
    parts = sorted(tmp_path.glob("file_*.pcapng"))
    assert [len(check(part)) for part in parts] == [23, 25, 12]


@pytest.mark.parametrize("form", ["pcapng", "nsecpcap"])
def test_mergecap_merges_files(tmp_path: Path, form: str) -> None:
    names = ["ETHERNET", "ETHERNET, 802.1Q"]
    if form == "pcapng":
        names += ["RAW", "SLL", "SLL2", "PPP, HDLC framing", "NULL, AF_INET6 24, <"]
    path = tmp_path / "merged"
    sources = [make(tmp_path, name) for name in names]
    modes = ("-I", "none") if form == "pcapng" else ()
    run("mergecap", "-F", form, *modes, "-w", path, *sources)
    assert len(check(path)) == PACKETS * len(names)
    with open_savefile(path) as savefile:
        list(savefile)
        assert len(savefile.interfaces) == (len(names) if form == "pcapng" else 1)


def test_sections_one_behind_the_other(tmp_path: Path) -> None:
    whole = b""
    for name in ("ETHERNET", "RAW", "LOOP, AF_INET6 30, >", "ETHERNET, three tags"):
        part = tmp_path / "part"
        run("editcap", "-F", "pcapng", make(tmp_path, name), part)
        whole += part.read_bytes()
    path = tmp_path / "file"
    path.write_bytes(whole)
    assert len(check(path)) == PACKETS * 4


@pytest.mark.parametrize(
    ("options", "start"),
    [
        (("-E", "ether"), savefiles.ethernet),
        (("-E", "ether", "-F", "pcap"), savefiles.ethernet),
        (("-E", "rawip", "-F", "nsecpcap"), bytes),
        (("-l", "101"), bytes),
        (("-l", "228"), bytes),
        (("-l", "113"), savefiles.sll),
    ],
)
def test_text2pcap_makes_files_of_text(
    tmp_path: Path, options: tuple[str, ...], start: Callable[[bytes], bytes]
) -> None:
    datagrams = [data for data in mixed(PACKETS) if data[0] >> 4 == 4]
    lines = []
    for data in datagrams:
        frame = start(data)
        for offset in range(0, len(frame), 16):
            lines.append(f"{offset:06x} {frame[offset : offset + 16].hex(' ')}")
    text = tmp_path / "text"
    text.write_text("\n".join(lines) + "\n")
    path = tmp_path / "file"
    run("text2pcap", *options, text, path)
    assert [packet.data for packet in check(path)] == datagrams


@pytest.mark.parametrize("precision", ["micro", "nano"])
@pytest.mark.parametrize("name", ["RAW", "ETHERNET", "SLL", "NULL, AF_INET6 30, <"])
def test_tcpdump_writes_what_it_reads(tmp_path: Path, name: str, precision: str) -> None:
    path = tmp_path / "file"
    source = make(tmp_path, name)
    run("tcpdump", "-r", source, "-w", path, f"--time-stamp-precision={precision}")
    check(path)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("RAW", {}),
        ("ETHERNET", {"endianness": ">"}),
        ("SLL", {"nano": True}),
        ("PPP, HDLC framing", {"nano": True, "endianness": ">"}),
        ("ETHERNET", {"gz": True}),
    ],
)
def test_scapy_writes_pcap(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    link_type, frames = frames_of(name)
    path = tmp_path / "file"
    with scapy.utils.RawPcapWriter(str(path), linktype=link_type, **options) as writer:
        writer.write_header(None)
        for place, frame in enumerate(frames):
            writer.write_packet(frame, sec=STAMP + place, usec=place * 1001 + 7)
    seen = check(path)
    assert [packet.data for packet in seen] == mixed(PACKETS)


@pytest.mark.parametrize(
    "link",
    [
        None,
        # With addresses, for which it would ask the network of the machine.
        scapy.layers.l2.Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02"),
        scapy.layers.l2.CookedLinux(),
    ],
    ids=["none", "Ethernet", "cooked"],
)
def test_scapy_writes_pcapng(tmp_path: Path, link: scapy.packet.Packet | None) -> None:
    path = tmp_path / "file"
    # Without a link layer it has a type for each of the two.
    datagrams = [data for data in mixed(PACKETS) if link is not None or data[0] >> 4 == 4]
    packets = []
    for data in datagrams:
        kind = scapy.layers.inet.IP if data[0] >> 4 == 4 else scapy.layers.inet6.IPv6
        packets.append(kind(data) if link is None else link / kind(data))
        packets[-1].time = STAMP + len(packets) / 8
    scapy.utils.wrpcapng(str(path), packets)
    seen = check(path)
    assert [packet.data for packet in seen] == datagrams
    assert seen[1].timestamp_ns == STAMP * 10**9 + 250_000_000


@pytest.mark.parametrize("name", ["IPV4", "IPV6"])
def test_one_family_of_raw(tmp_path: Path, name: str) -> None:
    path = tmp_path / "file"
    datagrams = [data for data in mixed(PACKETS) if data[0] >> 4 == (4 if name == "IPV4" else 6)]
    link_type = savefiles.IPV4 if name == "IPV4" else savefiles.IPV6
    path.write_bytes(savefiles.pcap(map(savefiles.pcap_record, datagrams), link_type=link_type))
    assert [packet.data for packet in check(path)] == datagrams


def pcapng_by_hand(order: str) -> bytes:
    """Return a file with what no program at hand writes."""
    data = mixed(PACKETS)
    front = savefiles.section(order=order, length=-1) + savefiles.interface(
        order=order, more=[(9, b"\x94"), (14, struct.pack(order + "q", STAMP))]
    )
    front += savefiles.interface(savefiles.ETHERNET, order=order, more=[(9, b"\x03")])
    blocks = []
    for place, datagram in enumerate(data):
        units = place << 20 | 12345
        match place % 3:
            case 0:
                blocks.append(savefiles.enhanced(datagram, units, order=order))
            case 1:
                frame = savefiles.ethernet(datagram)
                blocks.append(savefiles.enhanced(frame, STAMP * 1000 + 7, order=order, number=1))
            case _:
                blocks.append(savefiles.obsolete(datagram, units, order=order))
    return front + b"".join(blocks)


@pytest.mark.parametrize("order", ["<", ">"])
def test_blocks_and_resolutions_that_are_rare(tmp_path: Path, order: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(pcapng_by_hand(order) + pcapng_by_hand("<" if order == ">" else ">"))
    assert len(check(path)) == 2 * PACKETS


@pytest.mark.parametrize("order", ["<", ">"])
def test_simple_packets(tmp_path: Path, order: str) -> None:
    path = tmp_path / "file"
    blocks = [savefiles.simple(data, order=order) for data in mixed(PACKETS)]
    path.write_bytes(savefiles.pcapng(blocks, order=order))
    assert [packet.data for packet in check(path)] == mixed(PACKETS)


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_files_that_the_programs_have_compressed(tmp_path: Path, kind: str) -> None:
    if tool(kind) is None:
        pytest.skip(f"the program {kind!r} is missing")
    if kind == "zstd" and sys.version_info < (3, 14):
        pytest.importorskip("backports.zstd", reason="the library backports.zstd is missing")
    path = make(tmp_path, "ETHERNET")
    expected = check(path)
    run(kind, "-k", path)
    [packed] = set(tmp_path.iterdir()) - {path}
    with open_savefile(packed) as savefile:
        assert savefile.compression == kind
        assert [bytes(view) for view in savefile] == [packet.data for packet in expected]


@pytest.mark.parametrize("form", ["snoop", "netmon2"])
def test_a_format_that_is_no_pcap_is_named_as_such(tmp_path: Path, form: str) -> None:
    path = tmp_path / "file"
    run("editcap", "-F", form, make(tmp_path, "ETHERNET"), path)
    with pytest.raises(SavefileError, match="neither pcap nor pcapng"):
        open_savefile(path)


# Live captures


class Recording(NamedTuple):
    command: tuple[str, ...]
    link_types: set[int]


RECORDINGS = {
    "tcpdump": Recording(("tcpdump", "-i", "lo", "-U"), {1}),
    "tcpdump, nanoseconds": Recording(
        ("tcpdump", "-i", "lo", "-U", "--time-stamp-precision=nano"), {1}
    ),
    "tcpdump, cooked": Recording(("tcpdump", "-i", "any", "-U", "-y", "LINUX_SLL2"), {276}),
    "tcpdump, cooked v1": Recording(("tcpdump", "-i", "any", "-U", "-y", "LINUX_SLL"), {113}),
    "dumpcap": Recording(("dumpcap", "-q", "-i", "lo"), {1}),
    "dumpcap, pcap": Recording(("dumpcap", "-q", "-P", "-i", "lo"), {1}),
    "dumpcap, two interfaces": Recording(("dumpcap", "-q", "-i", "lo", "-i", "any"), {1, 113}),
    "dumpcap, snaplen": Recording(("dumpcap", "-q", "-s", "70", "-i", "lo"), {1}),
}


@pytest.fixture
def recorder(loopback: Port, tmp_path: Path) -> Iterator[Callable[[Recording, Path], None]]:
    """Run a program that records while datagrams go over loopback, until it has them all."""
    started: list[subprocess.Popen[bytes]] = []

    def has_last(path: Path) -> bool:
        return path.exists() and b"the last one" in path.read_bytes()

    def record(recording: Recording, path: Path) -> None:
        name, *arguments = recording.command
        process = subprocess.Popen(
            [tool(name) or name, *arguments, "-w", str(path)],
            env=tool_environment(),
            stderr=subprocess.PIPE,
        )
        started.append(process)
        # Both programs write the header when they have begun.
        wait_until(lambda: path.exists() and path.stat().st_size >= 24)
        payloads = [b"number %d " % number + bytes(number * 7) for number in range(40)]
        for family in (2, 10):
            talk(loopback, loopback, payloads, family)
        wait_until(
            lambda: has_last(path), each=lambda: talk(loopback, loopback, [b"the last one"], 2)
        )
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)

    yield record
    for process in started:
        process.kill()
        process.communicate()


def wait_until(holds: Callable[[], bool], each: Callable[[], object] = lambda: None) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        each()
        time.sleep(0.05)


@pytest.mark.parametrize("name", RECORDINGS)
def test_what_the_programs_record_live(
    tmp_path: Path, recorder: Callable[[Recording, Path], None], name: str
) -> None:
    path = tmp_path / "recording"
    recording = RECORDINGS[name]
    recorder(recording, path)
    seen = check(path)
    assert len(seen) >= 80
    with open_savefile(path) as savefile:
        savefile.read()
        assert set(savefile.link_types) == recording.link_types
        if recording.command[0] == "dumpcap" and "-P" not in recording.command:
            assert savefile.interfaces[0].name == "lo"
            list(savefile)
            assert savefile.statistics.dropped == 0
    stamps = [packet.timestamp_ns for packet in seen]
    if len(recording.link_types) == 1:
        assert all(before <= after for before, after in pairwise(stamps))


def test_a_live_pipe_from_tcpdump(loopback: Port) -> None:
    process = subprocess.Popen(
        [tool("tcpdump") or "tcpdump", "-i", "lo", "-U", "-w", "-"],
        env=tool_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        # It has begun when the header comes, which the opening waits for.
        with open_savefile(process.stdout, filter="udp") as savefile:
            for number in range(5):
                payload = b"number %d" % number
                talk(loopback, loopback, [payload], 2)
                batch = savefile.read()
                while payload not in bytes(batch[-1]):
                    batch = savefile.read()
            process.send_signal(signal.SIGINT)
            list(savefile)
            assert savefile.ended
    finally:
        process.kill()
        process.communicate()
