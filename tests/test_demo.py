"""``winsockctl demo``: its own traffic, captured and checked, with and without privilege."""

import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from network import PATIENCE, Port
from test_cli import COMMAND, DATAGRAM, UNPRIVILEGED, only_error, run

from winsockctl.cli import demo, main

# As many as the demo sends: four rounds, there and back, of UDP, TCP and ICMP in a family.
MESSAGES = 24
# Root inside, without any right over the network namespace, and no further namespace allowed.
NO_NAMESPACES = (
    *("unshare", "--user", "--map-root-user", "sh", "-c"),
    'echo 0 > /proc/sys/user/max_user_namespaces || exit 77; exec "$@"',
    "sh",
)


def check_output(output: str, versions: tuple[int, ...]) -> None:
    """What the demo shows has to be what its summary counts."""
    shown = [row for row in output.splitlines() if DATAGRAM.fullmatch(row)]
    counted = {}
    for row in output.splitlines():
        if match := re.fullmatch(r"(UDP|TCP|ICMP) +(\d+)(?: +(\d+))?", row):
            counts = [int(count) for count in match.groups()[1:] if count is not None]
            assert len(counts) == len(versions)
            counted[match[1]] = dict(zip(versions, counts, strict=True))
    protocols = {
        (protocol, version): sum(
            f" {protocol}{'v6' if (protocol, version) == ('ICMP', 6) else ''} " in row
            and ("::1" in row) == (version == 6)
            for row in shown
        )
        for protocol in counted
        for version in versions
    }
    assert protocols == {
        (protocol, version): count
        for protocol, counts in counted.items()
        for version, count in counts.items()
    }
    for version in versions:
        assert protocols["UDP", version] == 8
        assert protocols["TCP", version] >= 8 + 3
        assert protocols["ICMP", version] == 8
    total = sum(protocols.values())
    assert len(shown) == total
    rate = re.search(
        r"^(\d+) datagrams, \d+ bytes in \d+\.\d\d s, \d+ datagrams/s; 0 dropped$",
        output,
        re.MULTILINE,
    )
    assert rate is not None
    assert int(rate[1]) == total
    sent = MESSAGES * len(versions)
    assert output.endswith(f"\nAll {sent} messages that were sent were captured.\n")


def test_demo_shows_its_traffic_live(loopback: Port) -> None:
    done = run("demo")
    assert (done.returncode, done.stderr) == (0, "")
    check_output(done.stdout, (4, 6))
    assert "namespace" not in done.stdout


def test_demo_without_ipv6(loopback: Port) -> None:
    loopback.host.sysctl("ipv6/conf/lo/disable_ipv6", 1)
    done = run("demo")
    assert (done.returncode, done.stderr) == (0, "")
    assert "This machine has no IPv6 on loopback: IPv4 only.\n" in done.stdout
    check_output(done.stdout, (4,))


def test_demo_without_privilege_makes_its_own_namespace(can_make_networks: None) -> None:
    done = run("demo", prefix=UNPRIVILEGED)
    assert (done.returncode, done.stderr) == (0, "")
    announcement, _, shown = done.stdout.partition("\n")
    assert announcement == (
        "No privilege to capture here: using a private user and network namespace."
    )
    check_output(shown, (4, 6))


def test_demo_where_loopback_is_down_makes_its_own_namespace(loopback: Port) -> None:
    loopback.host.ip("link set lo down")
    done = run("demo")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("The loopback is switched off here: using a private ")
    check_output(done.stdout, (4, 6))
    # It is not the demo's to switch on.
    assert loopback.host.describe("link", "show", "dev", "lo")[0]["operstate"] == "DOWN"


def test_demo_where_namespaces_are_forbidden_names_the_remedies(can_make_networks: None) -> None:
    done = run("demo", prefix=NO_NAMESPACES)
    if done.returncode == 77:
        pytest.skip("/proc/sys/user/max_user_namespaces cannot be written here")
    assert (done.returncode, done.stdout) == (1, "")
    error = only_error(done.stderr)
    assert error.startswith("no privilege to capture here, ")
    assert "CAP_NET_RAW" in error
    assert "sudo sysctl -w user.max_user_namespaces=" in error


def test_demo_without_unshare_names_the_remedies(can_make_networks: None) -> None:
    prefix = (*UNPRIVILEGED, "env", "PATH=/nonexistent")
    done = run("demo", prefix=prefix)
    assert (done.returncode, done.stdout) == (1, "")
    error = only_error(done.stderr)
    assert "util-linux" in error
    assert "sudo setcap cap_net_raw+ep" in error
    assert f"sudo {COMMAND[0]} -m winsockctl demo" in error


@contextmanager
def noise() -> Iterator[None]:
    """Other programs' traffic on loopback."""
    done = threading.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.bind(("127.0.0.1", 0))
        address = end.getsockname()

        def talk() -> None:
            while not done.wait(0.005):
                end.sendto(b"noise", address)

        thread = threading.Thread(target=talk)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def test_demo_tells_its_traffic_from_that_of_others(loopback: Port) -> None:
    with noise():
        done = run("demo")
    assert (done.returncode, done.stderr) == (0, "")
    check_output(
        re.sub(
            r"^[1-9]\d* datagrams of other programs passed meanwhile\.\n",
            "",
            done.stdout,
            flags=re.MULTILINE,
        ),
        (4, 6),
    )
    assert "datagrams of other programs passed meanwhile." in done.stdout


def test_demo_says_what_does_not_get_through(loopback: Port) -> None:
    loopback.host.sysctl("ipv4/icmp_echo_ignore_all", 1)
    done = run("demo")
    assert done.returncode == 1
    assert only_error(done.stderr).startswith("ICMP over IPv4 does not get through on loopback: ")
    assert "UDP" in done.stdout


def test_demo_fails_when_what_was_sent_is_not_captured(
    pair: tuple[Port, Port], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The traffic goes over loopback, and the capture listens elsewhere.
    monkeypatch.setattr(demo, "loopback", lambda: pair[0].name)
    assert main(["demo"]) == 1
    output, errors = capsys.readouterr()
    assert not any(DATAGRAM.fullmatch(row) for row in output.splitlines())
    error = only_error(errors)
    assert error.startswith(f"{2 * MESSAGES} of {2 * MESSAGES} messages were sent but not captured")
    assert "4 UDP over IPv4 request" in error


@pytest.mark.parametrize("prefix", [(), UNPRIVILEGED], ids=["here", "in-a-namespace"])
def test_demo_interrupted_is_one_line(loopback: Port, prefix: tuple[str, ...]) -> None:
    process = subprocess.Popen(
        [*prefix, *COMMAND, "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        while not DATAGRAM.fullmatch(process.stdout.readline().rstrip()):
            assert process.poll() is None
        # As a terminal does: to the whole group.
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 1
    assert only_error(errors) == "interrupted"


def test_demo_whose_reader_goes_away_ends_in_silence(loopback: Port) -> None:
    process = subprocess.Popen([*COMMAND, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    try:
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == b""
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
