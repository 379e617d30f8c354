"""SIO_RCVALL between several hosts, and at the limits that Linux sets: promise by promise."""

import json
import queue
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datagrams as build
import network
import pytest
from conftest import LIVE_BACKENDS, FailsWith, OpenSocket
from network import (
    BROADCAST,
    ETH_P_ARP,
    ETH_P_IP,
    ETH_P_IPV6,
    PATIENCE,
    Port,
    ethernet,
    marked,
    payloads,
    read_until,
    read_until_payload,
    talk,
    udp_payload,
)
from receiving import directions, drain, remaining, set_mode

from winsockctl import Capture, Direction, RawSocket, RcvAll

pytestmark = pytest.mark.linux

RCVALL = "WSAIoctl(SIO_RCVALL)"
UDP_PORT = 47808
FAMILIES = (
    pytest.param(socket.AF_INET, id="ipv4"),
    pytest.param(socket.AF_INET6, id="ipv6"),
)


# ---------------------------------------------------------------------------------------------
# R3: bound to one interface


def test_r3_rejects_an_interface_that_is_down(
    pair: tuple[Port, Port], live_backend: str, fails_with: FailsWith
) -> None:
    local, _ = pair
    local.host.ip(f"link set {local.name} down")
    with RawSocket(socket.AF_UNSPEC, backend=live_backend) as raw:
        with fails_with("WSAENETDOWN", "bind"):
            raw.bind(local.name)
        with fails_with("WSAEINVAL", RCVALL):
            set_mode(raw, RcvAll.ON)


# ---------------------------------------------------------------------------------------------
# R4, R5: promiscuous or not


@pytest.mark.parametrize("family", FAMILIES)
def test_r4_on_delivers_frames_for_a_third_station(
    bridge: tuple[Port, Port, Port], open_socket: OpenSocket, live_backend: str, family: int
) -> None:
    local, other, third = bridge
    raw = open_socket(live_backend, local.name, mode=RcvAll.ON)
    assert local.promiscuity() == 1
    foreign, own = marked("third station", 10), marked("own station", 10)
    talk(other, third, foreign, family)
    talk(other, local, own, family)
    delivered = read_until_payload(raw, own[-1])
    assert [p for p in payloads(delivered) if p in foreign + own] == foreign + own
    assert directions(delivered, foreign) == [Direction.OTHER] * 10
    assert directions(delivered, own) == [Direction.INCOMING] * 10


@pytest.mark.parametrize("family", FAMILIES)
def test_r5_iplevel_does_not_deliver_frames_for_a_third_station(
    bridge: tuple[Port, Port, Port], open_socket: OpenSocket, live_backend: str, family: int
) -> None:
    local, other, third = bridge
    raw = open_socket(live_backend, local.name, mode=RcvAll.IPLEVEL)
    assert local.promiscuity() == 0
    # Beside a promiscuous capture the frames for the third station do come to this host.
    witness = open_socket(live_backend, local.name, mode=RcvAll.ON)
    foreign, own = marked("third station", 10), marked("own station", 10)
    talk(other, third, foreign, family)
    talk(other, local, own, family)
    assert set(foreign) < set(payloads(read_until_payload(witness, own[-1])))
    delivered = payloads(read_until_payload(raw, own[-1]))
    assert [p for p in delivered if p in foreign + own] == own


def test_r5_iplevel_delivers_multicast_and_broadcast(
    bridge: tuple[Port, Port, Port], open_socket: OpenSocket, live_backend: str
) -> None:
    local, other, _ = bridge
    raw = open_socket(live_backend, local.name)
    group, group6 = "239.1.2.3", "ff02::4711"
    with other.udp() as source, other.udp(socket.AF_INET6) as source6, local.host:
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver6 = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        with receiver, receiver6:
            receiver.setsockopt(
                socket.IPPROTO_IP,
                socket.IP_ADD_MEMBERSHIP,
                socket.inet_aton(group) + socket.inet_aton(local.ipv4),
            )
            receiver6.setsockopt(
                socket.IPPROTO_IPV6,
                socket.IPV6_JOIN_GROUP,
                socket.inet_pton(socket.AF_INET6, group6) + struct.pack("@I", local.index),
            )
            source.setsockopt(
                socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(other.ipv4)
            )
            source.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            source.sendto(b"winsockctl multicast", (group, UDP_PORT))
            source.sendto(b"winsockctl subnet broadcast", ("192.0.2.255", UDP_PORT))
            source6.sendto(b"winsockctl multicast 6", (group6, UDP_PORT, 0, other.index))
            other.send_frames(
                [
                    ethernet(
                        BROADCAST,
                        other.mac,
                        ETH_P_IP,
                        build.udp(
                            b"winsockctl broadcast",
                            source=other.ipv4,
                            destination="255.255.255.255",
                        ),
                    )
                ]
            )
            delivered = read_until_payload(raw, b"winsockctl broadcast")
    wanted = [
        b"winsockctl multicast",
        b"winsockctl subnet broadcast",
        b"winsockctl multicast 6",
        b"winsockctl broadcast",
    ]
    assert [p for p in payloads(delivered) if p in wanted] == wanted
    assert set(directions(delivered, wanted)) == {Direction.INCOMING}


def test_r5_iplevel_delivers_any_ip_address_in_a_frame_for_this_station(
    pair: tuple[Port, Port], open_socket: OpenSocket, live_backend: str
) -> None:
    local, neighbour = pair
    raw = open_socket(live_backend, local.name)
    foreign = [
        build.udp(b"winsockctl foreign", source="203.0.113.7", destination="203.0.113.8"),
        build.udp(
            b"winsockctl foreign 6", source="2001:db8:ffff::7", destination="2001:db8:ffff::8"
        ),
    ]
    neighbour.send_datagrams(local, foreign)
    delivered = read_until_payload(raw, b"winsockctl foreign 6")
    assert [bytes(d.data) for d in delivered if bytes(d.data) in foreign] == foreign


def test_r5_from_on_to_iplevel_drops_promiscuous_mode(
    bridge: tuple[Port, Port, Port], open_socket: OpenSocket, live_backend: str
) -> None:
    local, other, third = bridge
    raw = open_socket(live_backend, local.name, mode=RcvAll.ON)
    set_mode(raw, RcvAll.IPLEVEL)
    assert local.promiscuity() == 0
    talk(other, third, marked("third station", 1), socket.AF_INET)
    talk(other, local, marked("own station", 1), socket.AF_INET)
    delivered = payloads(read_until_payload(raw, marked("own station", 1)[0]))
    assert marked("third station", 1)[0] not in delivered


# ---------------------------------------------------------------------------------------------
# R8: IP and nothing else


def other_frames(source: Port, destination: bytes) -> list[bytes]:
    """Frames of everything but IP: ARP, a local experiment, IPX, NetBEUI and CDP over LLC."""
    arp = struct.pack("!HHBBH", 1, ETH_P_IP, 6, 4, 1) + source.mac + bytes(16)
    # Bytes that would pass for a datagram, if somebody looked at them alone.
    lookalike = build.udp(b"winsockctl not IP", source=source.ipv4, destination=source.ipv4)
    return [
        ethernet(destination, source.mac, ethertype, payload.ljust(46, b"\0"))
        for ethertype, payload in (
            (ETH_P_ARP, arp),
            (0x88B5, lookalike),
            (0x8137, lookalike),
            # Below 0x600 it is a length, and LLC follows (IEEE 802.3).
            (46, b"\xf0\xf0\x03" + lookalike),
            (46, b"\xaa\xaa\x03\x00\x00\x0c\x20\x00" + lookalike),
        )
    ]


def test_r8_no_frame_that_is_not_ip_is_delivered(
    pair: tuple[Port, Port], open_socket: OpenSocket, live_backend: str
) -> None:
    local, neighbour = pair
    raw = open_socket(live_backend, local.name, mode=RcvAll.ON)
    for destination in (local.mac, BROADCAST):
        neighbour.send_frames(other_frames(neighbour, destination))
    local.send_frames(other_frames(local, neighbour.mac))
    # Real ARP in both directions: a host asks anew after it forgot its neighbour.
    local.host.ip(f"neigh del {neighbour.ipv4} dev {local.name}")
    talk(local, neighbour, marked("asked by ARP", 1), socket.AF_INET)
    talk(neighbour, local, marked("r8", 1), socket.AF_INET)
    delivered = read_until_payload(raw, marked("r8", 1)[0])
    assert [d for d in delivered if b"winsockctl not IP" in bytes(d.data)] == []
    assert {d.data[0] >> 4 for d in delivered} <= {4, 6}
    assert {d.family for d in delivered} <= {socket.AF_INET, socket.AF_INET6}


def test_r8_what_only_claims_to_be_ip_is_not_delivered(
    pair: tuple[Port, Port], open_socket: OpenSocket, live_backend: str
) -> None:
    local, neighbour = pair
    raw = open_socket(live_backend, local.name, mode=RcvAll.ON)
    neighbour.send_frames(
        ethernet(local.mac, neighbour.mac, ethertype, payload)
        for ethertype in (ETH_P_IP, ETH_P_IPV6)
        for payload in (
            b"",
            b"\x45",
            b"\x45" + bytes(18),
            b"\x60" + bytes(38),
            b"\x05" + bytes(60),
            b"\x55" + bytes(60),
            b"\xff" * 1500,
        )
    )
    talk(neighbour, local, marked("r8", 1), socket.AF_INET)
    delivered = read_until_payload(raw, marked("r8", 1)[0])
    versions = {socket.AF_INET: 4, socket.AF_INET6: 6}
    smallest = {socket.AF_INET: 20, socket.AF_INET6: 40}
    assert [
        bytes(d.data)
        for d in delivered
        if len(d.data) < smallest[d.family] or d.data[0] >> 4 != versions[d.family]
    ] == []


def test_r8_a_header_with_wrong_lengths_does_no_harm(
    pair: tuple[Port, Port], open_socket: OpenSocket, live_backend: str
) -> None:
    local, neighbour = pair
    raw = open_socket(live_backend, local.name, mode=RcvAll.ON)
    wrong = [
        head + bytes(size - len(head))
        for size in (40, 60, 1500)
        for head in (
            b"\x45\x00\xff\xff",  # longer than the frame
            b"\x45\x00\x00\x00",  # as under segmentation offload
            b"\x45\x00\x00\x13",  # shorter than its header
            b"\x40\x00\x00\x28",
            b"\x4f\x00\x00\x28",
            b"\x60\x00\x00\x00\xff\xff",
            b"\x60\x00\x00\x00\x00\x00\x00",  # as a jumbogram (RFC 2675)
        )
    ]
    neighbour.send_datagrams(local, wrong)
    talk(neighbour, local, marked("r8", 1), socket.AF_INET)
    delivered = [
        d for d in read_until_payload(raw, marked("r8", 1)[0]) if bytes(d.data[4:12]) == bytes(8)
    ]
    for each in delivered:
        assert each.length == len(each.data) == each.original_length
        assert any(datagram.startswith(bytes(each.data)) for datagram in wrong)


# ---------------------------------------------------------------------------------------------
# R9: the bound interface and no other


@pytest.mark.parametrize("family", FAMILIES)
def test_r9_forwarded_traffic_is_seen_on_its_way_in_and_out(
    router: tuple[Port, Port, Port, Port], open_socket: OpenSocket, live_backend: str, family: int
) -> None:
    left, inner_left, inner_right, right = router
    coming = open_socket(live_backend, inner_left.name)
    leaving = open_socket(live_backend, inner_right.name)
    sent = marked("forwarded", 20)
    talk(left, right, sent, family)
    for raw, port, direction in (
        (coming, inner_left, Direction.INCOMING),
        (leaving, inner_right, Direction.OUTGOING),
    ):
        delivered = [d for d in read_until_payload(raw, sent[-1]) if udp_payload(d.data) in sent]
        assert payloads(delivered) == sent
        assert {d.direction for d in delivered} == {direction}
        assert {d.interface_index for d in delivered} == {port.index}


@pytest.mark.parametrize("mode", [RcvAll.ON, RcvAll.IPLEVEL])
def test_r9_nothing_of_another_interface_is_delivered(
    router: tuple[Port, Port, Port, Port],
    open_socket: OpenSocket,
    live_backend: str,
    mode: RcvAll,
) -> None:
    left, inner_left, inner_right, right = router
    raw = open_socket(live_backend, inner_right.name, mode=mode)
    elsewhere = marked("elsewhere", 5)
    talk(left, inner_left, elsewhere, socket.AF_INET)
    talk(inner_left, left, elsewhere, socket.AF_INET6)
    lo = Port(inner_left.host, "lo", 1, bytes(6), "127.0.0.1", "::1")
    talk(lo, lo, elsewhere, socket.AF_INET)
    talk(right, inner_right, marked("here", 1), socket.AF_INET)
    delivered = payloads(read_until_payload(raw, marked("here", 1)[0]))
    assert not set(delivered) & set(elsewhere)


# ---------------------------------------------------------------------------------------------
# R10: what this machine sends


@pytest.mark.parametrize("family", FAMILIES)
def test_r10_outgoing_is_delivered_once(
    pair: tuple[Port, Port], open_socket: OpenSocket, live_backend: str, family: int
) -> None:
    local, neighbour = pair
    raw = open_socket(live_backend, local.name)
    sent, last = marked("outgoing", 50), marked("last", 1)
    talk(local, neighbour, sent, family)
    talk(neighbour, local, last, family)
    delivered = read_until_payload(raw, last[0])
    assert [p for p in payloads(delivered) if p in sent] == sent
    assert set(directions(delivered, sent)) == {Direction.OUTGOING}


# ---------------------------------------------------------------------------------------------
# R11: whole datagrams, header first


@pytest.mark.parametrize("snaplen", [None, 1000, 60, 28, 20])
def test_r11_padding_of_the_frame_is_cut_off(
    pair: tuple[Port, Port], open_socket: OpenSocket, live_backend: str, snaplen: int | None
) -> None:
    local, neighbour = pair
    raw = open_socket(live_backend, local.name, snaplen=snaplen)
    # An Ethernet frame carries at least 46 bytes.
    short = [
        build.udp(b"", source=neighbour.ipv4, destination=local.ipv4),
        build.udp(b"four", source=neighbour.ipv4, destination=local.ipv4),
        build.ipv6(b"", 59, source=neighbour.ipv6, destination=local.ipv6),
    ]
    neighbour.send_frames(
        ethernet(local.mac, neighbour.mac, network.ethertype_of(datagram), datagram).ljust(
            60, b"\xaa"
        )
        for datagram in short
    )
    wanted = [(datagram[:snaplen], len(datagram)) for datagram in short]
    delivered = read_until(raw, lambda d: bytes(d.data) == wanted[-1][0])
    starts = {data[:20] for data, _ in wanted}
    assert [
        (bytes(d.data), d.original_length) for d in delivered if bytes(d.data[:20]) in starts
    ] == wanted


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("direction", [Direction.INCOMING, Direction.OUTGOING])
def test_r11_fragments_are_delivered_one_by_one(
    pair: tuple[Port, Port],
    open_socket: OpenSocket,
    live_backend: str,
    direction: Direction,
    family: int,
) -> None:
    local, neighbour = pair
    raw = open_socket(live_backend, local.name, family=family)
    sender, receiver = (neighbour, local) if direction is Direction.INCOMING else (local, neighbour)
    payload = bytes(number % 251 for number in range(4000))
    talk(sender, receiver, [payload, b"winsockctl last"], family)
    delivered = read_until_payload(raw, b"winsockctl last")
    fragments = [fragment for d in delivered if (fragment := fragment_of(d.data)) is not None]
    assert {d.direction for d in delivered if fragment_of(d.data)} == {direction}
    assert [more for _, more, _ in fragments] == [True, True, False]
    whole = bytearray(8 + len(payload))
    for offset, _, data in fragments:
        whole[offset : offset + len(data)] = data
    assert whole[8:] == payload
    assert sum(len(data) for _, _, data in fragments) == len(whole)


def fragment_of(datagram: memoryview) -> tuple[int, bool, bytes] | None:
    """Offset, whether more follow, and data of an IPv4 or IPv6 fragment."""
    data = bytes(datagram)
    if data[0] >> 4 == 4:
        field = struct.unpack_from("!H", data, 6)[0]
        offset, more, start = (field & 0x1FFF) * 8, bool(field & 0x2000), (data[0] & 15) * 4
        return (offset, more, data[start:]) if offset or more else None
    if data[6] != socket.IPPROTO_FRAGMENT:
        return None
    field = struct.unpack_from("!H", data, 42)[0]
    return field & 0xFFF8, bool(field & 1), data[48:]


# ---------------------------------------------------------------------------------------------
# Programs of their own: without a privilege, at a limit, interrupted

# What a child program begins with.
CHILD = """
import json, os, resource, socket, struct, sys
from winsockctl import Capture, ControlCode, RawSocket, RcvAll, WinsockError

def failure(action):
    try:
        action()
    except WinsockError as error:
        return {
            "code": error.code, "symbol": error.symbol, "call": error.call, "hint": error.hint,
            "text": error.strerror, "types": [kind.__name__ for kind in type(error).__mro__],
        }

def capture_on(interface, backend):
    raw = RawSocket(socket.AF_UNSPEC, backend=backend)
    try:
        raw.bind(interface)
        raw.ioctl(ControlCode.SIO_RCVALL, struct.pack("=I", RcvAll.ON))
    except BaseException:
        raw.close()
        raise
    return raw
"""


def run_child(program: str, *arguments: str, before: Callable[[], None] | None = None) -> Any:
    """What a Python program of its own prints as JSON; `before` runs in its process first."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD + program, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=before,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("backend", [*LIVE_BACKENDS, None])
def test_r12_without_the_privilege_the_error_names_the_remedy(
    pair: tuple[Port, Port], backend: str | None
) -> None:
    error = run_child(
        """
backend = json.loads(sys.argv[1])
print(json.dumps([
    failure(lambda: RawSocket(socket.AF_INET, backend=backend)),
    failure(lambda: RawSocket(socket.AF_INET6, backend=backend)),
    failure(lambda: Capture("eth0")),
]))
""",
        json.dumps(backend),
        before=lambda: network.drop_capabilities(network.CAP_NET_RAW, network.CAP_NET_ADMIN),
    )
    assert len(error) == 3
    for each in error:
        assert (each["code"], each["symbol"], each["call"]) == (10013, "WSAEACCES", "socket")
        assert {"WinsockError", "PermissionError", "OSError"} < set(each["types"])
        assert "CAP_NET_RAW" in each["hint"]
        assert "sudo" in each["hint"]
        assert each["text"] == f"socket failed with WSAEACCES (10013): {each['hint']}"


@pytest.mark.parametrize("backend", [*LIVE_BACKENDS, None])
def test_r12_promiscuous_mode_needs_no_more_than_the_one_capability(
    pair: tuple[Port, Port], backend: str | None
) -> None:
    outcome = run_child(
        """
raw = capture_on("eth0", json.loads(sys.argv[1]))
print(json.dumps([raw.mode, raw.backend]))
""",
        json.dumps(backend),
        before=lambda: network.drop_capabilities(network.CAP_NET_ADMIN),
    )
    assert outcome == [RcvAll.ON, backend or "packet-ring"]


@pytest.mark.parametrize("backend", [*LIVE_BACKENDS, "replay", "Capture"])
def test_descriptor_limit_is_a_named_error_and_leaks_nothing(loopback: Port, backend: str) -> None:
    outcome = run_child(
        """
backend = sys.argv[1]
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)

def limit(free):
    # Every number below the limit is in use, but for the last free ones.
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, most))
    used = []
    while True:
        try:
            used.append(os.dup(0))
        except OSError:
            break
    for descriptor in used[len(used) - free:]:
        os.close(descriptor)
    return used[:len(used) - free]

def attempt():
    if backend == "replay":
        raw = RawSocket.replay([])
    elif backend == "Capture":
        raw = Capture("lo")
    else:
        raw = capture_on("lo", backend)
    raw.close()

def count_free():
    free = []
    while True:
        try:
            free.append(os.dup(0))
        except OSError:
            break
    for descriptor in free:
        os.close(descriptor)
    return len(free)

failures, left = [], []
for free in range(20):
    used = limit(free)
    error = failure(attempt)
    left.append(count_free() - free)
    for descriptor in used:
        os.close(descriptor)
    if error is None:
        break
    failures.append(error)
print(json.dumps([error is None, failures, left]))
""",
        backend,
    )
    succeeded, failures, left = outcome
    assert succeeded
    assert failures
    assert set(left) == {0}
    for each in failures:
        assert (each["code"], each["symbol"]) == (10024, "WSAEMFILE")
        assert each["text"].startswith(f"{each['call']} failed with WSAEMFILE (10024)")
        assert "ulimit -n" in each["hint"]
    if backend != "replay":
        assert failures[0]["call"] == "socket"


# No machine has a pebibyte to lock in memory.
REFUSED = 2**50


def test_ring_memory_refused_falls_back_to_messages(
    pair: tuple[Port, Port], open_socket: OpenSocket
) -> None:
    local, neighbour = pair
    with RawSocket(socket.AF_UNSPEC, buffer_size=REFUSED) as raw:
        assert raw.backend == "packet-message"
        assert 0 < raw.buffer_size < REFUSED
        raw.bind(local.name)
        set_mode(raw, RcvAll.IPLEVEL)
        talk(neighbour, local, marked("fallback", 3), socket.AF_INET)
        read_until_payload(raw, marked("fallback", 3)[-1])


def test_ring_memory_refused_is_a_named_error_where_the_ring_is_insisted_on(
    pair: tuple[Port, Port], fails_with: FailsWith
) -> None:
    with fails_with("WSAENOBUFS", "setsockopt(PACKET_RX_RING)") as caught:
        RawSocket(socket.AF_UNSPEC, backend="packet-ring", buffer_size=REFUSED)
    assert "buffer_size" in caught.value.hint


def test_ring_that_cannot_be_mapped(loopback: Port) -> None:
    automatic, insisted, descriptors = run_child(
        """
pages = int(open("/proc/self/statm").read().split()[0])
room = pages * resource.getpagesize() + 48 * 2**20  # less than the ring of 64 MiB
resource.setrlimit(resource.RLIMIT_AS, (room, room))
before = os.listdir("/proc/self/fd")
insisted = failure(lambda: RawSocket(socket.AF_UNSPEC, backend="packet-ring"))
after = os.listdir("/proc/self/fd")
raw = capture_on("lo", None)
print(json.dumps([raw.backend, insisted, [before, after]]))
"""
    )
    assert automatic == "packet-message"
    assert (insisted["code"], insisted["symbol"]) == (10055, "WSAENOBUFS")
    assert insisted["call"] == "mmap"
    assert "buffer_size" in insisted["hint"]
    assert descriptors[0] == descriptors[1]


# ---------------------------------------------------------------------------------------------
# R13: from one interface to another


@pytest.mark.parametrize("mode", [RcvAll.ON, RcvAll.IPLEVEL])
def test_r13_the_first_capture_goes_on_where_it_was(
    pair: tuple[Port, Port],
    open_socket: OpenSocket,
    live_backend: str,
    fails_with: FailsWith,
    mode: RcvAll,
) -> None:
    local, neighbour = pair
    lo = Port(local.host, "lo", 1, bytes(6), "127.0.0.1", "::1")
    raw = open_socket(live_backend, local.name, mode=mode)
    for interface in ("lo", "127.0.0.1", 1, local.name):
        with fails_with("WSAEINVAL", "bind"):
            raw.bind(interface)
    assert local.promiscuity() == (1 if mode is RcvAll.ON else 0)
    talk(lo, lo, marked("loopback", 3), socket.AF_INET)
    talk(neighbour, local, marked("first", 3), socket.AF_INET)
    delivered = payloads(read_until_payload(raw, marked("first", 3)[-1]))
    assert not set(delivered) & set(marked("loopback", 3))


def test_r13_off_then_bind_then_on_moves_the_capture(
    pair: tuple[Port, Port], open_socket: OpenSocket, live_backend: str
) -> None:
    local, neighbour = pair
    lo = Port(local.host, "lo", 1, bytes(6), "127.0.0.1", "::1")
    raw = open_socket(live_backend, local.name, mode=RcvAll.ON)
    for port, left_behind in ((lo, local), (local, lo)):
        set_mode(raw, RcvAll.OFF)
        raw.bind(port.name)
        set_mode(raw, RcvAll.ON)
        assert (port.promiscuity(), left_behind.promiscuity()) == (1, 0)
        words = {port.name: marked(f"on {port.name}", 3) for port in (lo, local)}
        talk(lo, lo, words["lo"], socket.AF_INET)
        talk(neighbour, local, words["eth0"], socket.AF_INET)
        here = words[port.name]
        last = marked("last", 1)
        talk(*((lo, lo) if port is lo else (neighbour, local)), last, socket.AF_INET)
        delivered = payloads(read_until_payload(raw, last[0]))
        assert [p for p in delivered if p in words["lo"] + words["eth0"]] == here


# ---------------------------------------------------------------------------------------------
# R14: the interface goes away

GOING_AWAY = ("link del eth0", "link set eth0 down")


@pytest.mark.parametrize("command", GOING_AWAY)
@pytest.mark.parametrize("latency", [0.01, 0.3])
def test_r14_earlier_datagrams_then_a_named_error(
    pair: tuple[Port, Port],
    open_socket: OpenSocket,
    live_backend: str,
    fails_with: FailsWith,
    command: str,
    latency: float,
) -> None:
    local, neighbour = pair
    raw = open_socket(live_backend, local.name, mode=RcvAll.ON, latency=latency)
    talk(neighbour, local, marked("earlier", 30), socket.AF_INET)
    local.host.ip(command)
    delivered = payloads(read_until_payload(raw, marked("earlier", 30)[-1]))
    assert [p for p in delivered if p in marked("earlier", 30)] == marked("earlier", 30)
    for _ in range(3):
        with fails_with("WSAENETDOWN", "receive") as caught:
            drain(raw)
        assert "interface" in caught.value.hint


@pytest.mark.parametrize("command", GOING_AWAY)
def test_r14_a_thread_that_waits_is_told(
    pair: tuple[Port, Port],
    open_socket: OpenSocket,
    live_backend: str,
    fails_with: FailsWith,
    command: str,
) -> None:
    local, _ = pair
    raw = open_socket(live_backend, local.name, mode=RcvAll.ON)
    with ThreadPoolExecutor(1) as executor:
        waiting = wait_in_threads(executor, 1, lambda: drain(raw))
        local.host.ip(command)
        with fails_with("WSAENETDOWN", "receive"):
            waiting[0].result(timeout=PATIENCE)


@pytest.mark.parametrize("command", GOING_AWAY)
def test_r14_the_socket_can_be_turned_off_and_closed_afterwards(
    pair: tuple[Port, Port],
    open_socket: OpenSocket,
    live_backend: str,
    fails_with: FailsWith,
    command: str,
) -> None:
    local, _ = pair
    raw = open_socket(live_backend, local.name, mode=RcvAll.ON)
    local.host.ip(command)
    with fails_with("WSAENETDOWN", "receive"):
        drain(raw)
    set_mode(raw, RcvAll.OFF)
    assert raw.mode == RcvAll.OFF
    raw.close()
    assert raw.closed


@pytest.mark.parametrize("command", GOING_AWAY)
def test_r14_the_socket_can_move_to_another_interface(
    pair: tuple[Port, Port],
    open_socket: OpenSocket,
    live_backend: str,
    fails_with: FailsWith,
    command: str,
) -> None:
    local, _ = pair
    lo = Port(local.host, "lo", 1, bytes(6), "127.0.0.1", "::1")
    raw = open_socket(live_backend, local.name, mode=RcvAll.ON)
    local.host.ip(command)
    with fails_with("WSAENETDOWN", "receive"):
        drain(raw)
    set_mode(raw, RcvAll.OFF)
    raw.bind("lo")
    set_mode(raw, RcvAll.ON)
    for word in ("moved", "and stayed"):
        talk(lo, lo, marked(word, 3), socket.AF_INET)
        delivered = payloads(read_until_payload(raw, marked(word, 3)[-1]))
        assert [p for p in delivered if p in marked(word, 3)] == marked(word, 3)
        # The end of the first interface is no news any more.
        remaining(raw)


def test_r14_the_iteration_over_a_capture_ends_with_the_error(
    pair: tuple[Port, Port], fails_with: FailsWith
) -> None:
    local, neighbour = pair
    seen = []
    with Capture(local.name) as capture:
        talk(neighbour, local, marked("earlier", 3), socket.AF_INET)
        local.host.ip(f"link del {local.name}")
        with fails_with("WSAENETDOWN", "receive"):
            for view in capture:
                seen.append(udp_payload(view))
    assert [p for p in seen if p in marked("earlier", 3)] == marked("earlier", 3)


# ---------------------------------------------------------------------------------------------
# R15: close


def blocked(task: Path) -> tuple[bool, str]:
    """Whether a thread sleeps, and how often it was ever taken off a processor."""
    status = dict(
        line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line
    )
    switches = status["voluntary_ctxt_switches"], status["nonvoluntary_ctxt_switches"]
    return status["State"].startswith("S"), "+".join(switches)


def wait_until_blocked(*tasks: Path) -> None:
    """Until threads wait in the system: a thread that waits for Python's lock stirs on and on."""
    deadline = time.monotonic() + PATIENCE
    before: list[tuple[bool, str]] = []
    while time.monotonic() < deadline:
        now = [blocked(task) for task in tasks]
        if now == before and all(asleep for asleep, _ in now):
            return
        before = now
        time.sleep(0.03)
    raise AssertionError("the threads do not wait")


def wait_in_threads(
    executor: ThreadPoolExecutor, count: int, action: Callable[[], object]
) -> list[Any]:
    """Run an action in threads and come back when all of them wait in it."""
    numbers: queue.SimpleQueue[int] = queue.SimpleQueue()

    def run() -> None:
        numbers.put(threading.get_native_id())
        action()

    futures = [executor.submit(run) for _ in range(count)]
    wait_until_blocked(
        *(Path("/proc/self/task", str(numbers.get(timeout=PATIENCE))) for _ in futures)
    )
    return futures


def test_r15_close_ends_an_iteration_in_another_thread(loopback: Port) -> None:
    capture = Capture(loopback.name)
    with ThreadPoolExecutor(1) as executor:
        (waiting,) = wait_in_threads(executor, 1, lambda: list(capture))
        capture.close()
        assert waiting.result(timeout=PATIENCE) is None


@pytest.mark.parametrize("how", [*LIVE_BACKENDS, "replay", "iteration"])
def test_r15_ctrl_c_ends_a_wait_at_once(loopback: Port, how: str) -> None:
    program = """
import signal
signal.signal(signal.SIGUSR1, lambda *_: print("handled", flush=True))
signal.signal(signal.SIGINT, signal.default_int_handler)
how = sys.argv[1]
if how == "iteration":
    wait = lambda: next(iter(Capture("lo")))
else:
    if how == "replay":
        raw = RawSocket.replay([], wait=True)
        raw.bind("lo")
        raw.ioctl(ControlCode.SIO_RCVALL, struct.pack("=I", RcvAll.ON))
    else:
        raw = capture_on("lo", how)
    wait = raw.receive
print("waiting", flush=True)
try:
    wait()
except KeyboardInterrupt:
    print("interrupted", flush=True)
if how != "iteration":
    print(len(raw.receive(0)), flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD + program, how], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "waiting\n"
        wait_until_blocked(Path("/proc", str(child.pid)))
        # A signal whose handler returns does not end the wait (PEP 475).
        child.send_signal(signal.SIGUSR1)
        assert child.stdout.readline() == "handled\n"
        wait_until_blocked(Path("/proc", str(child.pid)))
        child.send_signal(signal.SIGINT)
        rest, _ = child.communicate(timeout=PATIENCE)
        assert rest == ("interrupted\n" if how == "iteration" else "interrupted\n0\n")
        assert child.returncode == 0
