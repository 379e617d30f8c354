"""``winsockctl top``: run as users run it, on a terminal and off it, on real interfaces."""

import fcntl
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from network import PATIENCE, Port

COMMAND = (sys.executable, "-m", "winsockctl", "top")
WITHOUT_RICH = (
    *(sys.executable, "-c"),
    "import sys; sys.modules['rich'] = None; from winsockctl.cli import main; sys.exit(main())",
    "top",
)
LEAVE_SCREEN = "\x1b[?1049l"


class Terminal:
    """A terminal of 80 columns and 24 lines, with the command running on it."""

    def __init__(self, command: Sequence[str], **environment: str) -> None:
        self.end, given = os.openpty()
        fcntl.ioctl(given, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(given)
        self.given = given
        self.text = ""
        self.process = subprocess.Popen(
            command,
            stdin=given,
            stdout=given,
            stderr=given,
            env=os.environ | {"TERM": "xterm-256color", "PYTHONUTF8": "1"} | environment,
        )

    def read_until(self, pattern: str) -> str:
        """Read what is shown until something in it fits."""
        deadline = time.monotonic() + PATIENCE
        while not re.search(pattern, self.text):
            assert time.monotonic() < deadline, f"{pattern!r} never came, only {self.text!r}"
            if select.select([self.end], [], [], 0.1)[0]:
                self.text += os.read(self.end, 65536).decode()
        return self.text

    def read_to_the_end(self) -> tuple[int, str]:
        """Read on until the command ends; its status, and what was shown since it left."""
        self.read_until(r"\d+ received, \d+ dropped\r\n")
        status = self.process.wait(PATIENCE)
        return status, self.text.rpartition(LEAVE_SCREEN)[2]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.end)
        os.close(self.given)


@contextmanager
def terminal(*command: str, **environment: str) -> Iterator[Terminal]:
    opened = Terminal(command, **environment)
    try:
        yield opened
    finally:
        opened.close()


def exchange(port: Port, family: int, count: int) -> tuple[int, int]:
    """Send datagrams of 100 bytes between two UDP ports, both ways."""
    header = 28 if family == socket.AF_INET else 48
    with port.udp(family) as one, port.udp(family) as other:
        for sender, receiver in ((one, other), (other, one)) * count:
            sender.sendto(bytes(100 - header), receiver.getsockname()[:2])
        return one.getsockname()[1], other.getsockname()[1]


def wait_for_table(shown: Terminal) -> None:
    """Wait until it certainly captures."""
    shown.read_until(r"0 B/s  0 datagrams/s")


@pytest.mark.parametrize("asked", ["q", "Q", "\x03"])
def test_a_key_ends_it_and_leaves_the_terminal_as_it_was(loopback: Port, asked: str) -> None:
    with terminal(*COMMAND, "lo", "-i", "0.2") as shown:
        wait_for_table(shown)
        if asked == "\x03":
            shown.process.send_signal(signal.SIGINT)
        else:
            os.write(shown.end, asked.encode())
        status, _ = shown.read_to_the_end()
        assert status == 0
        assert shown.text.count("\x1b[?1049h") == shown.text.count(LEAVE_SCREEN) == 1
        assert shown.text.count("\x1b[?25l") == shown.text.count("\x1b[?25h")
        assert termios.tcgetattr(shown.given) == shown.before
        assert "Traceback" not in shown.text


def test_what_lies_in_an_unfinished_block_is_counted_at_the_end(loopback: Port) -> None:
    with terminal(*COMMAND, "lo", "-i", "60") as shown:
        shown.read_until("waiting for the first interval")
        exchange(loopback, socket.AF_INET, 30)
        os.write(shown.end, b"q")
        _, last = shown.read_to_the_end()
        assert last.endswith("60 received, 0 dropped\r\n")


def test_the_table_on_a_terminal(loopback: Port) -> None:
    with terminal(*COMMAND, "lo", "-i", "0.2") as shown:
        wait_for_table(shown)
        exchange(loopback, socket.AF_INET, 30)
        exchange(loopback, socket.AF_INET6, 20)
        shown.read_until(r"::1 - ::1 +█ +\S+ \S*B/s +40 +4.0 kB")
        shown.read_until(r"127.0.0.1 - 127.0.0.1 +█ +\S+ \S*B/s +60 +6.0 kB")
        os.write(shown.end, b"q")
        status, last = shown.read_to_the_end()
        assert status == 0
        lines = last.splitlines()
        assert all(len(re.sub(r"\x1b\[[\d;]*m", "", line)) <= 80 for line in lines)
        # What was shown last stays.
        assert re.search(r"127.0.0.1 - 127.0.0.1 .* 60 +6.0 kB", last)
        assert lines[-1] == "100 received, 0 dropped"


def test_conversations_between_ports_busiest_first(loopback: Port) -> None:
    with terminal(*COMMAND, "lo", "-i", "0.2", "--ports", "-n", "2") as shown:
        wait_for_table(shown)
        exchange(loopback, socket.AF_INET, 1)
        low, high = sorted(exchange(loopback, socket.AF_INET, 30))
        exchange(loopback, socket.AF_INET, 2)
        shown.read_until("and 1 more")
        os.write(shown.end, b"q")
        _, last = shown.read_to_the_end()
        names = re.findall(r"127\.0\.0\.1:(\d+) - 127\.0\.0\.1:(\d+) UDP", last)
        assert len(names) == 2
        assert names[0] in {(str(low), str(high)), (str(high), str(low))}
        assert re.search(r" 60 +6.0 kB.*\n.* 4 +400 B", last)
        assert "and 1 more" in last


def test_without_unicode_the_history_is_ascii(loopback: Port) -> None:
    with terminal(
        *COMMAND, "lo", "-i", "0.2", PYTHONUTF8="0", PYTHONIOENCODING="ascii", LC_ALL="C"
    ) as shown:
        wait_for_table(shown)
        exchange(loopback, socket.AF_INET, 30)
        shown.read_until(r"127.0.0.1 - 127.0.0.1 +@ ")


@pytest.mark.parametrize(
    ("command", "environment"),
    [(WITHOUT_RICH, {}), (COMMAND, {"TERM": "dumb"})],
    ids=["without rich", "dumb terminal"],
)
def test_where_nothing_can_be_redrawn_tables_follow_each_other(
    loopback: Port, command: Sequence[str], environment: dict[str, str]
) -> None:
    with terminal(*command, "lo", "-i", "0.2", **environment) as shown:
        wait_for_table(shown)
        exchange(loopback, socket.AF_INET, 30)
        shown.read_until(r"127.0.0.1 - 127.0.0.1 +\S+ \S*B/s +60 +6.0 kB\r\n")
        shown.process.send_signal(signal.SIGINT)
        status, _ = shown.read_to_the_end()
        assert status == 0
        assert "\x1b" not in shown.text
        assert ("pip install 'winsockctl[cli]'" in shown.text) == (command == WITHOUT_RICH)


def test_off_a_terminal_it_prints_tables_until_the_time_is_over(loopback: Port) -> None:
    with subprocess.Popen(
        [*COMMAND, "lo", "-i", "0.2", "-s", "1.5", "-n", "1", "udp"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        first = process.stdout.readline()
        exchange(loopback, socket.AF_INET6, 30)
        exchange(loopback, socket.AF_INET, 20)
        output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert re.fullmatch(r"\d\d:\d\d:\d\d  lo  0 B/s  0 datagrams/s  0 dropped\n", first)
    last = output.rpartition("conversation")[2].splitlines()
    assert re.fullmatch(r"::1 - ::1 +\S+ \S*B/s +60 +6.0 kB", last[1])
    assert last[2:] == ["and 1 more"]
    assert errors == "100 received, 0 dropped\n"


def test_r14_an_interface_that_goes_leaves_a_sane_terminal(pair: tuple[Port, Port]) -> None:
    here, _ = pair
    with terminal(*COMMAND, here.name, "-i", "0.2") as shown:
        wait_for_table(shown)
        here.host.ip(f"link set {here.name} down")
        shown.read_until("WSAENETDOWN")
        assert shown.process.wait(PATIENCE) == 1
        assert LEAVE_SCREEN in shown.text
        assert termios.tcgetattr(shown.given) == shown.before
