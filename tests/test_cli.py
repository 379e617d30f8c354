"""The command ``winsockctl`` on real interfaces, in a process of its own, as users run it."""

import ipaddress
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import termios
import time
import tty
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from command import COMMAND, only_error, run
from network import PATIENCE, Port, tool_environment

import winsockctl
from winsockctl import ControlCode

# An ordinary user, seen from inside: without any capability over the network namespace.
UNPRIVILEGED = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
DATAGRAM = re.compile(r"\d\d:\d\d:\d\d\.\d{6} \S+ > \S+ \S.* length \d+")

needs_tshark = pytest.mark.skipif(
    shutil.which("tshark") is None, reason="the program tshark is missing"
)


class Running:
    """A capture that has begun: what is sent from now on, it sees."""

    def __init__(self, *arguments: str | Path, **options: object) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "capture", *arguments],
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options},
        )
        self.opening = self.process.stderr.readline()
        assert self.opening.startswith("capturing on "), self.opening + self.process.stderr.read()

    def lines(self, count: int) -> list[str]:
        """Wait for so many lines on standard output."""
        return [self.process.stdout.readline().rstrip("\n") for _ in range(count)]

    def end(self, number: int | None = None) -> tuple[int, str | None, list[str]]:
        """Return exit status, the rest of the output, and the lines on standard error."""
        if number is not None:
            self.process.send_signal(number)
        output, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, output, errors.splitlines()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        self.process.wait()


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    """``start("lo", "-c", "3")`` begins a capture that ends with the test at the latest."""
    started: list[Running] = []

    def begin(*arguments: str | Path, **options: object) -> Running:
        started.append(Running(*arguments, **options))
        return started[-1]

    yield begin
    for running in started:
        running.close()


def send(payloads: Iterable[bytes], address: str = "127.0.0.1") -> int:
    """Send UDP datagrams over loopback to a socket that takes them; return its port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as end:
        end.bind((address, 0))
        for payload in payloads:
            end.sendto(payload, end.getsockname())
        port: int = end.getsockname()[1]
        return port


def numbered(count: int) -> list[bytes]:
    return [b"number %d" % number for number in range(count)]


def payloads_in(savefile: Path | bytes) -> list[bytes]:
    """Return the UDP payloads that tshark sees in a savefile, without any complaint of its own."""
    tshark = subprocess.run(
        [
            *("tshark", "-r", savefile if isinstance(savefile, Path) else "-"),
            *("-T", "fields", "-e", "frame.protocols", "-e", "data.data"),
        ],
        input=None if isinstance(savefile, Path) else savefile,
        capture_output=True,
        check=True,
        timeout=60,
    )
    complaints = [
        row for row in tshark.stderr.splitlines() if row and b"Running as user" not in row
    ]
    assert complaints == []
    rows = [row.split("\t") for row in tshark.stdout.decode().splitlines()]
    assert all(protocols.startswith("raw:ip") for protocols, _ in rows)
    return [bytes.fromhex(data) for _, data in rows]


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    """A pseudo-terminal: the end that the program gets, and the end that shows what it writes."""
    shown, given = os.openpty()
    tty.setraw(given, termios.TCSANOW)
    try:
        yield given, shown
    finally:
        os.close(given)
        os.close(shown)


def read_terminal(shown: int, until: str) -> str:
    text = ""
    deadline = time.monotonic() + PATIENCE
    while until not in text:
        ready, _, _ = select.select([shown], [], [], max(deadline - time.monotonic(), 0))
        assert ready, f"{until!r} never came, only {text!r}"
        text += os.read(shown, 4096).decode()
    return text


# -------------------------------------------------------------------------------------------------
# Output that cannot be written


@pytest.mark.parametrize("arguments", [["interfaces"], ["-h"], ["--version"]])
def test_full_disk_is_one_line(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = run(*arguments, stdout=full)
    assert done.returncode == 1
    assert only_error(done.stderr).startswith("standard output: No space left on device; ")


def test_closed_standard_output_is_no_crash() -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *COMMAND, "interfaces"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


# -------------------------------------------------------------------------------------------------
# interfaces


def test_interfaces_is_an_aligned_table(pair: tuple[Port, Port]) -> None:
    port = pair[0]
    port.host.ip("link add spare-interface type veth peer name peer")
    done = run("interfaces")
    assert (done.returncode, done.stderr) == (0, "")
    header, *rows = done.stdout.splitlines()
    columns = ["NAME", "INDEX", "STATE", "LOOPBACK", "ADDRESSES"]
    assert header.split() == columns
    starts = [header.index(column) for column in columns] + [None]
    table = [[row[start:end].rstrip() for start, end in pairwise(starts)] for row in rows]
    assert table == [
        [
            interface.name,
            str(interface.index),
            "up" if interface.up else "down",
            "yes" if interface.loopback else "no",
            ", ".join(interface.addresses) or "-",
        ]
        for interface in winsockctl.interfaces()
    ]
    states = {row[0]: row[2:4] for row in table}
    assert states["lo"] == ["up", "yes"]
    assert states[port.name] == ["up", "no"]
    assert states["spare-interface"] == ["down", "no"]
    (addresses,) = (row[4].split(", ") for row in table if row[0] == port.name)
    assert {port.ipv4, str(ipaddress.ip_address(port.ipv6))} <= set(addresses)


def test_interfaces_says_on_a_terminal_where_to_go_next(pair: tuple[Port, Port]) -> None:
    with terminal() as (given, shown):
        assert run("interfaces", stdout=given).returncode == 0
        assert f"Next: winsockctl capture {pair[0].name}\n" in read_terminal(shown, "Next:")


# -------------------------------------------------------------------------------------------------
# capture: lines


def test_lines_come_live_through_a_pipe(loopback: Port, start: Callable[..., Running]) -> None:
    running = start("lo")
    port = send([b"first"])
    first, *_ = running.lines(1)
    assert DATAGRAM.fullmatch(first)
    assert first.endswith(f" 127.0.0.1:{port} > 127.0.0.1:{port} UDP length 33")
    port = send([b"second"], "::1")
    assert running.lines(1)[0].endswith(f" [::1]:{port} > [::1]:{port} UDP length 54")
    status, output, errors = running.end(signal.SIGINT)
    assert (status, output) == (0, "")
    assert errors == ["2 received, 0 dropped, 0 truncated"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("copies", [1, 2])
def test_a_signal_ends_cleanly(
    loopback: Port, start: Callable[..., Running], number: int, copies: int
) -> None:
    running = start("lo")
    send(numbered(3))
    running.lines(3)
    # timeout(1) sends its signal twice: to the program and to its group.
    for _ in range(copies - 1):
        running.process.send_signal(number)
    assert running.end(number) == (0, "", ["3 received, 0 dropped, 0 truncated"])


def test_what_lies_in_an_unfinished_block_comes_before_the_end(
    loopback: Port, start: Callable[..., Running]
) -> None:
    capture = start("lo", "--latency", "1", "-s", "600")
    send(numbered(5))
    time.sleep(0.3)  # the datagrams are in the ring, and the kernel has not handed them over
    status, output, errors = capture.end(signal.SIGINT)
    assert status == 0
    assert len(output.splitlines()) == 5
    assert errors[-1] == "5 received, 0 dropped, 0 truncated"


def test_count_is_exact(loopback: Port, start: Callable[..., Running]) -> None:
    running = start("lo", "-c", "7", "--snaplen", "30", "--latency", "0.2")
    send(numbered(50))
    status, output, errors = running.end()
    assert status == 0
    assert len(output.splitlines()) == 7
    assert errors == ["7 received, 0 dropped, 7 truncated"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("udp", "and", "greater", "100"),
        ("udp and greater 100",),
        ("-c", "2", "udp and greater 100"),
        ("udp", "-c", "2", "and", "greater", "100"),
    ],
)
def test_filter_words_may_stand_anywhere(
    loopback: Port, start: Callable[..., Running], arguments: tuple[str, ...]
) -> None:
    running = start("lo", *arguments, "-s", "0.5")
    send([bytes(50), bytes(100), bytes(60), bytes(200)])
    status, output, errors = running.end()
    assert status == 0
    assert [line.split()[-1] for line in output.splitlines()] == ["128", "228"]
    assert errors == ["2 received, 0 dropped, 0 truncated"]


def test_seconds_end_an_idle_capture(loopback: Port, start: Callable[..., Running]) -> None:
    assert start("lo", "-s", "0.3").end() == (0, "", ["0 received, 0 dropped, 0 truncated"])


def test_seconds_end_a_busy_capture(loopback: Port, start: Callable[..., Running]) -> None:
    running = start("lo", "-s", "0.5", stdout=subprocess.DEVNULL)
    while running.process.poll() is None:
        send(numbered(10))
    status, _, (closing,) = running.end()
    assert status == 0
    counts, _, remark = closing.partition("; ")
    match = re.fullmatch(r"[1-9]\d* received, (\d+) dropped, 0 truncated", counts)
    assert match is not None
    # What was lost, was lost for want of room: how much there was is what to say about it.
    assert bool(int(match[1])) == remark.startswith("the buffer had 64 MiB")


@pytest.mark.parametrize("limits", [("-c", "2", "-s", "600"), ("-c", "1000", "-s", "0.5")])
def test_whichever_limit_comes_first(
    loopback: Port, start: Callable[..., Running], limits: tuple[str, ...]
) -> None:
    running = start("lo", *limits)
    send(numbered(2))
    status, output, errors = running.end()
    assert (status, len(output.splitlines())) == (0, 2)
    assert errors == ["2 received, 0 dropped, 0 truncated"]


@pytest.mark.parametrize(
    ("arguments", "seen"),
    [
        (["lo"], {"IPv4", "IPv6"}),
        (["1"], {"IPv4", "IPv6"}),
        (["lo", "-4"], {"IPv4"}),
        (["lo", "-6"], {"IPv6"}),
        (["127.0.0.1"], {"IPv4"}),
        (["::1"], {"IPv6"}),
        (["127.0.0.1", "-4"], {"IPv4"}),
    ],
)
def test_interface_and_family(
    loopback: Port, start: Callable[..., Running], arguments: list[str], seen: set[str]
) -> None:
    running = start(*arguments)
    send([b"four"])
    send([b"six"], "::1")
    lines = running.lines(len(seen))
    assert {"IPv6" if "[::1]" in line else "IPv4" for line in lines} == seen
    assert running.end(signal.SIGINT)[:2] == (0, "")


def test_a_name_of_digits_comes_before_an_index(loopback: Port) -> None:
    loopback.host.ip("link add 1 type veth peer name other")
    done = run("capture", "1", "-s", "0.1")
    assert done.returncode == 1
    assert only_error(done.stderr).startswith("1: bind failed with WSAENETDOWN (10050): ")


def test_hex_dump_shows_the_bytes(loopback: Port, start: Callable[..., Running]) -> None:
    running = start("lo", "-x", "-c", "1")
    send([b"A payload to be seen in the dump"])
    status, output, _ = running.end()
    line, *dump = output.splitlines()
    assert status == 0
    assert DATAGRAM.fullmatch(line)
    assert [row[:8] for row in dump] == ["    0000", "    0010", "    0020", "    0030"]
    data = bytes.fromhex("".join(row[10:57] for row in dump))
    assert (data[0], data[28:]) == (0x45, b"A payload to be seen in the dump")
    assert "".join(row[59:] for row in dump).endswith("A payload to be seen in the dump")


def test_snaplen_truncates_and_says_so(loopback: Port, start: Callable[..., Running]) -> None:
    running = start("lo", "-c", "2", "--snaplen", "40")
    send([b"short", b"x" * 72])
    status, output, errors = running.end()
    first, second = output.splitlines()
    assert status == 0
    assert first.endswith(" length 33")
    assert second.endswith(" length 100 [truncated 40 of 100]")
    assert errors == ["2 received, 0 dropped, 1 truncated"]


def test_promiscuous_mode_lasts_as_long_as_the_capture(
    pair: tuple[Port, Port], start: Callable[..., Running]
) -> None:
    port = pair[0]
    plain = start(port.name)
    assert port.promiscuity() == 0
    plain.end(signal.SIGINT)
    running = start(port.name, "--promiscuous")
    assert port.promiscuity() == 1
    assert running.end(signal.SIGINT)[0] == 0
    assert port.promiscuity() == 0


def test_buffer_and_latency_are_passed_on(loopback: Port, start: Callable[..., Running]) -> None:
    running = start("lo", "--buffer-size", "2", "--latency", "0.001", "-c", "1")
    rings = Path(f"/proc/{running.process.pid}/smaps").read_text()
    mapped = re.search(r"socket:.*\nSize: +(\d+) kB", rings)
    if "packet-ring" in running.opening:
        assert mapped is not None
        assert int(mapped[1]) == 2048
    send([b"seen"])
    assert running.end()[0] == 0


def test_closed_pipe_ends_the_capture(loopback: Port, start: Callable[..., Running]) -> None:
    running = start("lo")
    send(numbered(1))
    running.lines(1)
    running.process.stdout.close()
    send(numbered(1))
    assert running.process.wait(PATIENCE) == 0
    assert running.process.stderr.read() == "2 received, 0 dropped, 0 truncated\n"


def test_both_outputs_closed_ends_the_capture(
    loopback: Port, start: Callable[..., Running]
) -> None:
    running = start("lo")
    running.process.stdout.close()
    running.process.stderr.close()
    send(numbered(1))
    assert running.process.wait(PATIENCE) == 0


def test_full_disk_ends_the_capture(loopback: Port, start: Callable[..., Running]) -> None:
    with open("/dev/full", "w") as full:
        running = start("lo", stdout=full)
        send(numbered(1))
        status, _, errors = running.end()
    closing, error = errors
    assert status == 1
    assert " dropped, 0 truncated" in closing
    assert error.startswith("winsockctl: standard output: No space left on device; ")


# -------------------------------------------------------------------------------------------------
# capture: savefiles


@needs_tshark
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_savefile_is_complete_after_a_signal(
    loopback: Port, start: Callable[..., Running], tmp_path: Path, number: int
) -> None:
    path = tmp_path / "out.pcap"
    running = start("lo", "-w", path)
    payloads = numbered(500)
    send(payloads)
    expected = 24 + sum(16 + 28 + len(payload) for payload in payloads)
    deadline = time.monotonic() + PATIENCE
    while path.stat().st_size < expected and time.monotonic() < deadline:
        time.sleep(0.01)
    assert running.end(number) == (0, "", ["500 received, 0 dropped, 0 truncated"])
    assert payloads_in(path) == payloads


@needs_tshark
def test_savefile_has_exactly_the_count(
    loopback: Port, start: Callable[..., Running], tmp_path: Path
) -> None:
    path = tmp_path / "out.pcap"
    path.write_bytes(b"an older file, longer than the new one " * 1000)
    running = start("lo", "-w", path, "-c", "10", "--latency", "0.2")
    assert f" into {path} " in running.opening
    send(numbered(100))
    assert running.end() == (0, "", ["10 received, 0 dropped, 0 truncated"])
    assert payloads_in(path) == numbered(10)


@needs_tshark
def test_savefile_through_a_pipe(loopback: Port, start: Callable[..., Running]) -> None:
    reader, writer = os.pipe()
    with open(reader, "rb") as pipe:
        running = start("lo", "-6", "-w", "-", "-c", "5", stdout=writer)
        os.close(writer)
        send(numbered(5), "::1")
        assert payloads_in(pipe.read()) == numbered(5)
    assert running.end() == (0, None, ["5 received, 0 dropped, 0 truncated"])


def test_savefile_pipe_that_is_closed_ends_the_capture(
    loopback: Port, start: Callable[..., Running]
) -> None:
    running = start("lo", "-w", "-")
    running.process.stdout.close()
    send(numbered(1))
    assert running.process.wait(PATIENCE) == 0
    assert running.process.stderr.read().endswith(" received, 0 dropped, 0 truncated\n")


def test_no_savefile_to_a_terminal() -> None:
    with terminal() as (given, _):
        done = run("capture", "lo", "-w", "-", stdout=given)
    assert done.returncode == 2
    assert "tshark -r -" in only_error(done.stderr)


def test_status_line_on_a_terminal(loopback: Port, tmp_path: Path) -> None:
    path = tmp_path / "out.pcap"
    with terminal() as (given, shown):
        process = subprocess.Popen([*COMMAND, "capture", "lo", "-w", path], stderr=given)
        try:
            read_terminal(shown, "capturing on")
            send(numbered(2))
            # Over the same line again and again; the numbers of an idle capture go on too.
            status = "\r2 received, 0 dropped, 128 bytes, "
            assert re.search(r"/s +$", read_terminal(shown, status) + read_terminal(shown, "/s"))
            assert "\n" not in read_terminal(shown, status)
            process.send_signal(signal.SIGINT)
            closing = read_terminal(shown, "truncated")
            assert "\r2 received, 0 dropped, 0 truncated" in closing
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("missing/out.pcap", "No such file or directory; create its folder first"),
        (".", "Is a directory; give the name of a file in it"),
        ("/dev/full", "No space left on device; free some space"),
    ],
)
def test_savefile_that_cannot_be_written(
    loopback: Port, tmp_path: Path, target: str, problem: str
) -> None:
    path = tmp_path / target
    done = run("capture", "lo", "-w", path, "-s", "5")
    assert done.returncode == 1
    assert only_error(done.stderr).startswith(f"{path}: ")
    assert problem in done.stderr


def test_savefile_that_fills_the_disk(
    loopback: Port, start: Callable[..., Running], tmp_path: Path
) -> None:
    path = tmp_path / "out.pcap"
    limited = ["prlimit", f"--fsize={24 + 3 * (16 + 36)}", "--"]
    process = subprocess.Popen(
        [*limited, *COMMAND, "capture", "lo", "-w", path],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr.readline().startswith("capturing on ")
        send(numbered(8))
        _, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait()
    closing, error = errors.splitlines()
    assert process.returncode == 1
    assert re.fullmatch(r"\d+ received, 0 dropped, 0 truncated", closing)
    assert error.startswith(f"winsockctl: {path}: ")
    assert "File too large" in error
    assert payloads_in(path) == numbered(3)


@needs_tshark
def test_savefile_is_pcapng_unless_its_name_says_otherwise(
    loopback: Port, start: Callable[..., Running], tmp_path: Path
) -> None:
    for name, options, magic in (
        ("out.pcapng", (), b"\x0a\x0d\x0d\x0a"),
        ("out", (), b"\x0a\x0d\x0d\x0a"),
        ("out.PCAP", (), b"\x4d\x3c\xb2\xa1"),
        ("out.pcap", ("--format", "pcapng"), b"\x0a\x0d\x0d\x0a"),
        ("out.pcapng", ("--format", "pcap"), b"\x4d\x3c\xb2\xa1"),
    ):
        path = tmp_path / name
        running = start("lo", "-w", path, "-c", "5", *options, "udp", "or", "tcp")
        send(numbered(5))
        assert running.end() == (0, "", ["5 received, 0 dropped, 0 truncated"])
        assert path.read_bytes()[:4] == magic
        assert payloads_in(path) == numbered(5)


@pytest.mark.skipif(shutil.which("capinfos") is None, reason="the program capinfos is missing")
def test_savefile_tells_interface_filter_and_comment(
    loopback: Port, start: Callable[..., Running], tmp_path: Path
) -> None:
    path = tmp_path / "out.pcapng"
    running = start("lo", "-w", path, "-c", "3", "--comment", "a note", "udp", "or", "tcp")
    send(numbered(3))
    running.end()
    report = subprocess.run(
        ["capinfos", path],
        env=tool_environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    assert report.stderr == ""
    for line in ("Capture comment:     a note", "Name = lo", "Filter string = udp or tcp"):
        assert line in report.stdout


@pytest.mark.parametrize("given", ["127.0.0.1", "::1", "1"])
def test_savefile_tells_the_name_of_the_interface(
    loopback: Port, start: Callable[..., Running], tmp_path: Path, given: str
) -> None:
    path = tmp_path / "out.pcapng"
    start(given, "-w", path).end(signal.SIGINT)
    with winsockctl.open_savefile(path) as savefile:
        assert [entry.name for entry in savefile.interfaces] == ["lo"]


@needs_tshark
def test_savefiles_in_a_ring(loopback: Port, start: Callable[..., Running], tmp_path: Path) -> None:
    path = tmp_path / "out.pcapng"
    running = start("lo", "-w", path, "-c", "50", "--rotate-count", "10", "--files", "2")
    send(numbered(50))
    assert running.end() == (0, "", ["50 received, 0 dropped, 0 truncated"])
    first, second = sorted(tmp_path.iterdir())
    assert re.fullmatch(r"out_00004_\d{14}\.pcapng", first.name)
    assert re.fullmatch(r"out_00005_\d{14}\.pcapng", second.name)
    assert payloads_in(first) + payloads_in(second) == numbered(50)[30:]


def test_savefile_of_at_most_so_many_bytes(
    loopback: Port, start: Callable[..., Running], tmp_path: Path
) -> None:
    path = tmp_path / "out.pcap"
    running = start("lo", "-w", path, "--bytes", str(24 + 3 * 52 + 51), "udp")
    send(numbered(10))
    status, _, errors = running.end()
    assert (status, errors) == (0, ["3 received, 0 dropped, 0 truncated"])
    assert path.stat().st_size == 24 + 3 * 52


def test_savefile_is_flushed_on_request(
    loopback: Port, start: Callable[..., Running], tmp_path: Path
) -> None:
    path = tmp_path / "out.pcap"
    running = start("lo", "-U", "-w", path)
    deadline = time.monotonic() + PATIENCE
    for count in (1, 2):
        send(numbered(1))
        while path.stat().st_size < 24 + count * 52 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert path.stat().st_size == 24 + count * 52
    running.end(signal.SIGTERM)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--flush",),
        ("--format", "pcap"),
        ("--bytes", "5k"),
        ("--rotate-size", "1M"),
        ("--files", "3"),
        ("--comment", "x"),
        ("-w", "x", "--files", "3"),
        ("-w", "x", "--bytes", "many"),
        ("-w", "x", "--rotate-size", "0"),
    ],
)
def test_savefile_options_that_make_no_sense(
    loopback: Port, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    done = run("capture", "lo", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert len(only_error(done.stderr)) > 0
    assert list(tmp_path.iterdir()) == []


# -------------------------------------------------------------------------------------------------
# capture: failures


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["nowhere0"], "nowhere0: bind failed with WSAEADDRNOTAVAIL (10049): "),
        (["4711"], "4711: bind failed with WSAEADDRNOTAVAIL (10049): "),
        (["203.0.113.5"], "203.0.113.5: bind failed with WSAEADDRNOTAVAIL (10049): "),
        (["0.0.0.0"], "0.0.0.0: bind failed with WSAEINVAL (10022): "),
        (["127.0.0.1", "-6"], "127.0.0.1: bind failed with WSAEINVAL (10022): "),
    ],
)
def test_interface_that_cannot_be_captured(
    loopback: Port, arguments: list[str], error: str
) -> None:
    done = run("capture", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    line = only_error(done.stderr)
    assert line.startswith(error)
    assert len(line) > len(error)


def test_index_beyond_every_number_is_no_crash(loopback: Port) -> None:
    done = run("capture", "9" * 40)
    assert done.returncode in (1, 2)
    assert len(only_error(done.stderr)) > 0


def test_interface_that_is_down(loopback: Port) -> None:
    loopback.host.ip("link set lo down")
    done = run("capture", "lo")
    assert done.returncode == 1
    assert only_error(done.stderr).startswith("lo: bind failed with WSAENETDOWN (10050): ")


def test_interface_that_goes_away(pair: tuple[Port, Port], start: Callable[..., Running]) -> None:
    local, neighbour = pair
    running = start(local.name)
    with neighbour.udp() as udp:
        udp.sendto(b"before the end", (local.ipv4, 9))
        output = running.lines(1)
        local.host.ip(f"link del {local.name}")
    status, rest, errors = running.end()
    text = "\n".join([*output, rest])
    assert status == 1
    assert f" {neighbour.ipv4}:" in text
    closing, error = errors
    assert re.fullmatch(r"[1-9]\d* received, 0 dropped, 0 truncated", closing)
    assert error.startswith("winsockctl: receive failed with WSAENETDOWN (10050): ")


def test_no_privilege(can_make_networks: None) -> None:
    done = run("capture", "lo", prefix=UNPRIVILEGED)
    assert (done.returncode, done.stdout) == (1, "")
    error = only_error(done.stderr)
    assert error.startswith("lo: socket failed with WSAEACCES (10013): ")
    assert "CAP_NET_RAW" in error


def test_a_second_signal_ends_what_a_first_one_cannot(loopback: Port, tmp_path: Path) -> None:
    # Opening a FIFO waits for its reader, however often the capture is closed meanwhile.
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    process = subprocess.Popen(
        [*COMMAND, "capture", "lo", "-w", fifo], stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while process.poll() is None and time.monotonic() < deadline:
            process.send_signal(signal.SIGTERM if _handles_sigterm(process.pid) else 0)
            time.sleep(0.3)
        assert process.wait(PATIENCE) == 1
        assert only_error(process.stderr.read()) == "interrupted"
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def _handles_sigterm(pid: int) -> bool:
    caught = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
    return caught is not None and bool(int(caught[1], 16) >> (signal.SIGTERM - 1) & 1)


# -------------------------------------------------------------------------------------------------
# doctor


def diagnosis(output: str) -> dict[str, tuple[str, str]]:
    """Return state and detail of each line, which must be aligned."""
    rows = {}
    for row in output.splitlines():
        rows[row[:36].rstrip()] = (row[36:49].rstrip(), row[49:])
        assert row[49:] == row[49:].lstrip()
    assert {state for state, _ in rows.values()} <= {"ok", "no", "unsupported"}
    return rows


def test_doctor_where_everything_works(loopback: Port) -> None:
    done = run("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    rows = diagnosis(done.stdout)
    for name in ("platform", "privilege", "backend packet-ring", "backend packet-message"):
        assert rows[name][0] == "ok"
    for name in ("promiscuous mode", "IPv6", "live capture", "demo without privilege"):
        assert rows[name][0] == "ok"
    carried = {
        *("FIONREAD", "SIO_RCVALL", "SIO_KEEPALIVE_VALS", "SIO_TCP_INFO", "SIO_BASE_HANDLE"),
        *("SIO_ROUTING_INTERFACE_QUERY", "SIO_ADDRESS_LIST_QUERY", "SIO_ADDRESS_LIST_CHANGE"),
        "SIO_GET_INTERFACE_LIST",
    }
    for code in ControlCode:
        state, detail = rows[code.name]
        if code.name in carried:
            assert (state, detail) == ("ok", "")
        else:
            assert (state, detail) == ("unsupported", "not carried by Linux (WSAEOPNOTSUPP)")
    assert loopback.promiscuity() == 0


def test_doctor_without_privilege(can_make_networks: None) -> None:
    done = run("doctor", prefix=UNPRIVILEGED)
    assert done.returncode == 1
    assert "capturing does not work here" in only_error(done.stderr)
    rows = diagnosis(done.stdout)
    state, detail = rows["privilege"]
    assert state == "no"
    assert "WSAEACCES" in detail
    assert "CAP_NET_RAW" in detail
    for name in ("backend packet-ring", "live capture", "promiscuous mode", "SIO_RCVALL"):
        assert rows[name] == ("no", "for the same reason as privilege")
    assert rows["SIO_KEEPALIVE_VALS"] == ("ok", "")
    assert rows["demo without privilege"][0] == "ok"


def test_doctor_without_loopback_and_ipv6(loopback: Port) -> None:
    loopback.host.sysctl("ipv6/conf/lo/disable_ipv6", 1)
    loopback.host.ip("link set lo down")
    done = run("doctor")
    assert done.returncode == 1
    rows = diagnosis(done.stdout)
    assert rows["privilege"][0] == "ok"
    assert rows["IPv6"][0] == "no"
    assert rows["backend packet-ring"][0] == "no"
    assert "WSAENETDOWN" in rows["backend packet-ring"][1]
    assert rows["live capture"] == ("no", "for the same reason as backend packet-ring")
    assert rows["SIO_TCP_INFO"][0] == "no"
    assert "no TCP connection over loopback" in rows["SIO_TCP_INFO"][1]
