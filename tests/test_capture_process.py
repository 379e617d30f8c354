"""``winsockctl capture --process``: another process's datagrams, picked from real traffic."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from command import COMMAND, run
from network import PATIENCE, Port, udp_payload

from winsockctl import open_savefile

# Opens a socket when it is told, sends what it is told, and says when it has.
TALKER = """
import socket, sys
for line in sys.stdin:
    kind, address, port, text = line.split()
    kind = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}[kind]
    end = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    end.connect((address, int(port)))
    end.sendall(text.encode())
    print(end.getsockname()[1], flush=True)
    sys.stdin.readline()
    end.close()
"""


class Talker:
    """A process of its own name that talks when it is told to."""

    def __init__(self, folder: Path, name: str) -> None:
        program = folder / name
        if not program.exists():
            program.symlink_to(os.path.realpath(sys.executable))
        self.process = subprocess.Popen(
            [program, "-I", "-c", TALKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def say(self, kind: str, end: socket.socket, text: str) -> int:
        """Send a text to a socket, from a new one that stays open; give its port."""
        address, port = end.getsockname()[:2]
        print(kind, address, port, text, file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def hang_up(self) -> None:
        print(file=self.process.stdin, flush=True)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(PATIENCE)
        self.process.stdout.close()


class Capturing:
    """A capture that has begun."""

    def __init__(self, *arguments: str | Path) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "capture", "lo", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr.readline().startswith("capturing on ")

    def line(self) -> str:
        return self.process.stdout.readline()

    def end(self) -> tuple[str, list[str]]:
        self.process.send_signal(signal.SIGINT)
        output, errors = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0
        return output, errors.splitlines()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


Talk = Callable[[str], Talker]
Start = Callable[..., Capturing]


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Talk]:
    with ExitStack() as stack:

        def begin(name: str) -> Talker:
            talker = Talker(tmp_path, name)
            stack.callback(talker.close)
            return talker

        yield begin


@pytest.fixture
def start() -> Iterator[Start]:
    with ExitStack() as stack:

        def begin(*arguments: str | Path) -> Capturing:
            capturing = Capturing(*arguments)
            stack.callback(capturing.close)
            return capturing

        yield begin


def noise(port: Port, family: int, count: int = 5) -> None:
    """What other processes say meanwhile."""
    with port.udp(family) as end:
        for _ in range(count):
            end.sendto(b"noise", end.getsockname()[:2])


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("by_name", [True, False], ids=["name", "number"])
def test_only_what_the_process_says(
    loopback: Port, talk: Talk, start: Start, family: int, by_name: bool
) -> None:
    talker, other = talk("wanted-talker"), talk("another-talker")
    wanted = "wanted-talker" if by_name else str(talker.process.pid)
    capturing = start("--process", wanted, "--latency", "0.2")
    with loopback.udp(family) as end:
        for text in ("one", "three"):
            noise(loopback, family)
            other.say("udp", end, "other")
            port = talker.say("udp", end, text)
            noise(loopback, family)
            line = capturing.line()
            assert f":{port} > " in line
            assert line.endswith(f" UDP length {(28 if family == 2 else 48) + len(text)}\n")
            talker.hang_up()
            other.hang_up()
    output, errors = capturing.end()
    assert output == ""
    assert errors == ["2 received, 0 dropped, 0 truncated"]


def test_a_connection_of_tcp_from_its_first_segment_on(
    loopback: Port, talk: Talk, start: Start
) -> None:
    talker = talk("tcp-talker")
    capturing = start("--process", "TCP-talker", "--latency", "0.2")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = talker.say("tcp", server, "hello")
        accepted = server.accept()[0]
        assert accepted.recv(100) == b"hello"
        lines = [capturing.line()]
        while f"127.0.0.1:{port} > " not in lines[-1] or " length 57" not in lines[-1]:
            lines.append(capturing.line())
        talker.hang_up()
        accepted.close()
    output, _ = capturing.end()
    assert " TCP SYN seq " in lines[0]
    assert " TCP SYN|ACK seq " in lines[1].replace("SYN,ACK", "SYN|ACK").replace(
        "SYN ACK", "SYN|ACK"
    )
    # The end of it comes when the socket is no longer there.
    assert "FIN" in output


def test_into_a_file_up_to_a_count(
    loopback: Port, talk: Talk, start: Start, tmp_path: Path
) -> None:
    talkers = [talk("file-talker") for _ in range(3)]
    path = tmp_path / "talk.pcapng"
    arguments = ("-w", path, "-c", "2", "--snaplen", "30", "--latency", "0.2")
    capturing = start("--process", "file-talker", *arguments)
    with loopback.udp() as end:
        for talker, text in zip(talkers, ("first", "second", "third"), strict=True):
            noise(loopback, socket.AF_INET)
            talker.say("udp", end, text)
        output, errors = capturing.process.communicate(timeout=PATIENCE)
    assert (capturing.process.returncode, output) == (0, "")
    assert errors == "2 received, 0 dropped, 2 truncated\n"
    with open_savefile(path) as savefile:
        assert [udp_payload(view) for view in savefile] == [b"fi", b"se"]


def test_a_process_that_comes_later(loopback: Port, talk: Talk, start: Start) -> None:
    capturing = start("--process", "late-talker", "--latency", "0.2")
    assert capturing.process.stderr.readline() == "there is no process late-talker yet\n"
    talker = talk("late-talker")
    with loopback.udp() as end:
        port = talker.say("udp", end, "late")
        assert f":{port} > " in capturing.line()
        talker.hang_up()
    capturing.end()


def test_anothers_process_takes_the_right_to_look(loopback: Port) -> None:
    unprivileged = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        try:
            done = run("capture", "lo", "--process", str(sleeper.pid), prefix=unprivileged)
        finally:
            sleeper.kill()
    assert done.returncode == 1
    assert f"the sockets of process {sleeper.pid} are another user's" in done.stderr
