"""``fanout``: captures on one interface that share its load by flow. packet(7), PACKET_FANOUT"""

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import datagrams as build
import pytest
from conftest import LIVE_BACKENDS, FailsWith, OpenSocket
from network import PATIENCE, Port, payloads
from receiving import remaining, set_mode

from winsockctl import Capture, Datagram, RawSocket, RcvAll

pytestmark = pytest.mark.linux

GROUP = 4711
FLOWS = 64
EACH_WAY = 3  # datagrams of each flow


@pytest.fixture(params=LIVE_BACKENDS)
def members(
    request: pytest.FixtureRequest, pair: tuple[Port, Port], open_socket: OpenSocket
) -> list[RawSocket]:
    """Three captures of one group on the left end of a cable."""
    return [open_socket(request.param, pair[0].name, fanout=GROUP) for _ in range(3)]


def label(flow: int, number: int) -> bytes:
    return f"flow {flow} datagram {number}".encode()


def exchange(left: Port, right: Port, family: int = socket.AF_INET) -> list[bytes]:
    """Datagrams of many flows, each both ways; what they carry."""
    sent = []
    with ExitStack() as stack:
        server = stack.enter_context(right.udp(family))
        for flow in range(FLOWS):
            client = stack.enter_context(left.udp(family))
            for number in range(EACH_WAY):
                client.sendto(label(flow, number), server.getsockname()[:2])
                payload, address = server.recvfrom(100)
                server.sendto(b"answer to " + payload, address)
                assert client.recv(100) == b"answer to " + payload
                sent += [payload, b"answer to " + payload]
    return sent


def flow_of(payload: bytes) -> bytes:
    return payload.removeprefix(b"answer to ").split(b" datagram")[0]


def carried(datagrams: list[Datagram]) -> list[bytes]:
    return [payload for payload in payloads(datagrams) if b"flow " in payload]


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_members_share_the_load_and_each_flow_stays_with_one(
    pair: tuple[Port, Port], members: list[RawSocket], family: int
) -> None:
    sent = exchange(*pair, family)
    shares = [carried(remaining(member)) for member in members]
    assert Counter(payload for share in shares for payload in share) == Counter(sent)
    # 64 flows leave none of three without a share but once in 10**11 times.
    assert all(shares)
    flows = [{flow_of(payload) for payload in share} for share in shares]
    assert sum(len(flow) for flow in flows) == FLOWS


def test_every_group_sees_everything(pair: tuple[Port, Port], members: list[RawSocket]) -> None:
    with (
        Capture(pair[0].name, fanout=GROUP + 1) as other,
        Capture(pair[0].name) as alone,
    ):
        sent = exchange(*pair)
        for everything in (
            [datagram for member in members for datagram in remaining(member)],
            [datagram for batch in other.batches(0.1) for datagram in batch.datagrams()],
            [datagram for batch in alone.batches(0.1) for datagram in batch.datagrams()],
        ):
            assert Counter(carried(everything)) == Counter(sent)


def test_what_a_member_had_goes_to_the_others_when_it_is_closed(
    pair: tuple[Port, Port], members: list[RawSocket]
) -> None:
    for member in members[1:]:
        member.close()
    sent = exchange(*pair)
    assert Counter(carried(remaining(members[0]))) == Counter(sent)


def test_filter_and_mode_are_each_members_own(
    pair: tuple[Port, Port], members: list[RawSocket]
) -> None:
    set_mode(members[0], RcvAll.OFF)
    sent = exchange(*pair)
    shares = [carried(remaining(member)) for member in members]
    assert shares[0] == []
    assert all(shares[1:])
    assert len(shares[1]) + len(shares[2]) < len(sent)


@contextmanager
def counting(capture: Capture) -> Iterator[list[bytes]]:
    """Read in a thread of its own until the capture is closed."""
    found: list[bytes] = []

    def read() -> None:
        for datagram in capture:
            found.append(bytes(datagram))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield found
    finally:
        capture.close()
        reader.join(PATIENCE)
        assert not reader.is_alive()


def test_captures_in_threads(pair: tuple[Port, Port]) -> None:
    left, right = pair
    passing = [
        build.udp(label(port, 0), source=right.ipv4, destination=left.ipv4, source_port=1024 + port)
        for port in range(2000)
    ]
    captures = [Capture(left.name, fanout=GROUP, latency=0.001) for _ in range(4)]
    with ExitStack() as stack:
        shares = [stack.enter_context(counting(capture)) for capture in captures]
        right.send_datagrams(left, passing)
        deadline = threading.Event()
        for _ in range(int(PATIENCE / 0.05)):
            if sum(map(len, shares)) >= len(passing):
                break
            deadline.wait(0.05)
    found = Counter(datagram for share in shares for datagram in share)
    assert {datagram: found[datagram] for datagram in passing} == dict.fromkeys(passing, 1)
    assert all(shares)
    assert all(capture.statistics.dropped == 0 for capture in captures)


def test_a_group_is_on_one_interface(
    router: tuple[Port, Port, Port, Port], fails_with: FailsWith
) -> None:
    _, left, right, _ = router
    with (
        Capture(left.name, fanout=GROUP),
        fails_with("WSAEINVAL", "setsockopt(PACKET_FANOUT)") as caught,
    ):
        Capture(right.name, fanout=GROUP)
    assert "choose another number" in caught.value.hint


def test_r13_a_member_stays_on_its_interface(
    members: list[RawSocket], fails_with: FailsWith
) -> None:
    set_mode(members[0], RcvAll.OFF)
    with fails_with("WSAEINVAL", "bind") as caught:
        members[0].bind("lo")
    assert "open a new one" in caught.value.hint


def test_r14_an_interface_that_goes_down_ends_every_member(
    pair: tuple[Port, Port], members: list[RawSocket], fails_with: FailsWith
) -> None:
    pair[0].host.ip(f"link set {pair[0].name} down")
    for member in members:
        with fails_with("WSAENETDOWN", "receive"):
            while member.receive(PATIENCE):
                pass
