"""The hook itself, on the standard library's sockets: what it records is what was called."""

import sys

import pytest

if sys.platform != "win32":
    pytest.skip("needs the import table of a Windows module", allow_module_level=True)

import _socket
import ctypes
import os
import socket
import struct
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hook import Hook, Note

pytestmark = pytest.mark.skipif(
    "WINSOCKCTL_HOOK" not in os.environ, reason="needs the hook: WINSOCKCTL_HOOK is not set"
)

SIO_GET_EXTENSION_FUNCTION_POINTER = 0xC8000006
SIO_RCVALL_MCAST = 0x98000002
SIO_RCVALL_IGMPMCAST = 0x98000003
SIO_UDP_CONNRESET = 0x9800000C
SIO_TCP_INFO = 0xD8000027
RCVALL_IPLEVEL = 3
WSA_FLAG_OVERLAPPED = 0x01
WSA_FLAG_NO_HANDLE_INHERIT = 0x80
WSA_IO_INCOMPLETE = 996
WSA_IO_PENDING = 997
WSA_OPERATION_ABORTED = 995
WSAEACCES = 10013
WSAEFAULT = 10014
WSAEINVAL = 10022
WSAENETDOWN = 10050
WSAENOBUFS = 10055

PATIENCE = 20.0  # seconds within which what must happen has to happen


# The standard library starts nothing overlapped on a raw socket: there ctypes plays the module.


WSAIoctl = ctypes.WINFUNCTYPE(
    ctypes.c_int,
    ctypes.c_size_t,
    ctypes.c_uint32,
    *[ctypes.c_void_p, ctypes.c_uint32] * 2,
    *[ctypes.c_void_p] * 3,
    use_last_error=True,
)
CancelIoEx = ctypes.WINFUNCTYPE(ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p)
WSACreateEvent = ctypes.WINFUNCTYPE(ctypes.c_void_p)
WSAGetOverlappedResult = ctypes.WINFUNCTYPE(
    ctypes.c_int,
    ctypes.c_size_t,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_int,
    ctypes.c_void_p,
    use_last_error=True,
)
WSARecvMsg = ctypes.WINFUNCTYPE(
    ctypes.c_int, ctypes.c_size_t, *[ctypes.c_void_p] * 4, use_last_error=True
)
WSASocketW = ctypes.WINFUNCTYPE(
    ctypes.c_size_t,
    *[ctypes.c_int] * 3,
    ctypes.c_void_p,
    *[ctypes.c_uint32] * 2,
    use_last_error=True,
)
INVALID_SOCKET = 2**64 - 1


class Overlapped(ctypes.Structure):
    _fields_ = (
        ("internal", ctypes.c_size_t),
        ("internal_high", ctypes.c_size_t),
        ("offset", ctypes.c_uint64),
        ("event", ctypes.c_void_p),
    )


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook(_socket) as patched:
        yield patched


OpenSocket = Callable[..., socket.socket]


@pytest.fixture
def open_socket() -> Iterator[OpenSocket]:
    sockets = []

    def open_(family: int, kind: int, protocol: int = 0, address: str = "") -> socket.socket:
        sockets.append(socket.socket(family, kind, protocol))
        if address:
            sockets[-1].bind((address, 0))
        sockets[-1].settimeout(PATIENCE)
        return sockets[-1]

    yield open_
    for opened in sockets:
        opened.close()


@contextmanager
def fails_with(code: int) -> Iterator[None]:
    with pytest.raises(OSError) as error:  # noqa: PT011 - the number is looked at
        yield
    assert error.value.winerror == code


def test_the_functions_that_the_module_imports_are_patched(hook: Hook) -> None:
    assert hook.patched >= {"WSASocketW", "bind", "WSAIoctl", "recv", "recvfrom", "closesocket"}
    assert "WSARecvMsg" not in hook.patched


def test_calls_are_recorded_in_order_with_their_input(hook: Hook) -> None:
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IP)
    raw.bind(("127.0.0.1", 0))
    raw.ioctl(socket.SIO_RCVALL, RCVALL_IPLEVEL)
    handle = raw.fileno()
    raw.close()

    create, bind, control, close = hook.calls
    assert hook.names == ["WSASocketW", "bind", "WSAIoctl", "closesocket"]
    flags = WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT
    assert create.arguments == (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IP, flags)
    assert create.result == handle
    assert {call.socket for call in (bind, control, close)} == {handle}
    assert bind.input[:8] == struct.pack("<H2x4B", socket.AF_INET, 127, 0, 0, 1)
    assert bind.input_size == 16
    assert control.arguments[:2] == (socket.SIO_RCVALL, 0)
    assert control.input == struct.pack("<I", RCVALL_IPLEVEL)
    assert control.notes == Note.ENDED | Note.STOOD_IN
    assert close.notes == Note.ENDED
    assert [call.error for call in hook.calls] == [0, 0, 0, 0]
    assert {call.thread for call in hook.calls} == {threading.get_native_id()}


def test_handles_that_are_left_open_are_known(hook: Hook) -> None:
    left, closed = socket.socket(), socket.socket()
    closed.close()
    assert hook.open_handles == {left.fileno(): "WSASocketW"}
    hook.fail("closesocket", WSAENETDOWN)
    with fails_with(WSAENETDOWN):
        socket.close(left.fileno())
    assert hook.open_handles == {left.fileno(): "WSASocketW"}
    left.close()
    assert hook.open_handles == {}


@pytest.mark.parametrize(
    ("family", "protocol", "address"),
    [
        (socket.AF_INET, socket.IPPROTO_IP, "127.0.0.1"),
        (socket.AF_INET6, socket.IPPROTO_IP, "::1"),
        (socket.AF_INET6, socket.IPPROTO_IPV6, "::1"),
    ],
)
def test_real_datagrams_arrive_under_sio_rcvall(
    hook: Hook, open_socket: OpenSocket, family: int, protocol: int, address: str
) -> None:
    raw = open_socket(family, socket.SOCK_RAW, protocol, address)
    raw.ioctl(socket.SIO_RCVALL, socket.RCVALL_ON)
    receiver = open_socket(family, socket.SOCK_DGRAM, 0, address)
    receiver.sendto(b"a datagram", receiver.getsockname())

    assert raw.recv(65535).endswith(b"a datagram")
    assert hook.count("recv") == 1


def test_another_protocol_can_be_chosen(hook: Hook, open_socket: OpenSocket) -> None:
    hook.set_raw_protocol(socket.IPPROTO_TCP)
    raw = open_socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IP, "127.0.0.1")
    listener = open_socket(socket.AF_INET, socket.SOCK_STREAM, 0, "127.0.0.1")
    listener.listen()
    open_socket(socket.AF_INET, socket.SOCK_STREAM).connect(listener.getsockname())

    assert raw.recv(65535)[9] == socket.IPPROTO_TCP


@pytest.mark.parametrize("value", [4, 0xFFFFFFFF])
def test_r1_another_value_is_refused(hook: Hook, open_socket: OpenSocket, value: int) -> None:
    raw = open_socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IP, "127.0.0.1")
    with fails_with(WSAEINVAL):
        raw.ioctl(socket.SIO_RCVALL, value)


@pytest.mark.parametrize(
    ("kind", "protocol"),
    [
        (socket.SOCK_DGRAM, 0),
        (socket.SOCK_STREAM, 0),
        (socket.SOCK_RAW, socket.IPPROTO_UDP),
        (socket.SOCK_RAW, socket.IPPROTO_TCP),
    ],
)
def test_r2_another_socket_is_refused(
    hook: Hook, open_socket: OpenSocket, kind: int, protocol: int
) -> None:
    other = open_socket(socket.AF_INET, kind, protocol, "127.0.0.1")
    with fails_with(WSAEINVAL):
        other.ioctl(socket.SIO_RCVALL, socket.RCVALL_ON)


@pytest.mark.parametrize(
    ("family", "address"),
    [
        (socket.AF_INET, ""),
        (socket.AF_INET6, ""),
        (socket.AF_INET, "0.0.0.0"),
        (socket.AF_INET6, "::"),
    ],
)
def test_r3_an_unbound_socket_is_refused(
    hook: Hook, open_socket: OpenSocket, family: int, address: str
) -> None:
    raw = open_socket(family, socket.SOCK_RAW, socket.IPPROTO_IP, address)
    with fails_with(WSAEINVAL):
        raw.ioctl(socket.SIO_RCVALL, socket.RCVALL_ON)


def test_f2_f4_the_fast_path_is_for_tcp_before_it_connects(
    hook: Hook, open_socket: OpenSocket
) -> None:
    listener = open_socket(socket.AF_INET, socket.SOCK_STREAM, 0, "127.0.0.1")
    listener.ioctl(socket.SIO_LOOPBACK_FAST_PATH, True)
    listener.listen()
    connected = open_socket(socket.AF_INET, socket.SOCK_STREAM)
    connected.ioctl(socket.SIO_LOOPBACK_FAST_PATH, True)
    connected.connect(listener.getsockname())
    for wrong in (connected, open_socket(socket.AF_INET, socket.SOCK_DGRAM)):
        with fails_with(WSAEINVAL):
            wrong.ioctl(socket.SIO_LOOPBACK_FAST_PATH, True)


def test_each_step_can_fail_and_is_not_carried_out(hook: Hook, open_socket: OpenSocket) -> None:
    # Through the pointer, because after one failure _socket would not call WSASocketW again.
    hook.fail("WSASocketW", WSAEACCES)
    create = hook.function(WSASocketW, "WSASocketW")
    arguments = socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IP, None, 0, WSA_FLAG_OVERLAPPED
    assert create(*arguments) == INVALID_SOCKET
    assert ctypes.get_last_error() == WSAEACCES
    assert hook.calls[-1].notes == Note.ENDED | Note.FAULT | Note.STOOD_IN

    raw = open_socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IP)
    hook.fail("bind", WSAENOBUFS)
    with fails_with(WSAENOBUFS):
        raw.bind(("127.0.0.1", 0))
    with fails_with(WSAEINVAL):
        raw.getsockname()
    raw.bind(("127.0.0.1", 0))
    hook.fail("WSAIoctl", WSAENETDOWN, code=socket.SIO_RCVALL)
    with fails_with(WSAENETDOWN):
        raw.ioctl(socket.SIO_RCVALL, socket.RCVALL_ON)
    raw.setblocking(False)  # or else recv is not reached while there is nothing to receive
    hook.fail("recv", WSAENETDOWN)
    with fails_with(WSAENETDOWN):
        raw.recv(65535)
    assert [call.error for call in hook.calls if Note.FAULT in call.notes] == [
        WSAEACCES,
        WSAENOBUFS,
        WSAENETDOWN,
        WSAENETDOWN,
    ]


def control(
    hook: Hook,
    sock: socket.socket,
    code: int,
    given: bytes,
    output: "ctypes.Array[ctypes.c_char] | None" = None,
    overlapped: Overlapped | None = None,
) -> tuple[int, int]:
    """WSAIoctl as a patched module calls it: the error, and how many bytes came back."""
    returned = ctypes.c_uint32(0xFFFFFFFF)
    status = hook.function(WSAIoctl, "WSAIoctl")(
        sock.fileno(),
        code,
        given,
        len(given),
        output,
        len(output) if output is not None else 0,
        ctypes.byref(returned),
        ctypes.byref(overlapped) if overlapped is not None else None,
        None,
    )
    return ctypes.get_last_error() if status else 0, returned.value


def result_of(hook: Hook, sock: socket.socket, overlapped: Overlapped, *, wait: bool) -> int:
    """The error that an overlapped operation ended with."""
    count, flags = ctypes.c_uint32(), ctypes.c_uint32()
    get_result = hook.function(WSAGetOverlappedResult, "WSAGetOverlappedResult")
    succeeded = get_result(
        sock.fileno(), ctypes.byref(overlapped), ctypes.byref(count), wait, ctypes.byref(flags)
    )
    return 0 if succeeded else ctypes.get_last_error()


@pytest.fixture
def raw(hook: Hook, open_socket: OpenSocket) -> socket.socket:
    return open_socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IP, "127.0.0.1")


@pytest.fixture
def overlapped(hook: Hook) -> Overlapped:
    return Overlapped(event=hook.function(WSACreateEvent, "WSACreateEvent")())


RCVALL_ON = struct.pack("<I", socket.RCVALL_ON)


def test_r1_an_input_that_is_too_short_is_refused(hook: Hook, raw: socket.socket) -> None:
    assert control(hook, raw, socket.SIO_RCVALL, RCVALL_ON[:3])[0] == WSAEINVAL
    assert hook.calls[-1].input == RCVALL_ON[:3]


def test_f1_the_fast_path_has_no_output(hook: Hook, open_socket: OpenSocket) -> None:
    stream = open_socket(socket.AF_INET, socket.SOCK_STREAM)
    output = ctypes.create_string_buffer(4)
    arguments = hook, stream, socket.SIO_LOOPBACK_FAST_PATH, struct.pack("<I", 1)
    assert control(*arguments, output)[0] == WSAEINVAL
    assert control(*arguments) == (0, 0)


@pytest.mark.parametrize(
    ("code", "protocol"),
    [(SIO_RCVALL_MCAST, socket.IPPROTO_UDP), (SIO_RCVALL_IGMPMCAST, socket.IPPROTO_IGMP)],
)
def test_the_multicast_codes_have_protocols_of_their_own(
    hook: Hook, open_socket: OpenSocket, raw: socket.socket, code: int, protocol: int
) -> None:
    right = open_socket(socket.AF_INET, socket.SOCK_RAW, protocol, "127.0.0.1")
    assert control(hook, right, code, RCVALL_ON) == (0, 0)
    assert control(hook, raw, code, RCVALL_ON)[0] == WSAEINVAL


def test_a_code_can_be_answered(hook: Hook, open_socket: OpenSocket) -> None:
    stream = open_socket(socket.AF_INET, socket.SOCK_STREAM)
    hook.answer(SIO_TCP_INFO, b"four")
    output = ctypes.create_string_buffer(8)
    assert control(hook, stream, SIO_TCP_INFO, b"", output) == (0, 4)
    assert output.raw == b"four\0\0\0\0"
    small = ctypes.create_string_buffer(3)
    assert control(hook, stream, SIO_TCP_INFO, b"", small) == (WSAEFAULT, 0)


def test_the_nth_call_can_fail_and_as_many_as_told(hook: Hook, raw: socket.socket) -> None:
    hook.fail("WSAIoctl", WSAENETDOWN, code=socket.SIO_RCVALL, nth=3, times=2)
    outcomes = []
    for _ in range(6):
        outcomes.append(control(hook, raw, socket.SIO_RCVALL, RCVALL_ON)[0])
        assert control(hook, raw, SIO_UDP_CONNRESET, bytes(4))[0] == 0
    assert outcomes == [0, 0, WSAENETDOWN, WSAENETDOWN, 0, 0]
    assert hook.count("WSAIoctl") == 12


def test_a_call_that_waits_is_pending_until_released(hook: Hook, raw: socket.socket) -> None:
    # Not raw.ioctl(), which keeps the GIL while it waits.
    hook.pend(socket.SIO_RCVALL)
    outcomes: list[tuple[int, int]] = []
    thread = threading.Thread(
        target=lambda: outcomes.append(control(hook, raw, socket.SIO_RCVALL, RCVALL_ON))
    )
    thread.start()
    deadline = time.monotonic() + PATIENCE
    while hook.count("WSAIoctl") == 0 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert hook.calls[-1].notes == Note.STOOD_IN
    assert not outcomes
    hook.release()
    thread.join(PATIENCE)

    assert outcomes == [(0, 0)]
    assert hook.calls[-1].notes == Note.STOOD_IN | Note.ENDED
    assert hook.calls[-1].thread != threading.get_native_id()


def test_an_overlapped_operation_completes(
    hook: Hook, raw: socket.socket, overlapped: Overlapped
) -> None:
    assert control(hook, raw, socket.SIO_RCVALL, RCVALL_ON, None, overlapped)[0] == 0
    assert result_of(hook, raw, overlapped, wait=True) == 0
    assert Note.OVERLAPPED in hook.calls[-2].notes


def test_a_pending_operation_ends_when_it_is_cancelled(
    hook: Hook, raw: socket.socket, overlapped: Overlapped
) -> None:
    hook.pend(socket.SIO_RCVALL)
    error, _ = control(hook, raw, socket.SIO_RCVALL, RCVALL_ON, None, overlapped)
    assert error == WSA_IO_PENDING
    assert result_of(hook, raw, overlapped, wait=False) == WSA_IO_INCOMPLETE
    assert hook.function(CancelIoEx, "CancelIoEx")(raw.fileno(), ctypes.byref(overlapped))
    assert result_of(hook, raw, overlapped, wait=True) == WSA_OPERATION_ABORTED


@pytest.mark.skipif(
    "WINSOCKCTL_OWN_NETWORK" not in os.environ,
    reason="needs an adapter that it may change: WINSOCKCTL_OWN_NETWORK is not set",
)
def test_a_pending_operation_succeeds_when_an_address_changes(
    hook: Hook, raw: socket.socket, overlapped: Overlapped
) -> None:
    hook.pend(socket.SIO_RCVALL)
    error, _ = control(hook, raw, socket.SIO_RCVALL, RCVALL_ON, None, overlapped)
    assert error == WSA_IO_PENDING
    for change in ("add", "del"):
        address = f"address {change} 192.0.2.77/24 dev {os.environ['WINSOCKCTL_OWN_NETWORK']}"
        ip = ["start", "/wait", "/unix", "/usr/sbin/ip", *address.split()]
        subprocess.run(ip, check=True, timeout=PATIENCE)
    assert result_of(hook, raw, overlapped, wait=True) == 0


def test_the_rules_hold_for_an_operation_that_would_pend(
    hook: Hook, raw: socket.socket, overlapped: Overlapped
) -> None:
    hook.pend(socket.SIO_RCVALL)
    wrong = struct.pack("<I", 4)
    assert control(hook, raw, socket.SIO_RCVALL, wrong, None, overlapped)[0] == WSAEINVAL


def test_an_operation_can_end_with_an_error(
    hook: Hook, raw: socket.socket, overlapped: Overlapped
) -> None:
    hook.fail("WSAGetOverlappedResult", WSAENETDOWN)
    assert control(hook, raw, socket.SIO_RCVALL, RCVALL_ON, None, overlapped)[0] == 0
    assert result_of(hook, raw, overlapped, wait=True) == WSAENETDOWN
    assert result_of(hook, raw, overlapped, wait=True) == 0


def test_what_comes_by_pointer_is_patched_too(hook: Hook, raw: socket.socket) -> None:
    wsarecvmsg = uuid.UUID("f689d7c8-6f1f-436b-8a53-e54fe351c322").bytes_le
    output = ctypes.create_string_buffer(8)
    code = SIO_GET_EXTENSION_FUNCTION_POINTER
    assert control(hook, raw, code, wsarecvmsg, output) == (0, 8)
    (address,) = struct.unpack("<Q", output.raw)
    data = ctypes.create_string_buffer(100)
    buffer = struct.pack("<LxxxxQ", len(data), ctypes.addressof(data))
    buffer_kept = ctypes.create_string_buffer(buffer)
    message = struct.pack(
        "<QLxxxxQLxxxxLxxxxQLxxxx", 0, 0, ctypes.addressof(buffer_kept), 1, 0, 0, 0
    )
    received = ctypes.c_uint32()
    hook.fail("WSARecvMsg", WSAENETDOWN)
    status = WSARecvMsg(address)(
        raw.fileno(), ctypes.create_string_buffer(message), ctypes.byref(received), None, None
    )
    assert (status, ctypes.get_last_error()) == (-1, WSAENETDOWN)
    assert hook.calls[-1].function == "WSARecvMsg"
    assert hook.calls[-1].arguments[:2] == (1, len(data))


def test_nothing_is_patched_any_more_behind_the_hook() -> None:
    with Hook(_socket) as hook:
        socket.socket().close()
        assert hook.names == ["WSASocketW", "closesocket"]
        hook.fail("WSASocketW", WSAEACCES)
    socket.socket().close()
    assert hook.count("WSASocketW") == 1
