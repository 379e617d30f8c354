"""``winsockctl extcap``: what Wireshark asks, what it is answered, and where it is installed."""

import _thread
import re
import signal
import socket
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from network import PATIENCE, Port, udp_payload

import winsockctl
from winsockctl import SavefileError, interfaces, open_savefile
from winsockctl.cli import extcap, extcap_folder, main

# https://www.wireshark.org/docs/wsdg_html_chunked/ChCaptureExtcap.html
SENTENCE = re.compile(r"(\w+) ((?:\{\w+=[^{}]*\})+)")


def sentences(text: str) -> list[tuple[str, dict[str, str]]]:
    """The sentences of extcap's language: a word, and what it says."""
    matches = [SENTENCE.fullmatch(line) for line in text.splitlines()]
    assert all(matches)
    return [(found[1], dict(re.findall(r"\{(\w+)=([^{}]*)\}", found[2]))) for found in matches]


def value_of(name: str) -> str:
    """What Wireshark knows an interface by."""
    index = {each.name: each.index for each in interfaces()}[name]
    return f"winsockctl-{name if re.fullmatch('[A-Za-z0-9_.-]+', name) else index}"


def test_the_interfaces_that_are_up_are_listed(
    loopback: Port, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["extcap", "--extcap-interfaces", "--extcap-version=4.0"]) == 0
    first, *rest = sentences(capsys.readouterr().out)
    assert first == ("extcap", {"version": winsockctl.__version__, "display": "winsockctl"})
    assert [word for word, _ in rest] == ["interface"] * len(rest)
    assert [about["value"] for _, about in rest] == [
        value_of(each.name) for each in interfaces() if each.up
    ]
    displays = [about["display"] for _, about in rest]
    assert f"{loopback.name} with winsockctl" in displays


def test_names_that_are_no_words_go_by_their_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = winsockctl.Interface("Ethernet {2}", 7, "", (), up=True, loopback=False)
    monkeypatch.setattr(extcap, "interfaces", lambda: [odd])
    assert main(["extcap", "--extcap-interfaces"]) == 0
    _, (_, about) = sentences(capsys.readouterr().out)
    assert about == {"value": "winsockctl-7", "display": "Ethernet (2) with winsockctl"}
    assert main(["extcap", "--extcap-dlts", "--extcap-interface", "winsockctl-7"]) == 0


def test_link_type_and_options(loopback: Port, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--extcap-interface", value_of(loopback.name)]
    assert main(["extcap", "--extcap-dlts", *asked]) == 0
    assert sentences(capsys.readouterr().out) == [
        ("dlt", {"number": "12", "name": "RAW", "display": "Raw IP"})
    ]
    assert main(["extcap", "--extcap-config", *asked]) == 0
    told = sentences(capsys.readouterr().out)
    options = {about["call"]: about for word, about in told if word == "arg"}
    assert list(options) == ["--filter", "--family", "--promiscuous", "--snaplen", "--buffer-size"]
    assert [about["number"] for about in options.values()] == list("01234")
    values = [about for word, about in told if word == "value"]
    assert [about["value"] for about in values] == ["any", "ipv4", "ipv6"]
    assert {about["arg"] for about in values} == {options["--family"]["number"]}


def test_a_filter_is_checked(loopback: Port, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["extcap", "--extcap-interface", value_of(loopback.name), "--extcap-capture-filter"]
    assert main([*asked, "udp port 53"]) == 0
    assert capsys.readouterr().out == ""
    assert main([*asked, "udp prot 53"]) == 0
    assert re.fullmatch(r"column \d+: .*'prot'.*\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        ([], 2, "winsockctl extcap --install"),
        (["--capture"], 2, "--fifo PATH"),
        (["--capture", "--fifo", "x"], 1, "--extcap-interface NAME"),
        (["--extcap-dlts", "--extcap-interface", "eth77"], 1, "eth77: no such interface"),
        (["--capture", "--fifo", "x", "--extcap-interface"], 1, "x: No such file"),
        (["--install", "--uninstall"], 2, "not allowed with"),
        (["--family", "ipx"], 2, "ipx"),
    ],
)
def test_wrong_usage(
    loopback: Port,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    complaint: str,
) -> None:
    if arguments[-1:] == ["--extcap-interface"]:
        arguments = [*arguments, value_of(loopback.name)]
    assert main(["extcap", *arguments]) == status
    output, errors = capsys.readouterr()
    assert output == ""
    assert complaint in errors
    assert errors.count("\n") == 1


def payloads_in(path: Path) -> list[bytes | None]:
    try:
        with open_savefile(path) as savefile:
            return [udp_payload(view) for view in savefile]
    except SavefileError:  # it is being written
        return []


def capture_while(act: Callable[[Path], None], path: Path, *arguments: str) -> int:
    """Capture into a file, and end that by Ctrl-C after something was done beside."""
    failures: list[BaseException] = []
    over = threading.Event()

    def beside() -> None:
        try:
            act(path)
        except BaseException as failure:
            failures.append(failure)
        if not over.is_set():
            _thread.interrupt_main(signal.SIGINT)

    path.touch()
    thread = threading.Thread(target=beside)
    thread.start()
    status = main(["extcap", "--capture", "--fifo", str(path), *arguments])
    over.set()
    thread.join()
    assert failures == []
    return status


def send_until(port: Port, family: int, payload: bytes, path: Path) -> None:
    """Send datagrams until one of them is in the file."""
    deadline = time.monotonic() + PATIENCE
    with port.udp(family) as end:
        while payload not in payloads_in(path):
            assert time.monotonic() < deadline
            end.sendto(payload, end.getsockname()[:2])
            time.sleep(0.02)


def test_a_capture_with_all_options(loopback: Port, rcvall: object, tmp_path: Path) -> None:
    path = tmp_path / "pipe"

    def act(path: Path) -> None:
        send_until(loopback, socket.AF_INET, b"wanted" * 10, path)
        for family in (socket.AF_INET, socket.AF_INET6):
            with loopback.udp(family) as end:
                for length in (10, 60, 300):
                    end.sendto(bytes(length), end.getsockname()[:2])
        send_until(loopback, socket.AF_INET, b"last" * 15, path)

    status = capture_while(
        act,
        path,
        *("--extcap-interface", value_of(loopback.name), "--family", "ipv4", "--promiscuous"),
        *("--snaplen", "200", "--buffer-size", "4"),
        *("--filter", "udp or tcp", "--extcap-capture-filter", "greater 80"),
    )
    assert status == 0
    with open_savefile(path) as savefile:
        captured = [(bytes(each.data), each.original_length) for each in savefile.datagrams()]
        (interface,) = savefile.interfaces
    assert interface.name == loopback.name
    assert interface.filter == "(udp or tcp) and (greater 80)"
    assert interface.snaplen == 200
    assert {data[0] >> 4 for data, _ in captured} == {4}
    lengths = [length for _, length in captured]
    assert set(lengths) == {28 + 60, 28 + 300}
    place = lengths.index(28 + 300)
    assert captured[place - 1][0].endswith(bytes(60))
    assert [len(data) for data, length in captured if length == 328] == [200]


def test_a_wrong_filter_opens_the_pipe_and_fails(
    loopback: Port, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pipe"
    asked = ["extcap", "--capture", "--extcap-interface", value_of(loopback.name)]
    # By itself each is wrong, together they would not be.
    path.touch()
    wrong = ["--filter", "udp) or (tcp", "--fifo", str(path)]
    assert main([*asked, *wrong]) == 2
    assert path.read_bytes() == b""
    assert "filter 'udp) or (tcp', column 4" in capsys.readouterr().err


def test_install_and_uninstall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = Path("winsockctl-extcap.exe" if sys.platform == "win32" else "winsockctl-extcap")
    scripts, folder = tmp_path / "scripts", tmp_path / "wireshark" / "extcap"
    monkeypatch.setattr(sysconfig, "get_path", {"scripts": str(scripts)}.__getitem__)
    command = ["extcap", "--folder", str(folder)]
    assert main([*command, "--install"]) == 1
    assert "install winsockctl with pip" in capsys.readouterr().err
    scripts.mkdir()
    (scripts / program).write_bytes(b"program")
    (scripts / program).chmod(0o755)
    for _ in range(2):
        assert main([*command, "--install"]) == 0
        assert (folder / program).read_bytes() == b"program"
        assert sys.platform == "win32" or (folder / program).stat().st_mode & 0o111
        assert f"installed {folder / program}" in capsys.readouterr().out
    assert main([*command, "--uninstall"]) == 0
    assert list(folder.iterdir()) == []
    assert main([*command, "--uninstall"]) == 1
    assert "nothing to remove" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("told", "own", "of_all"),
    [
        ({"Personal": "/own", "Global": "/all"}, "/own", "/all"),
        ({"": "/all"}, "/all", "/all"),
        ({}, None, None),
    ],
    ids=["4.2", "4.0", "without tshark"],
)
def test_the_folder_is_where_wireshark_looks(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    told: dict[str, str],
    own: str | None,
    of_all: str | None,
) -> None:
    monkeypatch.setattr(extcap_folder, "_folders_of_tshark", lambda: told)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("APPDATA", str(tmp_path))
    places = []
    for options in ([], ["--all-users"]):
        assert main(["extcap", "--uninstall", *options]) == 1
        found = re.match(r"winsockctl: (.*) is not there", capsys.readouterr().err)
        places.append(str(Path(found[1]).parent) if found else None)
    windows = tmp_path / "Wireshark" / "extcap"
    linux = tmp_path / ".local" / "lib" / "wireshark" / "extcap"
    standard = windows if sys.platform == "win32" else linux
    assert places == [str(Path(own)) if own else str(standard), of_all and str(Path(of_all))]
