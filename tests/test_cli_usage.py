"""The command ``winsockctl`` where it captures nothing: arguments, help, what it refuses."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command import only_error, run

import winsockctl
from winsockctl import Interface
from winsockctl.cli import main


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "COMMAND"),
        (["listen"], "listen"),
        (["capture"], "INTERFACE"),
        (["interfaces", "lo", "eth0"], "lo eth0"),
        (["capture", "lo", "--bogus"], "--bogus"),
        (["capture", "lo", "-4", "-6"], "-6"),
        (["capture", "lo", "-x", "-w", "out.pcap"], "-w"),
        (["capture", "lo", "-c", "0"], "'0' is not a whole number from 1"),
        (["capture", "lo", "-c", "1.5"], "'1.5' is not a whole number from 1"),
        (["capture", "lo", "-s", "0"], "'0' is not a number from 0.001"),
        (["capture", "lo", "-s", "nan"], "'nan' is not a number from 0.001"),
        (["capture", "lo", "-s", "inf"], "'inf' is not a number from 0.001"),
        (["capture", "lo", "--snaplen", "0"], "'0' is not a whole number from 1"),
        (["capture", "lo", "--buffer-size", "0"], "'0' is not a whole number from 1"),
        (["capture", "lo", "--buffer-size", "64M"], "'64M' is not a whole number from 1"),
        (["capture", "lo", "--latency", "0"], "'0' is not a number from 0.001 to 60"),
        (["capture", "lo", "--latency", "61"], "'61' is not a number from 0.001 to 60"),
        (["top"], "INTERFACE"),
        (["top", "lo", "-i", "0"], "'0' is not a number from 0.1 to 3600"),
        (["top", "lo", "-n", "0"], "'0' is not a whole number from 1"),
        (["interfaces", "lo"], "lo"),
        (["demo", "--count", "1"], "--count"),
        (["doctor", "now"], "now"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(arguments: list[str], complaint: str) -> None:
    done = run(*arguments)
    error = only_error(done.stderr)
    assert done.returncode == 2
    assert done.stdout == ""
    assert complaint in error
    assert re.search(r"; see 'winsockctl( capture| top| interfaces| demo| doctor)? -h'$", error)


@pytest.mark.parametrize(
    ("command", "explained"),
    [
        ([], ["interfaces", "capture", "demo", "doctor", "--version", "exit status"]),
        (["interfaces"], ["index", "addresses", "winsockctl interfaces"]),
        (
            ["capture"],
            [
                *("INTERFACE", "-4", "-6", "--count N", "--seconds S", "--promiscuous"),
                *("--snaplen BYTES", "-x, --hex", "--write FILE", "--process NAME|PID"),
                *("--buffer-size MIB", "--latency S", "CAP_NET_RAW"),
                "winsockctl capture eth0 -w out.pcap",
            ],
        ),
        (
            ["top"],
            [
                *("INTERFACE", "-4", "-6", "--seconds S", "--promiscuous", "--buffer-size MIB"),
                *("--ports", "--interval S", "--rows N", "winsockctl[cli]"),
            ],
        ),
        (
            ["extcap"],
            [
                *("--install", "--uninstall", "--all-users", "--folder DIR", "tshark -D"),
                *("--extcap-interfaces", "--extcap-capture-filter FILTER", "--fifo PATH"),
            ],
        ),
        (["demo"], ["loopback", "namespace", "exit status"]),
        (["doctor"], ["remedy", "exit status"]),
    ],
)
def test_help_explains_everything(command: list[str], explained: list[str]) -> None:
    done = run(*command, "-h", env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1"})
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^examples?:$", done.stdout, re.MULTILINE)
    assert [text for text in explained if text not in done.stdout] == []
    assert "--in-namespace" not in done.stdout


def test_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"winsockctl {winsockctl.__version__}\n"


def test_installed_command_is_the_same() -> None:
    script = Path(sys.executable).with_name("winsockctl")
    if not script.exists():
        pytest.skip("the package is not installed: there is no script winsockctl")
    installed = subprocess.run([script, "-h"], capture_output=True, text=True, check=True)
    assert installed.stdout == run("-h").stdout


def test_closed_pipe_ends_in_silence() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run("interfaces", stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_interfaces_shows_descriptions_where_there_are_any(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Linux has none, so they cannot be real here.
    ethernet = Interface("Ethernet 2", 7, "Realtek PCIe", ("192.0.2.1", "::1"), True, False)
    tunnel = Interface("Tunnel", 12, "", (), False, False)
    monkeypatch.setattr("winsockctl.cli.interfaces.interfaces", lambda: [ethernet, tunnel])
    assert main(["interfaces"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "NAME        INDEX  STATE  LOOPBACK  ADDRESSES       DESCRIPTION",
        "Ethernet 2  7      up     no        192.0.2.1, ::1  Realtek PCIe",
        "Tunnel      12     down   no        -",
    ]


def test_filter_that_cannot_be_compiled_is_one_line_that_points_at_the_place() -> None:
    done = run("capture", "lo", "udp", "and", "prot", "53")
    assert done.returncode == 2
    assert only_error(done.stderr).startswith("filter 'udp and prot 53', column 9: 'prot' ")


def test_failed_capture_leaves_an_older_savefile_alone(tmp_path: Path) -> None:
    path = tmp_path / "out.pcap"
    path.write_bytes(b"precious")
    assert run("capture", "no-such-interface", "-w", path).returncode == 1
    assert path.read_bytes() == b"precious"
