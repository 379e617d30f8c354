"""The winsock backend on the shipped binary: its calls, their order and input, their failures.

Real datagrams flow through Wine's raw sockets; SIO_RCVALL is stood in for by the hook.
"""

import os
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest
from hook import Hook

from winsockctl import (
    Capture,
    ControlCode,
    Direction,
    RawSocket,
    RcvAll,
    RecordFlag,
    WinsockError,
    WinsockInterruptedError,
    WinsockPermissionError,
    _winsockctl,
    ioctl,
    set_loopback_fast_path,
    set_rcvall,
)

pytestmark = pytest.mark.skipif(
    "WINSOCKCTL_HOOK" not in os.environ, reason="needs the hook: WINSOCKCTL_HOOK is not set"
)

SOCK_RAW = 3
WSA_FLAG_OVERLAPPED = 0x01
WSA_FLAG_NO_HANDLE_INHERIT = 0x80
UDP = 17
PATIENCE = 20.0  # seconds
LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
ADDRESS_SIZE = {socket.AF_INET: 4, socket.AF_INET6: 16}
THREE_CALLS = ["WSASocketW", "bind", "WSAIoctl"]

families = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook(_winsockctl) as patched:
        yield patched


class Talk:
    """A UDP socket that talks to itself over loopback."""

    def __init__(self, family: int) -> None:
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind((LOOPBACK[socket.AddressFamily(family)], 0))
        self.address = self.socket.getsockname()
        self.port = self.address[1]

    def say(self, *payloads: bytes) -> None:
        for payload in payloads:
            self.socket.sendto(payload, self.address)
            self.socket.recv(65535)


@pytest.fixture
def talk(request: pytest.FixtureRequest) -> Iterator[Talk]:
    talk = Talk(request.getfixturevalue("family"))
    yield talk
    talk.socket.close()


def read_all(capture: Capture, count: int) -> list[bytes]:
    read: list[bytes] = []
    deadline = time.monotonic() + PATIENCE
    while len(read) < count and time.monotonic() < deadline:
        read += [bytes(view) for view in capture.read(1)]
    return read


def rcvall_calls(hook: Hook) -> list[bytes]:
    return [
        call.input
        for call in hook.calls
        if call.function == "WSAIoctl" and call.arguments[0] == ControlCode.SIO_RCVALL
    ]


@families
@pytest.mark.parametrize("mode", [RcvAll.ON, RcvAll.IPLEVEL])
def test_r3_socket_bind_and_control_code_in_this_order(
    hook: Hook, family: int, mode: RcvAll
) -> None:
    address = LOOPBACK[socket.AddressFamily(family)]
    with Capture(address, mode=mode):
        calls = [
            call
            for call in hook.calls
            if call.function in ("WSASocketW", "bind")
            or (call.function == "WSAIoctl" and call.arguments[0] == ControlCode.SIO_RCVALL)
        ]
    assert [call.function for call in calls] == THREE_CALLS
    opened, bound, controlled = calls
    assert opened.arguments == (
        family,
        SOCK_RAW,
        socket.IPPROTO_IP,
        WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT,
    )
    start = 4 if family == socket.AF_INET else 8
    assert struct.unpack_from("=H", bound.input) == (family,)
    assert bound.input[start : start + ADDRESS_SIZE[socket.AddressFamily(family)]] == (
        socket.inet_pton(family, address)
    )
    assert (controlled.input, controlled.input_size) == (struct.pack("=I", mode), 4)
    assert controlled.arguments[1] == 0  # no output
    assert len({call.socket for call in calls} - {calls[0].socket}) <= 1


def test_fanout_is_refused_before_the_system_is_asked(hook: Hook) -> None:
    with pytest.raises(WinsockError) as caught:
        Capture("127.0.0.1", fanout=1)
    assert (caught.value.symbol, caught.value.call) == ("WSAEOPNOTSUPP", "socket")
    assert "leave out fanout" in caught.value.hint
    assert hook.count("WSASocketW") == 0


def test_r2_the_documented_protocol_of_ipv6_can_be_asked_for(hook: Hook) -> None:
    RawSocket(socket.AF_INET6, socket.IPPROTO_IPV6).close()
    (opened,) = (call for call in hook.calls if call.function == "WSASocketW")
    assert opened.arguments[2] == socket.IPPROTO_IPV6


def test_r7_r15_off_before_the_socket_is_closed(hook: Hook) -> None:
    capture = Capture("127.0.0.1", mode=RcvAll.ON)
    capture.mode = RcvAll.OFF
    capture.mode = RcvAll.IPLEVEL
    capture.close()
    capture.close()
    modes = (RcvAll.ON, RcvAll.OFF, RcvAll.IPLEVEL, RcvAll.OFF)
    assert rcvall_calls(hook) == [struct.pack("=I", mode) for mode in modes]
    names = hook.names
    assert names.count("closesocket") == 1
    assert "WSAIoctl" not in names[names.index("closesocket") :]


@pytest.mark.parametrize(
    ("function", "call", "code"),
    [
        ("WSASocketW", "socket", 10013),
        ("WSASocketW", "socket", 10024),
        ("setsockopt", "setsockopt(SO_RCVBUF)", 10055),
        ("getsockopt", "getsockopt(SO_RCVBUF)", 10014),
        ("bind", "bind", 10049),
        ("WSAEventSelect", "WSAEventSelect", 10022),
        ("WSAIoctl", "WSAIoctl(SIO_RCVALL)", 10013),
        ("WSAIoctl", "WSAIoctl(SIO_RCVALL)", 10022),
        ("WSAIoctl", "WSAIoctl(SIO_RCVALL)", 10045),
    ],
)
def test_c7_every_step_that_fails_is_named_and_leaves_nothing_open(
    hook: Hook, function: str, call: str, code: int
) -> None:
    hook.fail(function, code)
    with pytest.raises(WinsockError) as caught:
        Capture("127.0.0.1")
    assert (caught.value.code, caught.value.call) == (code, call)
    assert isinstance(caught.value, WinsockPermissionError) == (code == 10013)
    if code == 10013:
        assert "administrator" in caught.value.hint
    opened = sum(name == "WSASocketW" for name in hook.names) - (function == "WSASocketW")
    assert hook.count("closesocket") == opened


@families
def test_r11_whole_datagrams_with_their_header(hook: Hook, family: int, talk: Talk) -> None:
    payloads = [bytes([i]) * (i * 7 + 1) for i in range(40)]
    header = 20 if family == socket.AF_INET else 40
    with Capture(LOOPBACK[socket.AddressFamily(family)]) as capture:
        talk.say(*payloads)
        read = [
            data
            for data in read_all(capture, len(payloads))
            if data[header : header + 2] == struct.pack(">H", talk.port)
        ]
        assert capture.statistics.dropped is None
    assert [data[header + 8 :] for data in read] == payloads
    for data in read:
        if family == socket.AF_INET:
            assert data[0] == 0x45
            assert data[9] == UDP
            assert struct.unpack_from(">H", data, 2) == (len(data),)
        else:
            assert data[0] >> 4 == 6
            assert data[6] == UDP
            assert struct.unpack_from(">H", data, 4) == (len(data) - 40,)
            assert data[7] > 0  # hop limit
            assert data[8:40] == socket.inet_pton(family, "::1") * 2


@families
def test_one_receive_a_datagram_and_no_wait_between_those_that_are_there(
    hook: Hook, family: int, talk: Talk
) -> None:
    receive = "WSARecv" if family == socket.AF_INET else "WSARecvMsg"
    with Capture(LOOPBACK[socket.AddressFamily(family)], latency=5) as capture:
        talk.say(*[b"x" * 20] * 50)
        time.sleep(0.3)  # until Wine has them all in the raw socket
        hook.forget()
        batch = capture.read(PATIENCE)
        names = hook.names
    assert len(batch) == 50
    assert names.count(receive) == 51  # the last one finds nothing
    assert "WaitForMultipleObjects" not in names


@families
def test_no_allocation_a_datagram(hook: Hook, family: int, talk: Talk) -> None:
    def allocations(count: int) -> int:
        with Capture(LOOPBACK[socket.AddressFamily(family)], latency=5) as capture:
            talk.say(*[b"x" * 20] * count)
            time.sleep(0.3)  # until Wine has them all in the raw socket
            hook.forget()
            assert len(capture.read(PATIENCE)) == count
            return sum(hook.count(name) for name in ("malloc", "calloc", "realloc"))

    assert 0 < allocations(300) == allocations(3)


def test_records_tell_time_direction_and_interface(hook: Hook) -> None:
    talk = Talk(socket.AF_INET)
    before = time.time_ns()
    with Capture("127.0.0.1") as capture:
        talk.say(b"hello")
        datagram = capture.read(PATIENCE).datagram(0)
    after = time.time_ns()
    talk.socket.close()
    # The clock of the interpreter counts in steps of 15.6 ms.
    assert before - 20_000_000 <= datagram.timestamp_ns <= after + 20_000_000
    assert datagram.direction is Direction.INCOMING
    assert datagram.family == socket.AF_INET
    assert datagram.interface_index > 0


@families
def test_r11_the_record_says_that_the_header_is_rebuilt_and_what_is_unknown(
    hook: Hook, family: int, talk: Talk
) -> None:
    with Capture(LOOPBACK[socket.AddressFamily(family)]) as capture:
        talk.say(b"hello")
        datagram = capture.read(PATIENCE).datagram(0)
    assert datagram.rebuilt == (family == socket.AF_INET6)
    if datagram.rebuilt:
        # No system tells the flow label; the checksum told the next header.
        assert RecordFlag.FLOW_LABEL_UNKNOWN in datagram.flags
        assert RecordFlag.NEXT_HEADER_UNKNOWN not in datagram.flags
        assert RecordFlag.DESTINATION_UNKNOWN not in datagram.flags
    else:
        assert datagram.flags == RecordFlag(0)


def test_snaplen_truncates_and_tells_the_original_length(hook: Hook) -> None:
    talk = Talk(socket.AF_INET)
    with Capture("127.0.0.1", snaplen=30) as capture:
        talk.say(bytes(500))
        datagram = capture.read(PATIENCE).datagram(0)
    talk.socket.close()
    assert (datagram.length, datagram.original_length, datagram.truncated) == (30, 528, True)


def test_filter_refuses_before_a_datagram_is_kept(hook: Hook) -> None:
    talk = Talk(socket.AF_INET)
    with Capture("127.0.0.1", filter=f"udp port {talk.port} and greater 100") as capture:
        talk.say(bytes(10), bytes(100), bytes(20), bytes(200))
        assert [len(data) for data in read_all(capture, 2)] == [128, 228]
        assert capture.statistics.received == 2
    talk.socket.close()


def test_views_stay_valid_after_the_next_batch_and_after_close(hook: Hook) -> None:
    talk = Talk(socket.AF_INET)
    kept = []
    with Capture("127.0.0.1") as capture:
        for i in range(30):
            talk.say(bytes([i]) * 1400)
            kept += list(capture.read(PATIENCE))
    talk.socket.close()
    del capture
    assert [bytes(view[28:]) for view in kept] == [bytes([i]) * 1400 for i in range(30)]


@pytest.mark.parametrize("code", [10050, 10022])
def test_r14_interface_lost_comes_behind_the_datagrams(hook: Hook, code: int) -> None:
    talk = Talk(socket.AF_INET)
    with Capture("127.0.0.1") as capture:
        talk.say(b"before")
        time.sleep(0.3)
        hook.fail("WSARecv", code, nth=2, times=1000)
        assert [bytes(view[28:]) for view in capture.read(PATIENCE)] == [b"before"]
        for _ in range(2):
            with pytest.raises(WinsockError) as caught:
                capture.read(PATIENCE)
            assert (caught.value.code, caught.value.call) == (code, "receive")
    talk.socket.close()


def test_r13_moving_needs_off_first(hook: Hook) -> None:
    with RawSocket(socket.AF_INET) as raw:
        raw.bind("127.0.0.1")
        set_rcvall(raw, RcvAll.ON)
        with pytest.raises(WinsockError) as caught:
            raw.bind("127.0.0.1")
        assert caught.value.symbol == "WSAEINVAL"
        set_rcvall(raw, RcvAll.OFF)
        raw.bind("127.0.0.1")
        set_rcvall(raw, RcvAll.ON)
    assert hook.count("WSASocketW") == hook.count("closesocket") == 2


def test_r1_r3_unacceptable_requests(hook: Hook) -> None:
    with RawSocket(socket.AF_INET) as raw:
        for value, place in ((struct.pack("=I", 1), None), (b"\1", "127.0.0.1")):
            if place:
                raw.bind(place)
            with pytest.raises(WinsockError) as caught:
                raw.ioctl(ControlCode.SIO_RCVALL, value)
            assert caught.value.symbol == "WSAEINVAL"
        with pytest.raises(WinsockError, match="WSAEINVAL"):
            raw.ioctl(ControlCode.SIO_RCVALL, struct.pack("=I", 4))


def test_r15_close_wakes_every_thread_that_waits(hook: Hook) -> None:
    capture = Capture("127.0.0.1")
    ended = []

    def wait() -> None:
        try:
            capture.read()
        except WinsockInterruptedError as error:
            ended.append(error.symbol)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    capture.close()
    for thread in threads:
        thread.join(PATIENCE)
    assert ended == ["WSAEINTR"] * 3


def test_timeouts_end_the_wait(hook: Hook) -> None:
    with Capture("127.0.0.1", filter="udp port 1") as capture:
        assert len(capture.read(0)) == 0
        assert len(capture.read(0.2)) == 0


def test_f1_f6_loopback_fast_path(hook: Hook) -> None:
    with socket.socket() as tcp:
        assert set_loopback_fast_path(tcp) is True
        assert hook.calls[-1].input == struct.pack("=I", 1)
        assert set_loopback_fast_path(tcp, False) is True
        assert hook.calls[-1].input == struct.pack("=I", 0)
        hook.fail("WSAIoctl", 10045, code=ControlCode.SIO_LOOPBACK_FAST_PATH, times=2)
        assert set_loopback_fast_path(tcp, required=False) is False
        with pytest.raises(WinsockError, match="WSAEOPNOTSUPP"):
            set_loopback_fast_path(tcp)
        with pytest.raises(WinsockError, match="WSAEINVAL"):
            ioctl(tcp, ControlCode.SIO_LOOPBACK_FAST_PATH, struct.pack("=I", 1), 4)
