"""SIO_RCVALL, promise by promise, on the loopback and on the replay; what needs no other host.

On Windows SIO_RCVALL is the system's, or where that has none (Wine) the hook stands in for it.
"""

import gc
import signal
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import datagrams as build
import memory
import pytest
from conftest import BACKENDS, ERROR_CODES, FailsWith, OpenSocket, Tap
from network import (
    PATIENCE,
    Port,
    marked,
    payloads,
    read_until_payload,
    talk,
    udp_payload,
)
from receiving import directions, drain, remaining, send_signal, set_mode, wait_in_receive

from winsockctl import Capture, ControlCode, Datagram, Direction, RawSocket, RcvAll, Reader

RCVALL = "WSAIoctl(SIO_RCVALL)"
FAMILIES = (
    pytest.param(socket.AF_INET, id="ipv4"),
    pytest.param(socket.AF_INET6, id="ipv6"),
)


# ---------------------------------------------------------------------------------------------
# R1: the values


@pytest.mark.parametrize("mode", RcvAll)
def test_r1_accepts_each_value(tap: Tap, mode: RcvAll) -> None:
    with tap.create() as raw:
        raw.bind(tap.interface)
        assert raw.ioctl(ControlCode.SIO_RCVALL, struct.pack("=I", mode)) == b""
        # R6: SOCKETLEVELONLY leaves the socket as it was.
        assert raw.mode == (RcvAll.OFF if mode is RcvAll.SOCKETLEVELONLY else mode)


@pytest.mark.parametrize("value", [4, 0x80000000, 0xFFFFFFFF])
def test_r1_rejects_any_other_value(tap: Tap, fails_with: FailsWith, value: int) -> None:
    raw = tap.open()
    with fails_with("WSAEINVAL", RCVALL):
        raw.ioctl(ControlCode.SIO_RCVALL, struct.pack("=I", value))
    assert raw.mode == RcvAll.IPLEVEL


@pytest.mark.parametrize("size", range(4))
def test_r1_rejects_an_input_shorter_than_the_value(
    tap: Tap, fails_with: FailsWith, size: int
) -> None:
    raw = tap.open()
    with fails_with("WSAEINVAL", RCVALL):
        raw.ioctl(ControlCode.SIO_RCVALL, bytes(size))
    assert raw.mode == RcvAll.IPLEVEL


# ---------------------------------------------------------------------------------------------
# R2: the socket


@pytest.mark.parametrize(
    ("family", "protocol"),
    [
        (socket.AF_INET, None),
        (socket.AF_INET, socket.IPPROTO_IP),
        (socket.AF_INET6, None),
        (socket.AF_INET6, socket.IPPROTO_IPV6),
        # What delivers on Windows in practice.
        (socket.AF_INET6, socket.IPPROTO_IP),
    ],
)
def test_r2_the_protocols_that_carry_everything(
    ends: tuple[Port, Port], live_backend: str, family: int, protocol: int | None
) -> None:
    local, neighbour = ends
    with RawSocket(family, protocol, backend=live_backend) as raw:
        raw.bind(local.name)
        set_mode(raw, RcvAll.IPLEVEL)
        talk(neighbour, local, marked("r2", 1), family)
        read_until_payload(raw, marked("r2", 1)[0])


@pytest.mark.parametrize(
    ("family", "protocol"),
    [
        (socket.AF_INET, socket.IPPROTO_TCP),
        (socket.AF_INET, socket.IPPROTO_IPV6),
        (socket.AF_INET6, socket.IPPROTO_UDP),
        (socket.AF_UNSPEC, socket.IPPROTO_ICMP),
    ],
)
def test_r2_rejects_the_wrong_protocol(
    ends: tuple[Port, Port], live_backend: str, fails_with: FailsWith, family: int, protocol: int
) -> None:
    with fails_with("WSAEINVAL", "socket"):
        RawSocket(family, protocol, backend=live_backend)


# ---------------------------------------------------------------------------------------------
# R3: bound to one interface


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("told_by", ["address", "name", "index"])
def test_r3_captures_on_the_interface_told_by(
    ends: tuple[Port, Port],
    open_socket: OpenSocket,
    live_backend: str,
    told_by: str,
    family: int,
) -> None:
    local, neighbour = ends
    interface = {"address": local.address(family), "name": local.name, "index": local.index}
    raw = open_socket(live_backend, interface[told_by], family=family)
    talk(neighbour, local, marked("r3", 1), family)
    (found,) = (
        d
        for d in read_until_payload(raw, marked("r3", 1)[0])
        if udp_payload(d.data) == marked("r3", 1)[0]
    )
    assert (found.interface_index, found.family) == (local.index, family)


@pytest.mark.parametrize("mode", [RcvAll.ON, RcvAll.IPLEVEL, RcvAll.OFF])
def test_r3_rejects_a_socket_that_is_not_bound(
    tap: Tap, fails_with: FailsWith, mode: RcvAll
) -> None:
    with tap.create() as raw:
        with fails_with("WSAEINVAL", RCVALL) as caught:
            set_mode(raw, mode)
        assert "bind" in caught.value.hint


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "0:0:0:0:0:0:0:0"])
def test_r3_rejects_the_unspecified_address(tap: Tap, fails_with: FailsWith, address: str) -> None:
    with tap.create() as raw:
        with fails_with("WSAEINVAL", "bind") as caught:
            raw.bind(address)
        assert "bind to one explicit local address" in caught.value.hint
        with fails_with("WSAEINVAL", RCVALL):
            set_mode(raw, RcvAll.ON)


@pytest.mark.parametrize(
    "interface",
    [
        pytest.param("192.0.2.2", id="address of the neighbour"),
        pytest.param("2001:db8::2", id="IPv6 address of the neighbour"),
        pytest.param("nobody0", id="unknown name"),
        pytest.param("", id="empty name"),
        pytest.param("e" * 300, id="name longer than any"),
        pytest.param(4711, id="unknown index"),
        pytest.param(0, id="index zero"),
    ],
)
def test_r3_rejects_an_interface_that_this_machine_has_not(
    ends: tuple[Port, Port], live_backend: str, fails_with: FailsWith, interface: str | int
) -> None:
    with RawSocket(socket.AF_UNSPEC, backend=live_backend) as raw:
        with fails_with("WSAEADDRNOTAVAIL", "bind") as caught:
            raw.bind(interface)
        assert "winsockctl interfaces" in caught.value.hint


@pytest.mark.parametrize(
    ("family", "address"), [(socket.AF_INET, "2001:db8::1"), (socket.AF_INET6, "192.0.2.1")]
)
def test_r3_rejects_an_address_of_the_other_family(
    ends: tuple[Port, Port], live_backend: str, fails_with: FailsWith, family: int, address: str
) -> None:
    with RawSocket(family, backend=live_backend) as raw:
        with fails_with("WSAEINVAL", "bind") as caught:
            raw.bind(address)
        assert "family" in caught.value.hint


def test_r3_the_capture_says_the_same(ends: tuple[Port, Port], fails_with: FailsWith) -> None:
    for interface, symbol in (
        ("0.0.0.0", "WSAEINVAL"),
        ("::", "WSAEINVAL"),
        ("192.0.2.2", "WSAEADDRNOTAVAIL"),
        ("nobody0", "WSAEADDRNOTAVAIL"),
    ):
        with fails_with(symbol, "bind"):
            Capture(interface)


# ---------------------------------------------------------------------------------------------
# R6, R7: without effect, and off


@pytest.mark.parametrize("mode", [RcvAll.ON, RcvAll.IPLEVEL])
def test_r6_socketlevelonly_changes_nothing_on_a_socket_that_captures(
    ends: tuple[Port, Port], open_socket: OpenSocket, live_backend: str, mode: RcvAll
) -> None:
    local, neighbour = ends
    raw = open_socket(live_backend, local.name, mode=mode)
    set_mode(raw, RcvAll.SOCKETLEVELONLY)
    assert raw.mode == mode
    assert local.promiscuity() == (1 if mode is RcvAll.ON else 0)
    talk(neighbour, local, marked("r6", 3), socket.AF_INET)
    delivered = payloads(read_until_payload(raw, marked("r6", 3)[-1]))
    assert [p for p in delivered if p in marked("r6", 3)] == marked("r6", 3)


def test_r6_socketlevelonly_does_not_turn_on(
    ends: tuple[Port, Port], open_socket: OpenSocket, live_backend: str
) -> None:
    local, neighbour = ends
    raw = open_socket(live_backend, local.name, mode=RcvAll.SOCKETLEVELONLY)
    assert local.promiscuity() == 0
    talk(neighbour, local, marked("r6", 3), socket.AF_INET)
    assert len(raw.receive(0.1)) == 0


def test_r7_off_drops_promiscuous_mode(
    ends: tuple[Port, Port], open_socket: OpenSocket, live_backend: str
) -> None:
    local, _ = ends
    raw = open_socket(live_backend, local.name, mode=RcvAll.ON)
    assert local.promiscuity() == 1
    set_mode(raw, RcvAll.OFF)
    assert local.promiscuity() == 0


def test_r7_off_ends_delivery_and_on_begins_it_again(
    ends: tuple[Port, Port], open_socket: OpenSocket, live_backend: str
) -> None:
    local, neighbour = ends
    raw = open_socket(live_backend, local.name, mode=RcvAll.ON)
    set_mode(raw, RcvAll.OFF)
    talk(neighbour, local, marked("while off", 5), socket.AF_INET)
    assert not set(payloads(remaining(raw))) & set(marked("while off", 5))
    set_mode(raw, RcvAll.ON)
    talk(neighbour, local, marked("while on", 5), socket.AF_INET)
    delivered = payloads(read_until_payload(raw, marked("while on", 5)[-1]))
    assert not set(delivered) & set(marked("while off", 5))
    assert set(delivered) >= set(marked("while on", 5))


def test_r7_turning_off_what_is_off_is_no_error(tap: Tap) -> None:
    raw = tap.open(mode=RcvAll.OFF)
    set_mode(raw, RcvAll.OFF)
    assert raw.mode == RcvAll.OFF
    assert len(raw.receive(0)) == 0


def test_r7_nothing_is_delivered_before_the_control_code(
    ends: tuple[Port, Port], live_backend: str
) -> None:
    local, neighbour = ends
    with RawSocket(socket.AF_UNSPEC, backend=live_backend) as raw:
        talk(neighbour, local, marked("unbound", 3), socket.AF_INET)
        raw.bind(local.name)
        talk(neighbour, local, marked("bound", 3), socket.AF_INET)
        set_mode(raw, RcvAll.ON)
        talk(neighbour, local, marked("on", 3), socket.AF_INET)
        delivered = payloads(read_until_payload(raw, marked("on", 3)[-1]))
    assert not set(delivered) & {*marked("unbound", 3), *marked("bound", 3)}


def test_r7_the_mode_of_a_capture_can_be_set(ends: tuple[Port, Port]) -> None:
    local, _ = ends
    with Capture(local.name, mode=RcvAll.OFF) as capture:
        for mode, promiscuity in (
            (RcvAll.ON, 1),
            (RcvAll.IPLEVEL, 0),
            (RcvAll.ON, 1),
            (RcvAll.OFF, 0),
        ):
            capture.mode = mode
            assert (capture.mode, local.promiscuity()) == (mode, promiscuity)


# ---------------------------------------------------------------------------------------------
# R8: IP and nothing else


@pytest.mark.parametrize(
    ("family", "versions"),
    [
        pytest.param(socket.AF_INET, [4], id="ipv4"),
        pytest.param(socket.AF_INET6, [6], id="ipv6"),
        pytest.param(socket.AF_UNSPEC, [4, 6], id="both"),
    ],
)
def test_r8_only_the_family_of_the_socket(tap: Tap, family: int, versions: list[int]) -> None:
    last = tap.datagram(
        b"winsockctl last", family=socket.AF_INET6 if 6 in versions else socket.AF_INET
    )
    raw = tap.capture(
        [
            tap.datagram(b"winsockctl v6", family=socket.AF_INET6),
            tap.datagram(b"winsockctl v4", family=socket.AF_INET),
            last,
        ],
        family=family,
    )
    delivered = read_until_payload(raw, b"winsockctl last")
    wanted = {4: b"winsockctl v4", 6: b"winsockctl v6"}
    assert sorted(set(payloads(delivered)) & set(wanted.values())) == [
        wanted[version] for version in versions
    ]
    assert {d.data[0] >> 4 for d in delivered} == set(versions)


# ---------------------------------------------------------------------------------------------
# R10: what this machine sends


@pytest.mark.parametrize("told_by", ["name", "ipv4", "ipv6", "index"])
def test_r10_loopback_is_delivered_once(
    loopback: Port, open_socket: OpenSocket, live_backend: str, told_by: str
) -> None:
    family = socket.AF_INET6 if told_by == "ipv6" else socket.AF_INET
    raw = open_socket(live_backend, getattr(loopback, told_by))
    sent, last = marked("loopback", 50), marked("last", 1)
    talk(loopback, loopback, sent, family)
    talk(loopback, loopback, last, family)
    delivered = read_until_payload(raw, last[0])
    assert [p for p in payloads(delivered) if p in sent] == sent
    assert set(directions(delivered, sent)) == {Direction.INCOMING}


# ---------------------------------------------------------------------------------------------
# R11: whole datagrams, header first


def with_options(tap: Tap, *options: bytes) -> list[bytes]:
    """Datagrams of IPv4 with options."""
    ends = {"source": tap.neighbour, "destination": tap.address}
    segment = build.udp(b"options", **ends)[20:]
    return [
        build.ipv4(segment, build.UDP, options=each, identification=4711, **ends)
        for each in options
    ]


def with_extension_headers(tap: Tap) -> list[bytes]:
    """Datagrams of IPv6 with extension headers."""
    ends6 = {"source": tap.neighbour6, "destination": tap.address6}
    segment6 = build.udp(b"extension headers", **ends6)[40:]
    no_next = 59
    pad = b"\x01\x04\0\0\0\0"
    return [
        build.ipv6(headers, first, **ends6)
        for first, headers in (
            (0, b"\x11\x00\x05\x02\x00\x00\x01\x00" + segment6),  # hop by hop: router alert
            (60, b"\x11\x00" + pad + segment6),  # destination options
            (0, b"\x3c\x00" + pad + b"\x11\x00" + pad + segment6),  # both
            (44, b"\x11\x00\x00\x00\x12\x34\x56\x78" + segment6),  # an atomic fragment
            (no_next, b""),
        )
    ]


def check_intact(tap: Tap, sent: list[bytes]) -> None:
    raw = tap.capture([*sent, tap.datagram(b"winsockctl last")])
    delivered = read_until_payload(raw, b"winsockctl last")
    assert [bytes(d.data) for d in delivered if bytes(d.data) in sent] == sent


def test_r11_options_are_intact(tap: Tap) -> None:
    # Router alert; no operation, as many as there is room for.
    check_intact(tap, with_options(tap, b"\x94\x04\x00\x00", b"\x01" * 40))


# Winsock hands over what follows the headers of IPv6, and what its own host did to an option.
@pytest.mark.parametrize("backend", sorted({*BACKENDS} - {"winsock"}), indirect=True)
def test_r11_extension_headers_and_written_options_are_intact(tap: Tap) -> None:
    record_route = b"\x07\x0b\x04" + bytes(8) + b"\x00"
    check_intact(tap, with_options(tap, record_route) + with_extension_headers(tap))


@pytest.mark.parametrize(
    ("family", "size"),
    [
        pytest.param(socket.AF_INET, 65507, id="ipv4"),
        # The MTU of the loopback is 65,536 bytes.
        pytest.param(socket.AF_INET6, 65488, id="ipv6"),
    ],
)
def test_r11_the_largest_datagram_over_loopback_is_whole(
    loopback: Port, open_socket: OpenSocket, live_backend: str, family: int, size: int
) -> None:
    raw = open_socket(live_backend, loopback.name)
    payload = bytes(number % 253 for number in range(size))
    talk(loopback, loopback, [payload], family)
    (found,) = (d for d in read_until_payload(raw, payload) if udp_payload(d.data) == payload)
    header = 20 if family == socket.AF_INET else 40
    assert found.length == found.original_length == len(found.data) == header + 8 + size
    assert not found.truncated


@pytest.mark.parametrize("snaplen", [1, 20, 64, 1027, 1028, 1029])
def test_r11_a_truncated_datagram_is_flagged_with_its_original_length(
    tap: Tap, snaplen: int
) -> None:
    datagram = tap.datagram(bytes(range(250)) * 4)
    assert len(datagram) == 1028
    raw = tap.capture([datagram] * 3, snaplen=snaplen)
    delivered: list[Datagram] = []
    while len(delivered) < 3:
        batch = raw.receive(PATIENCE)
        assert batch
        delivered += [d for d in batch.datagrams() if d.original_length == 1028]
    kept = min(snaplen, 1028)
    for found in delivered:
        assert bytes(found.data) == datagram[:snaplen]
        assert (found.length, found.truncated) == (kept, kept < 1028)
    received, _, truncated, size = raw.statistics()
    assert (truncated > 0) == (kept < 1028)
    assert received >= 3
    assert size >= 3 * kept


def test_r11_the_time_is_nanoseconds_since_the_epoch(
    ends: tuple[Port, Port], open_socket: OpenSocket, live_backend: str
) -> None:
    local, neighbour = ends
    raw = open_socket(live_backend, local.name)
    before = time.time_ns()
    talk(neighbour, local, marked("time", 20), socket.AF_INET)
    delivered = read_until_payload(raw, marked("time", 20)[-1])
    after = time.time_ns()
    times = [d.timestamp_ns for d in delivered if udp_payload(d.data) in marked("time", 20)]
    assert len(times) == 20
    step = round(time.get_clock_info("time").resolution * 1e9)  # 15.6 ms on Windows
    assert all(before - step <= stamp <= after + step for stamp in times)


def test_r11_a_receive_without_datagrams_ends_with_its_timeout(tap: Tap) -> None:
    raw = tap.open()
    remaining(raw)
    assert len(raw.receive(0)) == 0
    assert len(raw.receive(0.05)) == 0
    assert not raw.ended


def test_r11_several_threads_share_one_capture(tap: Tap) -> None:
    sent = [tap.datagram(payload) for payload in marked("shared", 300)]
    wanted = set(sent)
    # A replay would hand over everything at once.
    raw = tap.capture(sent, **({"batch_size": 7} if tap.backend == "replay" else {}))
    delivered: list[bytes] = []
    deadline = time.monotonic() + PATIENCE

    def take() -> None:
        while len(delivered) < len(sent) and time.monotonic() < deadline:
            delivered.extend(data for view in raw.receive(0.05) if (data := bytes(view)) in wanted)

    with ThreadPoolExecutor(3) as executor:
        for future in [executor.submit(take) for _ in range(3)]:
            future.result(timeout=2 * PATIENCE)
    assert sorted(delivered) == sorted(sent)


def test_r11_two_captures_on_one_interface_each_get_everything(
    ends: tuple[Port, Port], open_socket: OpenSocket, live_backend: str
) -> None:
    local, neighbour = ends
    first = open_socket(live_backend, local.name, mode=RcvAll.ON)
    second = open_socket(live_backend, local.name, mode=RcvAll.ON)
    assert local.promiscuity() == 2
    talk(neighbour, local, marked("both", 20), socket.AF_INET)
    for raw in (first, second):
        delivered = payloads(read_until_payload(raw, marked("both", 20)[-1]))
        assert [p for p in delivered if p in marked("both", 20)] == marked("both", 20)
    first.close()
    assert local.promiscuity() == 1
    talk(neighbour, local, marked("one", 20), socket.AF_INET)
    delivered = payloads(read_until_payload(second, marked("one", 20)[-1]))
    assert [p for p in delivered if p in marked("one", 20)] == marked("one", 20)


# ---------------------------------------------------------------------------------------------
# R13: from one interface to another


def test_r13_a_socket_that_captures_cannot_be_moved(tap: Tap, fails_with: FailsWith) -> None:
    raw = tap.capture([tap.datagram(b"winsockctl r13")])
    with fails_with("WSAEINVAL", "bind") as caught:
        raw.bind("127.0.0.1")
    assert "OFF" in caught.value.hint
    assert raw.mode == RcvAll.IPLEVEL
    assert b"winsockctl r13" in payloads(read_until_payload(raw, b"winsockctl r13"))


# ---------------------------------------------------------------------------------------------
# R14: the interface goes away


def test_r14_a_replay_ends_the_same_way(fails_with: FailsWith) -> None:
    datagram = build.udp(b"earlier", source="192.0.2.2", destination="192.0.2.1")
    with RawSocket.replay([datagram], faults={"receive": ERROR_CODES["WSAENETDOWN"]}) as raw:
        raw.bind("eth0")
        set_mode(raw, RcvAll.ON)
        assert [bytes(view) for view in raw.receive()] == [datagram]
        for _ in range(2):
            with fails_with("WSAENETDOWN", "receive"):
                raw.receive()


# ---------------------------------------------------------------------------------------------
# R15: close


def test_r15_close_wakes_three_threads_that_wait(tap: Tap, fails_with: FailsWith) -> None:
    raw = tap.open()

    def wait() -> None:
        with fails_with("WSAEINTR", "receive"):
            drain(raw, None)

    with ThreadPoolExecutor(3) as executor:
        waiting = wait_in_receive(executor, 3, wait)
        raw.close()
        for future in waiting:
            future.result(timeout=PATIENCE)


def test_r15_close_wakes_a_thread_that_waits_with_a_timeout(
    tap: Tap, fails_with: FailsWith
) -> None:
    raw = tap.open()
    with ThreadPoolExecutor(1) as executor:
        (waiting,) = wait_in_receive(executor, 1, lambda: drain(raw, 3600))
        raw.close()
        with fails_with("WSAEINTR", "receive"):
            waiting.result(timeout=PATIENCE)


def test_r15_close_twice_and_from_many_threads_at_once(tap: Tap, fails_with: FailsWith) -> None:
    raw = tap.open(mode=RcvAll.ON)
    with ThreadPoolExecutor(8) as executor:
        start = threading.Barrier(8)

        def close() -> None:
            start.wait(PATIENCE)
            raw.close()

        for future in [executor.submit(close) for _ in range(8)]:
            future.result(timeout=PATIENCE)
    raw.close()
    assert raw.closed
    with fails_with("WSAENOTSOCK", "receive"):
        raw.receive(0)
    with fails_with("WSAENOTSOCK", "bind"):
        raw.bind(tap.interface)
    with fails_with("WSAENOTSOCK", "WSAIoctl"):
        set_mode(raw, RcvAll.OFF)


@pytest.mark.parametrize("end", ["close", "with", "garbage"])
def test_r15_the_end_of_a_socket_drops_promiscuous_mode(
    ends: tuple[Port, Port], live_backend: str, end: str
) -> None:
    local, _ = ends
    raw = RawSocket(socket.AF_UNSPEC, backend=live_backend)
    raw.bind(local.name)
    set_mode(raw, RcvAll.ON)
    assert local.promiscuity() == 1
    if end == "close":
        raw.close()
    elif end == "with":
        with raw:
            pass
    else:
        del raw
        gc.collect()
    assert local.promiscuity() == 0


@pytest.mark.parametrize("end", ["close", "with", "garbage"])
def test_r15_the_end_of_a_capture_drops_promiscuous_mode(ends: tuple[Port, Port], end: str) -> None:
    local, neighbour = ends
    capture = Capture(local.name, mode=RcvAll.ON)
    assert local.promiscuity() == 1
    talk(neighbour, local, marked("kept", 1), socket.AF_INET)
    # A view that outlives the capture must not keep it alive.
    view = next(view for view in capture if udp_payload(view) == marked("kept", 1)[0])
    if end == "close":
        capture.close()
    elif end == "with":
        with capture:
            pass
    else:
        del capture
        gc.collect()
    assert local.promiscuity() == 0
    assert udp_payload(view) == marked("kept", 1)[0]


def test_r15_a_capture_that_could_not_begin_leaves_nothing(
    ends: tuple[Port, Port], fails_with: FailsWith
) -> None:
    local, _ = ends
    before = memory.descriptors()
    with fails_with("WSAEADDRNOTAVAIL", "bind"):
        Capture("nobody0", mode=RcvAll.ON)
    assert memory.descriptors() == before
    assert local.promiscuity() == 0


@pytest.mark.parametrize("how", ["receive", "iteration"])
def test_r15_ctrl_c_ends_a_wait(tap: Tap, how: str) -> None:
    raw = tap.open()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.1, send_signal)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            drain(raw, None) if how == "receive" else list(Reader(raw))
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    assert not raw.closed
    assert len(raw.receive(0)) == 0
