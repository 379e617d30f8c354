"""Beside tcpdump and tshark: the same traffic gives the same datagrams, and tshark reads our files.

Two captures of one interface see its datagrams in one order only if they pass on one processor, so
the traffic is made by a thread that keeps to one.
"""

import os
import random
import re
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import datagrams as build
import pytest
from conftest import OpenSocket
from network import (
    ETH_P_IP,
    ETH_P_IPV6,
    PATIENCE,
    Port,
    ethernet,
    talk,
    tool,
    tool_environment,
    udp_payload,
)

from winsockctl import Batch, RawSocket, RcvAll, Recorder

LINKTYPE_ETHERNET = 1
LINKTYPE_RAW = 101
FIRST, LAST = b"winsockctl first", b"winsockctl last"

# What tshark says to root, whatever it reads.
ROOT_WARNING = 'Running as user "root" and group "root". This could be dangerous.\n'


def required_tool(name: str) -> str:
    path = tool(name)
    if path is None:
        pytest.skip(f"the program {name!r} is missing: there is no peer to compare with")
    return path


@pytest.fixture
def tshark() -> str:
    return required_tool("tshark")


# ---------------------------------------------------------------------------------------------
# Savefiles


@dataclass(frozen=True)
class Packet:
    """One packet of a savefile."""

    timestamp_ns: int
    data: bytes
    original_length: int


def read_savefile(path: Path) -> tuple[int, list[Packet]]:
    """The link type and the packets of a pcap file. https://datatracker.ietf.org/doc/html/draft-ietf-opsawg-pcap"""
    content = path.read_bytes()
    magic, _, _, _, _, _, linktype = struct.unpack_from("<IHHiIII", content)
    unit = {0xA1B2C3D4: 1000, 0xA1B23C4D: 1}[magic]
    packets = []
    position = 24
    while position < len(content):
        seconds, fraction, length, original = struct.unpack_from("<IIII", content, position)
        position += 16
        assert position + length <= len(content)
        packets.append(
            Packet(
                seconds * 10**9 + fraction * unit, content[position : position + length], original
            )
        )
        position += length
    return linktype, packets


def without_link_header(packets: list[Packet]) -> list[bytes]:
    """The IP datagrams in Ethernet frames."""
    return [
        packet.data[14:]
        for packet in packets
        if struct.unpack_from("!H", packet.data, 12)[0] in (ETH_P_IP, ETH_P_IPV6)
    ]


def between_marks(datagrams: list[bytes]) -> list[bytes]:
    """What passed from the first mark to the last, both with it."""
    carried = [udp_payload(datagram) for datagram in datagrams]
    return datagrams[carried.index(FIRST) : carried.index(LAST) + 1]


# ---------------------------------------------------------------------------------------------
# The peer


@dataclass(frozen=True)
class Peer:
    """A program that captures, and how it tells that it listens and that it lost nothing."""

    command: str
    listening: str
    complete: str


PEERS = {
    # -Z root: it would give up the right to write into the folder of the test.
    "tcpdump": Peer(
        "tcpdump -pnU -s 0 -B 65536 --immediate-mode -Z root",
        listening="listening on",
        complete=r"^0 packets dropped by kernel",
    ),
    # What captures for tshark.
    "dumpcap": Peer(
        "dumpcap -p -P -B 64", listening="File: ", complete=r"dropped on interface .*: \d+/0 "
    ),
}


@pytest.fixture(params=PEERS)
def peer(request: pytest.FixtureRequest) -> Peer:
    required_tool(request.param)
    setgroups = Path("/proc/self/setgroups")  # there if the kernel has user namespaces
    if request.param == "tcpdump" and setgroups.exists() and setgroups.read_text() == "deny\n":
        pytest.skip(
            "the right to change groups is missing, which tcpdump uses when it runs as root: "
            "a user namespace of an ordinary user has it not"
        )
    return PEERS[request.param]


@contextmanager
def capturing(peer: Peer, interface: str, path: Path) -> Iterator[None]:
    """A peer on an interface, from when it listens until it has written the last mark."""
    name, *options = peer.command.split()
    with subprocess.Popen(
        [required_tool(name), "-i", interface, *options, "-w", path],
        stderr=subprocess.PIPE,
        text=True,
        env=tool_environment(),
    ) as process:
        try:
            assert process.stderr is not None
            said = ""
            while peer.listening not in said:
                line = process.stderr.readline()
                assert line, said
                said += line
            yield
            deadline = time.monotonic() + PATIENCE
            while LAST not in path.read_bytes():
                assert time.monotonic() < deadline, f"{name} does not see the last datagram"
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            said += process.communicate(timeout=PATIENCE)[1]
            assert re.search(peer.complete, said, re.MULTILINE), said
        finally:
            if process.poll() is None:
                process.kill()


def run_tshark(program: str, *arguments: str) -> str:
    """What tshark prints; that it has nothing to complain about is a part of every test."""
    done = subprocess.run(
        [program, *arguments],
        capture_output=True,
        text=True,
        env=tool_environment(),
        timeout=60,
        check=False,
    )
    assert done.stderr.replace(ROOT_WARNING, "") == ""
    assert done.returncode == 0
    return done.stdout


# ---------------------------------------------------------------------------------------------
# Traffic


@contextmanager
def on_one_processor() -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def make_traffic(local: Port, neighbour: Port, seed: int) -> None:
    """A few thousand datagrams of many kinds in both directions, the same for the same seed."""
    chance = random.Random(seed)
    with on_one_processor():
        talk(local, neighbour, [FIRST], socket.AF_INET)
        for family in (socket.AF_INET, socket.AF_INET6):
            for sender, receiver in ((local, neighbour), (neighbour, local)):
                talk_udp(chance, sender, receiver, family)
                talk_tcp(chance, sender, receiver, family)
                ping(chance, sender, receiver, family)
        send_rarities(chance, neighbour, local)
        send_rarities(chance, local, neighbour)
        talk(neighbour, local, [LAST], socket.AF_INET)


def talk_udp(chance: random.Random, sender: Port, receiver: Port, family: int) -> None:
    # Mostly one frame; some of a few fragments, one of the largest.
    sizes = [chance.randrange(0, 1400) for _ in range(250)]
    sizes += [chance.randrange(1500, 9000) for _ in range(25)] + [65_000]
    chance.shuffle(sizes)
    talk(sender, receiver, [chance.randbytes(size) for size in sizes], family)


def talk_tcp(chance: random.Random, sender: Port, receiver: Port, family: int) -> None:
    with receiver.host:
        server = socket.create_server((receiver.address(family), 0), family=family)
    with server:
        with sender.host:
            client = socket.create_connection(server.getsockname()[:2], timeout=PATIENCE)
        served, _ = server.accept()
    with client, served:
        served.settimeout(PATIENCE)
        for _ in range(20):
            for source, target in ((client, served), (served, client)):
                content = chance.randbytes(chance.randrange(1, 15_000))
                source.sendall(content)
                received = b""
                while len(received) < len(content):
                    received += target.recv(len(content) - len(received))
                assert received == content


def ping(chance: random.Random, sender: Port, receiver: Port, family: int) -> None:
    protocol, header = (build.ICMP, 20) if family == socket.AF_INET else (build.ICMPV6, 40)
    ends = {"source": sender.address(family), "destination": receiver.address(family)}
    with sender.host:
        raw = socket.socket(family, socket.SOCK_RAW, protocol)
    with raw:
        raw.settimeout(PATIENCE)
        for sequence in range(50):
            content = chance.randbytes(chance.randrange(0, 3000))
            request, reply = (
                build.icmp_echo(content, sequence=sequence, reply=reply, **ends)[header:]
                for reply in (False, True)
            )
            raw.sendto(request, (receiver.address(family), 0))
            # IPv4 gives its header to a raw socket, and IPv6 keeps it.
            while raw.recv(65535)[20 if family == socket.AF_INET else 0 :] != reply:
                pass


def send_rarities(chance: random.Random, sender: Port, receiver: Port) -> None:
    """What no socket would send by itself: options, extension headers, unknown protocols, ARP."""
    ends = {"source": sender.ipv4, "destination": receiver.ipv4}
    ends6 = {"source": sender.ipv6, "destination": receiver.ipv6}
    datagrams = []
    for _ in range(100):
        content = chance.randbytes(chance.randrange(64, 1200))
        options = b"\x01" * (4 * chance.randrange(1, 11))
        segment, segment6 = build.udp(content, **ends)[20:], build.udp(content, **ends6)[40:]
        datagrams += [
            build.ipv4(segment, build.UDP, options=options, **ends),
            build.ipv4(content, chance.randrange(140, 250), **ends),
            build.ipv6(b"\x11\x00\x05\x02\0\0\x01\0" + segment6, 0, **ends6),
            build.ipv6(b"\x11\x00\x01\x04\0\0\0\0" + segment6, 60, **ends6),
        ]
    chance.shuffle(datagrams)
    sender.send_datagrams(receiver, datagrams)
    sender.send_frames([ethernet(receiver.mac, sender.mac, 0x88B5, content) for _ in range(5)])


# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2])
def test_peer_sees_the_same_datagrams_in_the_same_order(
    pair: tuple[Port, Port],
    open_socket: OpenSocket,
    live_backend: str,
    peer: Peer,
    tmp_path: Path,
    seed: int,
) -> None:
    local, neighbour = pair
    raw = open_socket(live_backend, local.name, mode=RcvAll.ON, buffer_size=64 * 2**20)
    path = tmp_path / "peer.pcap"
    with capturing(peer, local.name, path):
        make_traffic(local, neighbour, seed)
    linktype, packets = read_savefile(path)
    assert linktype == LINKTYPE_ETHERNET
    expected = between_marks(without_link_header(packets))
    delivered = between_marks([bytes(view) for batch in read_batches(raw) for view in batch])
    assert len(expected) > 3000
    assert len(delivered) == len(expected)
    for ours, theirs in zip(delivered, expected, strict=True):
        assert ours == theirs
    _, dropped, truncated, _ = raw.statistics()
    assert (dropped, truncated) == (0, 0)


def read_batches(raw: RawSocket) -> list[Batch]:
    """All batches up to the one with the last mark."""
    batches: list[Batch] = []
    while True:
        batch = raw.receive(PATIENCE)
        assert batch
        batches.append(batch)
        if any(udp_payload(view) == LAST for view in batch):
            return batches


@pytest.mark.parametrize("snaplen", [None, 100])
def test_peer_tshark_reads_our_savefile_without_a_warning(
    pair: tuple[Port, Port],
    open_socket: OpenSocket,
    live_backend: str,
    tshark: str,
    tmp_path: Path,
    snaplen: int | None,
) -> None:
    local, neighbour = pair
    raw = open_socket(
        live_backend, local.name, mode=RcvAll.ON, buffer_size=64 * 2**20, snaplen=snaplen
    )
    make_traffic(local, neighbour, 3)
    batches = read_batches(raw)
    datagrams = [datagram for batch in batches for datagram in batch.datagrams()]
    assert len(datagrams) > 3000
    ours, theirs = tmp_path / "ours.pcap", tmp_path / "theirs.pcap"
    with Recorder(ours, format="pcap", snaplen=snaplen) as recorder:
        assert [recorder.write(batch) for batch in batches] == [len(batch) for batch in batches]
    assert recorder.bytes == ours.stat().st_size

    fields = ("frame.number", "frame.len", "frame.cap_len", "frame.time_epoch", "ip.version")
    selection = [word for field in fields for word in ("-e", field)]
    printed = run_tshark(
        tshark, "-n", "-r", str(ours), "-T", "fields", "-E", "occurrence=f", *selection
    )
    assert printed.splitlines() == [
        f"{number}\t{d.original_length}\t{d.length}\t{seconds(d.timestamp_ns)}"
        f"\t{4 if d.family == socket.AF_INET else 6}"
        for number, d in enumerate(datagrams, 1)
    ]

    # What tshark understood, byte for byte: it writes it down again.
    run_tshark(tshark, "-n", "-r", str(ours), "-F", "nsecpcap", "-w", str(theirs))
    wanted = [Packet(d.timestamp_ns, bytes(d.data), d.original_length) for d in datagrams]
    assert read_savefile(theirs) == (LINKTYPE_RAW, wanted)
    assert read_savefile(ours) == (LINKTYPE_RAW, wanted)


def seconds(timestamp_ns: int) -> str:
    return f"{timestamp_ns // 10**9}.{timestamp_ns % 10**9:09}"


def test_peer_tshark_reads_a_file_without_datagrams(tshark: str, tmp_path: Path) -> None:
    path = tmp_path / "empty.pcap"
    Recorder(path).close()
    assert run_tshark(tshark, "-n", "-r", str(path)) == ""
