"""``winsockctl read`` and ``winsockctl info``: run as users run them, on files made by hand."""

import gzip
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import savefiles
from datagrams import mixed, of_length, udp

from winsockctl import open_savefile

COMMAND = (sys.executable, "-m", "winsockctl")
STAMP = 1_800_000_000  # seconds; 2027-01-15 08:00:00 UTC
COUNT = 60


def run(*arguments: object, data: bytes | None = None) -> tuple[int, str, str]:
    """Return exit status, standard output and standard error."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        input=data,
        stdin=subprocess.DEVNULL if data is None else None,
        capture_output=True,
        timeout=60,
        check=False,
    )
    outputs = (text.decode().replace("\r\n", "\n") for text in (done.stdout, done.stderr))
    return done.returncode, *outputs


def made() -> bytes:
    frames = [savefiles.ethernet(data) for data in mixed(COUNT)]
    arp = bytes(12) + b"\x08\x06" + bytes(46)
    stamps = [STAMP * 10**6 + place * 250_000 for place in range(COUNT)]
    return b"".join(
        (
            savefiles.section(more=[(1, b"of a test")]),
            savefiles.interface(savefiles.ETHERNET, snaplen=65535, more=[(2, b"eth7")]),
            *map(savefiles.enhanced, frames, stamps),
            savefiles.enhanced(arp, stamps[0]),
            savefiles.statistics(more=[(5, struct.pack("<Q", 3))]),
        )
    )


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.pcapng"
    path.write_bytes(made())
    return path


def datagrams_in(path: Path) -> list[bytes]:
    with open_savefile(path) as savefile:
        return [bytes(view) for view in savefile]


def test_read_prints_a_line_for_each_datagram(trace: Path) -> None:
    status, output, errors = run("read", trace)
    assert status == 0
    lines = output.splitlines()
    assert len(lines) == COUNT
    for line, data in zip(lines, mixed(COUNT), strict=True):
        assert re.fullmatch(rf"\d\d:\d\d:\d\d\.\d{{6}} \S+ > \S+ \S.* length {len(data)}", line)
    assert errors == f"{COUNT} read, 1 passed over, 0 truncated\n"


def test_read_takes_a_filter_before_and_behind_options(trace: Path) -> None:
    for words in (("ip6", "and", "udp", "-c", "4"), ("-c", "4", "ip6 and udp")):
        status, output, errors = run("read", trace, *words)
        assert status == 0
        assert len(output.splitlines()) == 4
        assert all("[2001:db8::1]:40000 > " in line for line in output.splitlines())
        assert errors.startswith("4 read, ")


def test_read_shows_bytes_and_cuts_them(trace: Path) -> None:
    status, output, errors = run("read", trace, "-c", "1", "-x", "--snaplen", "20")
    assert status == 0
    first, *dump = output.splitlines()
    assert first.endswith(f"[truncated 20 of {len(mixed(1)[0])}]")
    assert bytes.fromhex("".join(line[10:57] for line in dump)) == mixed(1)[0][:20]
    assert errors.startswith("1 read, ")
    assert errors.endswith(", 1 truncated\n")


def test_read_writes_what_is_wanted_to_another_file(trace: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.pcap"
    assert run("read", trace, "-w", target, "tcp")[:2] == (0, "")
    wanted = [data for data in mixed(COUNT) if 6 in (data[9] * (data[0] >> 4 == 4), data[6])]
    assert datagrams_in(target) == wanted
    with open_savefile(target) as savefile:
        first = next(savefile.datagrams())
        assert first.timestamp_ns == STAMP * 10**9 + 250_000_000
    assert run("read", target, "-c", "7", "-w", tmp_path / "cut")[0] == 0
    assert datagrams_in(tmp_path / "cut") == wanted[:7]


def test_read_goes_between_two_programs() -> None:
    done = subprocess.run(
        [*COMMAND, "read", "-", "-w", "-", "icmp"],
        input=gzip.compress(made()),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert run("read", "-", data=done.stdout)[1].count("ICMP echo request") == COUNT // 6


def test_read_never_writes_onto_the_file_that_it_reads(trace: Path) -> None:
    status, _, errors = run("read", trace, "-w", trace)
    assert (status, errors) == (
        2,
        f"winsockctl: {trace} is the file that is read: write to another one\n",
    )
    assert trace.read_bytes() == made()


def test_read_shows_what_stands_before_the_damage(tmp_path: Path) -> None:
    path = tmp_path / "cut"
    path.write_bytes(savefiles.pcap(map(savefiles.pcap_record, mixed(9)))[:-1])
    status, output, errors = run("read", path)
    assert status == 1
    assert len(output.splitlines()) == 8
    counts, error = errors.splitlines()
    assert counts == "8 read, 0 passed over, 0 truncated"
    place = path.stat().st_size + 1 - len(mixed(9)[8]) - 16
    assert error == f"winsockctl: {path}: the file ends inside a packet (byte {place})"
    assert run("read", path, "-w", tmp_path / "out")[0] == 1
    assert datagrams_in(tmp_path / "out") == mixed(8)


@pytest.mark.parametrize("command", ["read", "info"])
@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "the file is empty (byte 0)"),
        (b"no savefile", "the file is neither pcap nor pcapng (byte 0)"),
        (savefiles.pcap([], link_type=147), "link type 147 is not read: only Ethernet"),
    ],
)
def test_what_is_no_savefile_is_one_line(
    tmp_path: Path, command: str, data: bytes, text: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    status, output, errors = run(command, path)
    assert (status, output) == (1, "")
    assert errors.startswith(f"winsockctl: {path}: {text}")
    assert errors.count("\n") == 1
    status, output, errors = run(command, "-", data=data)
    assert (status, output) == (1, "")
    assert errors.startswith(f"winsockctl: standard input: {text}")


@pytest.mark.parametrize("command", ["read", "info"])
def test_a_file_that_is_not_there_is_one_line(tmp_path: Path, command: str) -> None:
    path = tmp_path / "nowhere"
    status, output, errors = run(command, path)
    assert (status, output) == (1, "")
    assert errors == f"winsockctl: {path}: No such file or directory\n"


def test_a_wrong_filter_is_wrong_usage(trace: Path) -> None:
    status, _, errors = run("read", trace, "udp and and")
    assert status == 2
    assert "column" in errors


def test_info_tells_what_is_in_a_file(trace: Path, tmp_path: Path) -> None:
    status, output, errors = run("info", trace)
    assert (status, errors) == (0, "")
    facts = dict(line.split(None, 1) for line in output.split("\n\n")[0].splitlines())
    total = sum(map(len, mixed(COUNT)))
    assert facts["format"] == "pcapng, little-endian"
    assert facts["interfaces"] == "eth7"
    assert facts["snaplen"] == "65535"
    assert facts["comment"] == "of a test"
    assert facts["packets"] == str(COUNT + 1)
    assert facts["datagrams"] == f"{COUNT}, 0 of them truncated"
    assert facts["dropped"] == "3"
    assert facts["bytes"] == f"{total} on the wire, {total} in the file"
    assert facts["first"] == "2027-01-15 08:00:00.000000 UTC"
    assert facts["last"] == "2027-01-15 08:00:14.750000 UTC"
    assert facts["duration"] == "14.750000 s"
    assert "link types   ETHERNET (1)\n" in output
    assert "passed over  1, neither IPv4 nor IPv6\n" in output
    packed = tmp_path / "packed"
    packed.write_bytes(gzip.compress(trace.read_bytes()))
    assert "pcapng, little-endian, gzip" in run("info", packed)[1]


def test_info_counts_protocols_and_conversations(tmp_path: Path) -> None:
    there = udp(b"?", source="192.0.2.1", destination="192.0.2.2")
    back = udp(b"answer", source="192.0.2.2", destination="192.0.2.1")
    others = [udp(source="10.0.0.1", destination=f"10.0.1.{number}") for number in range(1, 15)]
    path = tmp_path / "file"
    packets = [there, back, there, *others]
    path.write_bytes(savefiles.pcap(map(savefiles.pcap_record, packets)))
    _, protocols, conversations = run("info", path)[1].split("\n\n")
    size = 2 * len(there) + len(back)
    assert re.search(rf"^IPv4 UDP +17 +{size + 14 * 28}$", protocols, re.M)
    lines = conversations.splitlines()
    assert re.fullmatch(rf"192\.0\.2\.1 - 192\.0\.2\.2 +3 +{size}", lines[1])
    assert len(lines) == 12
    assert lines[-1] == "and 5 more"


def test_info_of_a_damaged_file_tells_of_what_was_whole(tmp_path: Path) -> None:
    path = tmp_path / "cut"
    data = savefiles.pcap(savefiles.pcap_record(of_length(40)) for _ in range(5))
    path.write_bytes(data[:-1])
    status, output, errors = run("info", path)
    assert status == 1
    assert "datagrams    4, 0 of them truncated\n" in output
    assert errors.startswith(f"winsockctl: {path}: the file ends inside a packet")
