"""tshark captures through ``winsockctl extcap``, and sees what it sees by itself."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from network import PATIENCE, Port, eventually, marked, talk, tool, tool_environment

from winsockctl import Direction, open_savefile
from winsockctl.cli import extcap_folder, main

# Root gets no other extcap folder than the system's: in a mount namespace it may be another one.
WITH_FOLDER = ("unshare", "--mount", "sh", "-c", 'mount --bind "$1" "$2"; shift 2; exec "$@"', "sh")


@dataclass(frozen=True)
class Tshark:
    """tshark with an extcap folder that has nothing but our program, installed by ourselves."""

    command: Sequence[str | Path]

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *arguments],
            env=tool_environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.command, *arguments],
            env=tool_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def tshark(tmp_path: Path, can_make_networks: None) -> Tshark:
    path = tool("tshark")
    if path is None:
        pytest.skip("the program 'tshark' is missing")
    told = extcap_folder._folders_of_tshark()
    system = told.get("Global") or told[""]
    if not os.path.isdir(system):
        pytest.skip(f"tshark has no extcap folder {system}")
    folder = tmp_path / "extcap"
    assert main(["extcap", "--install", "--folder", str(folder)]) == 0
    (program,) = folder.iterdir()
    if "LD_PRELOAD" in os.environ:  # the sanitizers' libraries, which are for us only
        hidden = tmp_path / program.name
        program.rename(hidden)
        program.write_text(
            f"#!/bin/sh\nLD_PRELOAD='{os.environ['LD_PRELOAD']}' exec '{hidden}' \"$@\"\n"
        )
        program.chmod(0o755)
    command = (*WITH_FOLDER, folder, system, path)
    if subprocess.run([*command[:-1], "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system lets the test make no mount namespace")
    return Tshark(command)


def test_tshark_lists_our_interfaces(tshark: Tshark, pair: tuple[Port, Port]) -> None:
    listed = tshark.run("-D")
    assert f"winsockctl-{pair[0].name} ({pair[0].name} with winsockctl)\n" in listed.stdout
    assert "winsockctl-lo (lo with winsockctl)\n" in listed.stdout
    types = tshark.run("-i", "winsockctl-lo", "-L")
    assert "RAW (Raw IP)" in types.stdout


class Watching:
    """A tshark that writes a file, and prints the payload of each UDP datagram at once."""

    def __init__(self, tshark: Tshark, interface: str, path: Path, *options: str) -> None:
        self.path = path
        self.process = tshark.start(
            *("-i", interface, "-w", path, "-P", "-l", "-T", "fields", "-e", "data.data"), *options
        )

    def has_seen(self, payload: bytes) -> None:
        """Wait until it has."""
        for line in self.process.stdout:
            if line.strip() == payload.hex():
                return
        pytest.fail(f"tshark ended before: {self.process.stderr.read()}")

    def end(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=PATIENCE)


def captured(path: Path, first: bytes) -> list[bytes]:
    """The IP datagrams behind the first one with that payload."""
    with open_savefile(path) as savefile:
        datagrams = [bytes(view) for view in savefile]
    begin = max(place for place, data in enumerate(datagrams) if data.endswith(first))
    return datagrams[begin + 1 :]


def have_begun(watching: Sequence[Watching], here: Port, there: Port) -> bool:
    """Send something, and tell whether each file has what was sent before."""
    talk(there, here, [b"first"], 2)
    return all(each.path.exists() and b"first" in each.path.read_bytes() for each in watching)


def test_a_capture_through_us_equals_its_own(
    tshark: Tshark, pair: tuple[Port, Port], tmp_path: Path
) -> None:
    here, there = pair
    watching = [
        Watching(tshark, name, tmp_path / f"{name}.pcapng", "-f", "udp or icmp or icmp6")
        for name in (here.name, f"winsockctl-{here.name}")
    ]
    try:
        assert eventually(lambda: have_begun(watching, here, there))
        talk(there, here, [b"now"], 2)
        sent = marked("through tshark", 300)
        for family in (2, 10):
            talk(here, there, sent, family)
            talk(there, here, sent, family)
        talk(here, there, [b"the end"], 2)
        for each in watching:
            each.has_seen(b"the end")
    finally:
        for each in watching:
            each.end()
    own, ours = (captured(each.path, b"now") for each in watching)
    assert len(ours) == 4 * len(sent) + 1
    assert ours == own
    with open_savefile(watching[1].path) as savefile:
        directions = {each.direction for each in savefile.datagrams()}
    assert directions == {Direction.INCOMING, Direction.OUTGOING}


def test_options_of_tshark_come_through(tshark: Tshark, loopback: Port, tmp_path: Path) -> None:
    path = tmp_path / "options.pcapng"
    options = {"family": "ipv6", "filter": "udp and greater 60", "snaplen": "70"}
    settings = [
        word
        for name, value in options.items()
        for word in ("-o", f"extcap.winsockctl_lo.{name}:{value}")
    ]
    watching = Watching(tshark, "winsockctl-lo", path, "-c", "3", *settings)
    deadline = time.monotonic() + PATIENCE
    with loopback.udp(2) as v4, loopback.udp(10) as v6:
        while watching.process.poll() is None:
            assert time.monotonic() < deadline
            for end in (v4, v6):
                for length in (5, 100):
                    end.sendto(bytes(length), end.getsockname()[:2])
            time.sleep(0.02)
    watching.process.communicate(timeout=PATIENCE)
    with open_savefile(path) as savefile:
        facts = [(each.family, each.length, each.original_length) for each in savefile.datagrams()]
    assert facts == [(10, 70, 148)] * 3


def test_a_wrong_filter_ends_tshark_with_our_message(tshark: Tshark, loopback: Port) -> None:
    done = tshark.run("-i", "winsockctl-lo", "-f", "udp prot 53", "-a", "duration:30")
    assert done.returncode != 0
    assert "filter 'udp prot 53', column" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, None], ids=["SIGTERM", "nobody reads"])
def test_it_ends_when_wireshark_does(
    loopback: Port, tmp_path: Path, number: signal.Signals | None
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    asked = ("--capture", "--extcap-interface", "winsockctl-lo", "--fifo", str(fifo))
    with subprocess.Popen(
        [sys.executable, "-m", "winsockctl", "extcap", *asked, "--filter", "udp port 9"],
        stderr=subprocess.PIPE,
    ) as process:
        try:
            with open(fifo, "rb") as reader:
                begin = reader.read(4)
                if number is not None:
                    process.send_signal(number)
                    reader.read()
            assert begin == b"\x0a\x0d\x0d\x0a"
            assert process.wait(PATIENCE) == 0
            assert process.stderr.read() == b""
        finally:
            process.kill()
