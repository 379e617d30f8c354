"""The programs of docs/recipes, run as a reader would run them."""

import re
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import savefiles
from datagrams import UDP, icmp_echo, ipv4, tcp, udp
from network import PATIENCE, Port

RECIPES = Path(__file__).parent.parent / "docs" / "recipes"
QUESTION = b"\x07example\x03org\x00" + struct.pack("!HH", 1, 1)


def message(flags: int, answers: bytes = b"", count: int = 0) -> bytes:
    """A DNS message about the address of example.org: RFC 1035, section 4."""
    return struct.pack("!HHHHHH", 4711, flags, 1, count, 0, 0) + QUESTION + answers


def record(kind: int, data: bytes) -> bytes:
    return struct.pack("!HHHIH", 0xC00C, kind, 1, 60, len(data)) + data


QUERY = message(0x0100)
ANSWER = message(
    0x8180,
    record(1, bytes([192, 0, 2, 80]))
    + record(28, socket.inet_pton(socket.AF_INET6, "2001:db8::80")),
    2,
)
REFUSAL = message(0x8183)

ASKING = {"source": "192.0.2.1", "destination": "192.0.2.53", "destination_port": 53}
ANSWERING = {
    "source": "192.0.2.53",
    "destination": "192.0.2.1",
    "source_port": 53,
    "destination_port": 40000,
}
ASKING6 = {"source": "2001:db8::1", "destination": "2001:db8::53", "destination_port": 53}

PASSED = [
    udp(QUERY, **ASKING),
    udp(QUERY, **ASKING6),
    udp(ANSWER, **ANSWERING),
    udp(REFUSAL, **ANSWERING),
    udp(QUERY[:8], **ASKING),
    udp(QUERY.replace(b"example", b"\xff" * 7), **ASKING),
    udp(b"", **ASKING),
    tcp(bytes(100), source_port=443, destination_port=50000, source="::1", destination="::1"),
    tcp(bytes(100), source_port=50000, destination_port=443),
    ipv4(struct.pack("!HHHH", 7, 8, 8, 0), UDP, options=bytes(8)),
    ipv4(bytes(60), UDP, fragment=3),
    icmp_echo(bytes(30)),
    ipv4(b"", UDP),
]


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.pcapng"
    stamps = [1_800_000_000_000_000 + place for place in range(len(PASSED))]
    path.write_bytes(
        savefiles.section()
        + savefiles.interface(savefiles.ETHERNET)
        + b"".join(map(savefiles.enhanced, map(savefiles.ethernet, PASSED), stamps))
    )
    return path


def recipe(name: str, *arguments: str | Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, RECIPES / name, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_ports_of_a_savefile(trace: Path) -> None:
    to_port = {
        443: sum(map(len, PASSED[7:9])),
        53: sum(map(len, PASSED[:7])),
        7: len(PASSED[9]),
    }
    assert recipe("ports.py", trace) == [
        f"port {port:<6} {count:>12} bytes"
        for port, count in sorted(to_port.items(), key=lambda item: item[1], reverse=True)
    ]


def test_dns_of_a_savefile(trace: Path) -> None:
    lines = recipe("dns_log.py", trace)
    assert [re.sub(r"^\d\d:\d\d:\d\d\.\d{6} ", "", line) for line in lines] == [
        "192.0.2.1 A example.org",
        "2001:db8::1 A example.org",
        "192.0.2.1 A example.org = 192.0.2.80, 2001:db8::80",
        "192.0.2.1 A example.org = error 3",
    ]


@pytest.mark.linux
@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("ports.py", "eth0", "2"), r"port 53 +\d+ bytes\n"),
        (("dns_log.py", "eth0"), r"[\d:.]+ 192\.0\.2\.2 A example\.org\n"),
    ],
    ids=["ports", "dns_log"],
)
def test_on_an_interface(pair: tuple[Port, Port], command: tuple[str, ...], expected: str) -> None:
    here, there = pair
    name, *arguments = command
    with subprocess.Popen(
        [sys.executable, RECIPES / name, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        query = udp(QUERY, source=there.ipv4, destination=here.ipv4, destination_port=53)
        over = threading.Event()

        def send() -> None:
            while not over.wait(0.02):
                there.send_datagrams(here, [query])

        sender = threading.Thread(target=send)
        sender.start()
        try:
            line = process.stdout.readline()
        finally:
            over.set()
            sender.join()
            process.kill()
            process.communicate(timeout=PATIENCE)
    assert re.fullmatch(expected, line)
