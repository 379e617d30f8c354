"""``winsockctl read`` and ``winsockctl info``: run as users run them, on files made by hand."""

import gzip
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import savefiles
from datagrams import mixed, of_length, udp

from winsockctl import open_savefile
from winsockctl.cli import main, progress

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


@pytest.mark.parametrize(
    ("name", "options", "form"),
    [
        ("out", (), "pcapng"),
        ("out.pcapng", (), "pcapng"),
        ("out.PCAP", (), "pcap"),
        ("out.pcap", ("--format", "pcapng"), "pcapng"),
        ("out.pcapng", ("--format", "pcap"), "pcap"),
    ],
)
def test_read_writes_pcapng_unless_it_is_told_otherwise(
    trace: Path, tmp_path: Path, name: str, options: tuple[str, ...], form: str
) -> None:
    target = tmp_path / "target" / name
    target.parent.mkdir()
    assert run("read", trace, "-w", target, *options)[0] == 0
    assert datagrams_in(target) == mixed(COUNT)
    with open_savefile(target) as savefile:
        assert savefile.format == form


def test_read_hands_on_what_the_file_tells(trace: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    assert run("read", trace, "-w", target, "ip", "or", "ip6", "--snaplen", "90")[0] == 0
    with open_savefile(target) as savefile:
        assert savefile.comment == "of a test"
        (interface,) = savefile.interfaces
        assert (interface.name, interface.filter, interface.snaplen) == ("eth7", "ip or ip6", 90)
    assert run("read", trace, "-w", target, "--comment", "another")[0] == 0
    with open_savefile(target) as savefile:
        assert savefile.comment == "another"


def test_read_cuts_into_a_ring_of_files(trace: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ring"
    folder.mkdir()
    options = ("--rotate-count", "25", "--files", "2")
    assert run("read", trace, "-w", folder / "out.pcapng", *options)[0] == 0
    first, second = sorted(folder.iterdir())
    assert datagrams_in(first) + datagrams_in(second) == mixed(COUNT)[25:]


def test_read_writes_at_most_so_many_bytes(tmp_path: Path) -> None:
    path, target = tmp_path / "all", tmp_path / "out.pcap"
    path.write_bytes(savefiles.pcap([savefiles.pcap_record(of_length(100))] * 5000))
    status, _, errors = run("read", path, "-w", target, "--bytes", str(24 + 2000 * 116 + 115))
    assert (status, errors) == (0, "2000 read, 0 passed over, 0 truncated\n")
    assert target.stat().st_size == 24 + 2000 * 116


@pytest.mark.parametrize(
    "option", [("-U",), ("--bytes", "5k"), ("--files", "3"), ("--comment", "x")]
)
def test_options_for_writing_need_a_file_to_write(trace: Path, option: tuple[str, ...]) -> None:
    status, output, errors = run("read", trace, *option)
    assert (status, output) == (2, "")
    assert errors.endswith(" needs -w FILE\n")


def test_read_writes_what_stands_before_the_damage(tmp_path: Path) -> None:
    path, target = tmp_path / "cut", tmp_path / "out"
    path.write_bytes(made()[:-100])
    status, _, errors = run("read", path, "-w", target)
    assert status == 1
    assert errors.splitlines()[-1].startswith(f"winsockctl: {path}: ")
    assert datagrams_in(target) == mixed(COUNT)


def test_a_place_that_cannot_be_written_is_one_line_with_a_remedy(
    trace: Path, tmp_path: Path
) -> None:
    target = tmp_path / "nowhere" / "out"
    status, output, errors = run("read", trace, "-w", target)
    assert (status, output) == (1, "")
    line = f"{target}: open failed: No such file or directory; create its folder first"
    assert errors == f"winsockctl: {line}\n"


@pytest.mark.linux
def test_a_full_disk_is_told_behind_the_counts(trace: Path) -> None:
    status, _, errors = run("read", trace, "-w", "/dev/full")
    assert status == 1
    assert errors.splitlines()[-1] == (
        "winsockctl: /dev/full: write failed: No space left on device; "
        "free some space or write to another disk"
    )


def long_read(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    """Run a command for which every read is a long one."""
    monkeypatch.setattr(progress, "_PATIENCE", -1)
    assert main([*map(str, arguments)]) == 0


@pytest.mark.parametrize("command", ["info", "read"])
def test_a_long_read_tells_how_far_it_is(
    trace: Path,
    tmp_path: Path,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = ("-w", tmp_path / "out") if command == "read" else ()
    long_read(monkeypatch, command, trace, *output)
    size = trace.stat().st_size
    first, *rest = capsys.readouterr().err.splitlines()
    told = re.fullmatch(rf"{re.escape(str(trace))}: (\d+) bytes of {size}, (\d+)%", first)
    assert told is not None
    assert 0 < int(told[1]) <= size
    assert int(told[2]) == round(100 * int(told[1]) / size)
    assert len(rest) == (command == "read")


def test_of_a_compressed_file_nobody_knows_how_long_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "trace.gz"
    path.write_bytes(gzip.compress(made()))
    long_read(monkeypatch, "info", path)
    assert re.fullmatch(rf"{re.escape(str(path))}: \d+ bytes\n", capsys.readouterr().err)


def test_lines_on_standard_output_are_progress_enough(
    trace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    long_read(monkeypatch, "read", trace)
    assert capsys.readouterr().err == f"{COUNT} read, 1 passed over, 0 truncated\n"


@pytest.mark.linux
@pytest.mark.parametrize("has_rich", [True, False])
def test_a_bar_on_a_terminal(trace: Path, has_rich: bool) -> None:
    script = f"""
import sys
if not {has_rich}:
    sys.modules["rich"] = sys.modules["rich.console"] = None
from winsockctl.cli import main, progress
progress._PATIENCE = -1
sys.exit(main(["info", {str(trace)!r}]))
"""
    shown, given = os.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=given,
        env=environment,
        timeout=60,
        check=True,
    )
    os.close(given)
    text = os.read(shown, 65536).decode()
    os.close(shown)
    assert b"datagrams    60" in done.stdout
    assert str(trace) in text
    is_bar = "\x1b[" in text
    assert is_bar == has_rich
    assert ("%" in text) != has_rich


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
