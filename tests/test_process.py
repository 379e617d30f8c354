"""``--process``: which datagrams are those of a process, by the sockets that it has."""

import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack

import pytest
from datagrams import UDP, icmp_echo, ipv4, tcp, udp
from missing import WINE, missing

from winsockctl import Batch, Replay
from winsockctl.cli import process
from winsockctl.cli.errors import CommandError
from winsockctl.cli.process import Process

V4, V6 = socket.AF_INET, socket.AF_INET6
LOOPBACK = {V4: "127.0.0.1", V6: "::1"}
ANY = {V4: "0.0.0.0", V6: "::"}
ELSEWHERE = {V4: "203.0.113.9", V6: "2001:db8::9"}


def batch_of(datagrams: Iterable[object]) -> Batch:
    with Replay(datagrams) as replay:
        return replay.read(0)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def ourselves() -> Process:
    if WINE:
        missing("the number of the process that a socket belongs to")
    return Process(str(os.getpid()))


def bound(stack: ExitStack, family: int, address: str, kind: int = socket.SOCK_DGRAM) -> int:
    end = stack.enter_context(socket.socket(family, kind))
    end.bind((address, 0))
    if kind == socket.SOCK_STREAM:
        end.listen()
    port: int = end.getsockname()[1]
    return port


def between(source: str, source_port: int, destination: str, destination_port: int) -> bytes:
    return udp(
        source=source,
        destination=destination,
        source_port=source_port,
        destination_port=destination_port,
    )


def free_port() -> int:
    with socket.socket(V4, socket.SOCK_DGRAM) as end:
        end.bind(("127.0.0.1", 0))
        port: int = end.getsockname()[1]
        return port


@pytest.mark.parametrize("family", [V4, V6])
@pytest.mark.parametrize("to_any", [False, True], ids=["one address", "any address"])
def test_a_bound_socket_owns_what_comes_to_its_port_and_leaves_it(
    stack: ExitStack, ourselves: Process, family: int, to_any: bool
) -> None:
    port = bound(stack, family, (ANY if to_any else LOOPBACK)[family])
    here, there = LOOPBACK[family], ELSEWHERE[family]
    wanted = [between(there, 5353, here, port), between(here, port, there, 9)]
    others = [
        between(there, port, here, 5353),  # the same port, at the other end
        between(here, 9, there, port),
        between(there, 5353, here, port ^ 1),
        between(there, 5353, there, port),  # on its way to somebody else
        tcp(source=there, destination=here, source_port=9, destination_port=port),
        icmp_echo(source=there, destination=here),
    ]
    passed = batch_of([others[0], wanted[0], *others[1:4], wanted[1], *others[4:]])
    assert list(map(bytes, ourselves.select(passed))) == wanted


def test_a_connected_socket_owns_its_connection_only(stack: ExitStack, ourselves: Process) -> None:
    end = stack.enter_context(socket.socket(V4, socket.SOCK_DGRAM))
    other = stack.enter_context(socket.socket(V4, socket.SOCK_DGRAM))
    other.bind(("127.0.0.2", 0))
    end.connect(other.getsockname())
    port, remote = end.getsockname()[1], other.getsockname()[1]
    wanted = [
        between("127.0.0.1", port, "127.0.0.2", remote),
        between("127.0.0.2", remote, "127.0.0.1", port),
    ]
    not_connected = between("127.0.0.3", remote, "127.0.0.1", port)
    assert list(map(bytes, ourselves.select(batch_of([not_connected, *wanted])))) == wanted


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="sockets of IPv6 take no IPv4 here")
def test_a_socket_of_ipv6_that_is_connected_over_ipv4(stack: ExitStack, ourselves: Process) -> None:
    end = stack.enter_context(socket.socket(V6, socket.SOCK_DGRAM))
    end.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    end.connect(("::ffff:127.0.0.2", 9))
    ours = between("127.0.0.1", end.getsockname()[1], "127.0.0.2", 9)
    assert list(map(bytes, ourselves.select(batch_of([ours])))) == [ours]


def test_tcp_before_and_after_it_is_accepted(stack: ExitStack, ourselves: Process) -> None:
    port = bound(stack, V4, "127.0.0.1", socket.SOCK_STREAM)
    begin = tcp(source=ELSEWHERE[V4], source_port=40000, destination_port=port)
    client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
    local = client.getsockname()[1]
    segments = [
        tcp(source_port=local, destination_port=port),
        tcp(source_port=port, destination_port=local),
    ]
    foreign = tcp(source_port=free_port(), destination_port=free_port())
    passed = batch_of([begin, foreign, *segments])
    assert list(map(bytes, ourselves.select(passed))) == [begin, *segments]


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="sockets of IPv6 take no IPv4 here")
def test_a_socket_of_both_families_owns_both(stack: ExitStack, ourselves: Process) -> None:
    with socket.create_server(("", 0), family=V6, dualstack_ipv6=True) as server:
        port = server.getsockname()[1]
        with (
            socket.create_connection(("127.0.0.1", port)) as client,
            server.accept()[0],
        ):
            local = client.getsockname()[1]
            segments = [
                tcp(source_port=local, destination_port=port),
                tcp(source="::1", destination="::1", destination_port=port),
            ]
            assert list(map(bytes, ourselves.select(batch_of(segments)))) == segments


def test_multicast_and_broadcast_are_for_whoever_is_bound(
    stack: ExitStack, ourselves: Process
) -> None:
    ports = {family: bound(stack, family, ANY[family]) for family in (V4, V6)}
    wanted = [
        between(ELSEWHERE[family], 9, group, ports[family])
        for family, group in (
            (V4, "224.0.0.251"),
            (V4, "255.255.255.255"),
            (V4, "127.255.255.255"),
            (V6, "ff02::fb"),
        )
    ]
    assert list(map(bytes, ourselves.select(batch_of(wanted)))) == wanted


def test_a_closed_socket_is_remembered_for_a_while(
    ourselves: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(V4, socket.SOCK_DGRAM) as end:
        end.bind(("127.0.0.1", 0))
        last = batch_of([between(ELSEWHERE[V4], 9, "127.0.0.1", end.getsockname()[1])])
        assert len(ourselves.select(last)) == 1
    ourselves._refresh()
    assert len(ourselves.select(last)) == 1
    now = process.time.monotonic()
    monkeypatch.setattr(process.time, "monotonic", lambda: now + 11)
    assert len(ourselves.select(last)) == 0


def test_what_is_selected_keeps_its_time_direction_and_length(
    stack: ExitStack, ourselves: Process
) -> None:
    port = bound(stack, V4, "127.0.0.1")
    ours = between(ELSEWHERE[V4], 9, "127.0.0.1", port)
    passed = batch_of(
        [(ours, 111, 1, 1500), (between(ELSEWHERE[V4], 9, "127.0.0.1", 1), 222, 1), (ours, 333, 2)]
    )
    facts = [
        (each.timestamp_ns, each.direction, each.original_length, bytes(each.data))
        for each in ourselves.select(passed).datagrams()
    ]
    assert facts == [(111, 1, 1500, ours), (333, 2, len(ours), ours)]


def test_what_has_no_ports_is_nobodys(stack: ExitStack, ourselves: Process) -> None:
    port = bound(stack, V4, ANY[V4])
    ports = between(ELSEWHERE[V4], 9, "127.0.0.1", port)[20:]
    later = ipv4(ports, UDP, source=ELSEWHERE[V4], fragment=1)
    assert len(ourselves.select(batch_of([later, later[:19]]))) == 0
    assert len(ourselves.select(batch_of([]))) == 0


def test_a_number_that_no_process_has() -> None:
    with pytest.raises(CommandError, match="there is no process 4194305"):
        Process("4194305")


def test_a_name_that_no_process_has_yet(ourselves: Process) -> None:
    assert not Process("winsockctl-nobody").running


def test_without_psutil_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "psutil", None)
    with pytest.raises(CommandError, match=r"pip install 'winsockctl\[cli\]'"):
        Process("1")
