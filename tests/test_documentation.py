"""Every sample of the documentation runs: as it is printed, page by page, on a real network.

A sample may name ``eth0``, which has the address 192.168.1.10 and on which traffic of several
protocols passes all the time, ``lo``, and the savefile ``trace.pcapng``. The samples of a page
follow one another. One that would go on for ever is ended as its reader would do it, with Ctrl-C,
once it has printed enough.
"""

import argparse
import contextlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import savefiles
from datagrams import icmp_echo, tcp, udp
from network import PATIENCE, Port, tool
from sybil import Document
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

import winsockctl
from winsockctl.cli.parser import build_parser

PROJECT = Path(__file__).parent.parent
PAGES = [
    PROJECT / "README.md",
    *sorted((PROJECT / "docs").glob("[!_]*/*.md")),
    *sorted((PROJECT / "docs").glob("*.md")),
]

ENOUGH = 40  # lines
PAUSE = 0.005  # seconds between rounds of traffic

# A query for example.org: RFC 1035.
QUERY = bytes.fromhex("4711 0100 0001 0000 0000 0000 076578616d706c65 036f7267 00 0001 0001")


def conversation(here: str, there: str, here6: str, there6: str) -> list[bytes]:
    """Datagrams of several protocols from one host to another."""
    ipv4 = {"source": here, "destination": there}
    ipv6 = {"source": here6, "destination": there6}
    return [
        udp(QUERY, destination_port=53, **ipv4),
        udp(QUERY, destination_port=53, **ipv6),
        udp(bytes(48), source_port=123, destination_port=123, **ipv4),
        tcp(destination_port=443, **ipv4),
        tcp(b"GET / HTTP/1.1\r\n\r\n", destination_port=80, flags=0x18, **ipv4),
        tcp(destination_port=443, **ipv6),
        icmp_echo(bytes(56), **ipv4),
        icmp_echo(bytes(56), **ipv6),
    ]


@contextlib.contextmanager
def traffic(local: Port, neighbour: Port) -> Iterator[None]:
    """Let datagrams pass in both directions."""
    ends = local, neighbour
    ended = threading.Event()

    def send() -> None:
        while not ended.wait(PAUSE):
            for sender, receiver in (ends, ends[::-1]):
                sender.send_datagrams(
                    receiver,
                    conversation(sender.ipv4, receiver.ipv4, sender.ipv6, receiver.ipv6),
                )

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def trace() -> bytes:
    """A savefile of an Ethernet interface."""
    passed = conversation("192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2") * 3
    frames = [
        savefiles.enhanced(savefiles.ethernet(datagram), 1_763_733_600_000_000 + 1000 * index)
        for index, datagram in enumerate(passed)
    ]
    arp = savefiles.enhanced(bytes(12) + b"\x08\x06" + bytes(46))
    head = savefiles.section() + savefiles.interface(savefiles.ETHERNET, more=[(2, b"eth0")])
    return head + b"".join([*frames, arp])


class Console:
    """Runs the commands of a session: the lines that begin with a prompt.

    Args:
        folder: where they run, and where ``.venv`` is the environment of the tests.
    """

    def __init__(self, folder: Path) -> None:
        (folder / ".venv").symlink_to(sys.prefix)
        programs = folder / "programs"
        programs.mkdir()
        self._tell_how(programs / "sudo", 'exec "$@"')
        # Without the sanitizers' libraries, which are for us only.
        self._tell_how(programs / "tshark", f'unset LD_PRELOAD; exec {tool("tshark")} "$@"')
        path = [str(programs), str(folder / ".venv" / "bin"), os.environ["PATH"], "/usr/sbin"]
        self._folder = folder
        self._environment = os.environ | {"PATH": os.pathsep.join(path)}

    @staticmethod
    def _tell_how(program: Path, script: str) -> None:
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    def __call__(self, session: str) -> None:
        for line in session.splitlines():
            if not line.startswith("$ "):
                continue
            done = subprocess.run(
                line.removeprefix("$ "),
                shell=True,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=4 * PATIENCE,
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
            assert done.stdout or done.stderr, f"{line} says nothing"


@pytest.fixture
def computer(
    pair: tuple[Port, Port], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The computer that the samples are about; gives the folder that they run in."""
    local, neighbour = pair
    local.host.ip(f"addr add 192.168.1.10/24 dev {local.name}")
    monkeypatch.chdir(tmp_path)
    Path("trace.pcapng").write_bytes(trace())
    with traffic(local, neighbour):
        yield tmp_path


class Bored(KeyboardInterrupt):
    """Ctrl-C, by a reader who has seen enough."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # samples leave out what is beside the point
def test_the_samples_of_a_page_run(page: Path, computer: Path) -> None:
    if "$ tshark" in page.read_text(encoding="utf-8") and tool("tshark") is None:
        pytest.skip("the program 'tshark' is missing")
    console = Console(computer)
    document = Document.parse(
        str(page),
        PythonCodeBlockParser(),
        CodeBlockParser("console", evaluator=lambda example: console(example.parsed)),
        encoding="utf-8",
    )
    lines = 0

    def show(*values: object) -> None:
        nonlocal lines
        print(*values)
        lines += 1
        if lines == ENOUGH:
            raise Bored

    for example in document.examples():
        document.namespace["print"] = show
        lines = 0
        with contextlib.suppress(Bored):
            example.evaluate()
        assert lines or "print(" not in example.parsed, f"line {example.line} shows nothing"


def test_the_api_page_has_every_public_name() -> None:
    page = (PROJECT / "docs" / "api.md").read_text(encoding="utf-8")
    described = re.findall(r"^\.\. auto(?:class|function|exception):: (\w+)$", page, re.MULTILINE)
    assert sorted(described) == winsockctl.__all__


def test_the_page_of_the_command_has_every_command() -> None:
    page = (PROJECT / "docs" / "command.md").read_text(encoding="utf-8")
    (commands,) = (
        action.choices
        for action in build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    for form in (r"^## winsockctl (\w+)$", r"program-output} winsockctl (\w+) --help$"):
        assert re.findall(form, page, re.MULTILINE) == list(commands)


def test_the_readme_links_every_page() -> None:
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\((docs/[\w/-]+\.md)\)", readme))
    pages = {page.relative_to(PROJECT).as_posix() for page in PAGES if page.parent != PROJECT}
    shown_elsewhere = {
        f"docs/{name}.md" for name in ("index", "changelog", "contributing", "method")
    }
    assert linked == pages - shown_elsewhere
