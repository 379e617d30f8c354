"""WSAIoctl on any socket (C1 to C8) and SIO_LOOPBACK_FAST_PATH as Linux answers it (F1 to F6)."""

import array
import errno
import os
import re
import socket
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest
from conftest import ERROR_CODES, ERROR_TYPES, FailsWith, OpenSocket, Tap
from missing import WINE
from network import PATIENCE, Port, eventually, read_until

import winsockctl
from winsockctl import ControlCode, RawSocket, RcvAll, WinsockError, ioctl, set_rcvall

RCVALL = "WSAIoctl(SIO_RCVALL)"
FAST_PATH = "WSAIoctl(SIO_LOOPBACK_FAST_PATH)"
KEEPALIVE = "WSAIoctl(SIO_KEEPALIVE_VALS)"
ON = struct.pack("=I", 1)

# Linux knows which codes there are, Windows' transports only which they carry.
UNKNOWN = ("WSAEINVAL",) if sys.platform == "linux" else ("WSAEINVAL", "WSAEOPNOTSUPP")

# Every code that has an equal on Linux; the others are known, but nothing carries them.
CARRIED = {
    ControlCode.FIONREAD,
    ControlCode.SIO_RCVALL,
    ControlCode.SIO_KEEPALIVE_VALS,
}

# Codes without an equal in bytes, and the function that does their work.
EQUALS = {
    ControlCode.SIO_TCP_INFO: "tcp_info",
    ControlCode.SIO_ROUTING_INTERFACE_QUERY: "routing_interface",
    ControlCode.SIO_ADDRESS_LIST_QUERY: "address_list",
    ControlCode.SIO_ADDRESS_LIST_CHANGE: "wait_address_list_change",
    ControlCode.SIO_BASE_HANDLE: "base_handle",
    ControlCode.SIO_GET_INTERFACE_LIST: "interface_list",
}


@pytest.fixture
def tcp() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        yield sock


@pytest.fixture
def udp() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        yield sock


@pytest.fixture
def stream() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A TCP connection over loopback."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), timeout=PATIENCE) as client,
        closing(server.accept()[0]) as served,
    ):
        yield client, served


# ---------------------------------------------------------------------------------------------
# C1: input and output


def test_c1_output_bytes_are_what_the_system_reported(
    stream: tuple[socket.socket, socket.socket],
) -> None:
    client, served = stream
    assert ioctl(client, ControlCode.FIONREAD, b"", 4) == bytes(4)
    served.sendall(b"seventeen bytes, ")
    waiting = struct.pack("=I", 17)
    assert eventually(lambda: ioctl(client, ControlCode.FIONREAD, b"", 4) == waiting)
    # More room does not make more output.
    assert ioctl(client, ControlCode.FIONREAD, b"", 64) == waiting


def test_c1_input_bytes_reach_the_system(tcp: socket.socket) -> None:
    values = struct.pack("=III", 1, 90_000, 7_000)
    assert ioctl(tcp, ControlCode.SIO_KEEPALIVE_VALS, values) == b""
    assert tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    if not WINE:  # which does not tell the times
        assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 90
        assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 7
    ioctl(tcp, ControlCode.SIO_KEEPALIVE_VALS, struct.pack("=III", 0, 90_000, 7_000))
    assert tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0


@pytest.mark.parametrize(
    "kind", [bytes, bytearray, memoryview, lambda data: array.array("B", data)]
)
def test_c1_input_is_any_bytes_like_object(
    tcp: socket.socket, kind: Callable[[bytes], bytes]
) -> None:
    ioctl(tcp, ControlCode.SIO_KEEPALIVE_VALS, kind(struct.pack("=III", 1, 30_000, 1_000)))
    assert tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


# ---------------------------------------------------------------------------------------------
# C2: any socket, and nothing else


def test_c2_a_socket_object_or_its_descriptor(udp: socket.socket) -> None:
    assert ioctl(udp, ControlCode.FIONREAD, b"", 4) == bytes(4)
    assert ioctl(udp.fileno(), ControlCode.FIONREAD, b"", 4) == bytes(4)


@pytest.mark.parametrize("how", ["object", "descriptor", "method", "set_rcvall"])
def test_c2_the_raw_socket_of_the_package(
    ends: tuple[Port, Port], live_backend: str, how: str
) -> None:
    local, _ = ends
    value = struct.pack("=I", RcvAll.ON)
    with RawSocket(socket.AF_INET, backend=live_backend) as raw:
        raw.bind(local.name)
        if how == "object":
            assert ioctl(raw, ControlCode.SIO_RCVALL, value) == b""
        elif how == "descriptor":
            assert ioctl(raw.fileno(), ControlCode.SIO_RCVALL, value) == b""
        elif how == "method":
            assert raw.ioctl(ControlCode.SIO_RCVALL, value) == b""
        else:
            set_rcvall(raw, RcvAll.ON)
        assert raw.mode == RcvAll.ON
        assert local.promiscuity() == 1
        # The codes of any other socket go through to the system.
        assert len(ioctl(raw, ControlCode.FIONREAD, b"", 4)) == 4


def test_c2_a_replay_takes_the_control_code(fails_with: FailsWith) -> None:
    with RawSocket.replay([]) as raw:
        raw.bind("anything")
        ioctl(raw, ControlCode.SIO_RCVALL, struct.pack("=I", RcvAll.IPLEVEL))
        assert raw.mode == RcvAll.IPLEVEL
        set_rcvall(raw, RcvAll.OFF)
        assert raw.mode == RcvAll.OFF


@pytest.mark.parametrize("code", [ControlCode.FIONREAD, ControlCode.SIO_RCVALL, 0x12345678])
@pytest.mark.parametrize("what", ["file", "pipe", "closed", "never opened", "negative", "huge"])
def test_c2_a_descriptor_that_is_no_socket(rcvall: object, what: str, code: int) -> None:
    with ExitStack() as stack:
        if what == "file":
            descriptor = stack.enter_context(tempfile.TemporaryFile()).fileno()
        elif what == "pipe":
            descriptor, other = os.pipe()
            stack.callback(os.close, descriptor)
            stack.callback(os.close, other)
        elif what == "closed":
            descriptor = os.dup(0)
            os.close(descriptor)
        else:
            descriptor = {"never opened": 1_000_000, "negative": -1, "huge": 2**40}[what]
        with pytest.raises(WinsockError, match=r"^\[Errno \d+\] WSAIoctl") as caught:
            ioctl(descriptor, code, ON, 4)
        assert (caught.value.symbol, caught.value.code) == ("WSAENOTSOCK", 10038)
        assert caught.value.hint


def test_c2_a_socket_that_is_closed(tap: Tap, fails_with: FailsWith) -> None:
    closed = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    closed.close()
    with pytest.raises(WinsockError, match="WSAENOTSOCK"):
        ioctl(closed, ControlCode.FIONREAD, b"", 4)
    raw = tap.open()
    raw.close()
    with fails_with("WSAENOTSOCK", "WSAIoctl"):
        ioctl(raw, ControlCode.SIO_RCVALL, ON)
    with fails_with("WSAENOTSOCK", "WSAIoctl"):
        raw.ioctl(ControlCode.SIO_RCVALL, ON)


@pytest.mark.linux
def test_c2_the_descriptor_of_a_closed_capture_is_forgotten(
    pair: tuple[Port, Port], open_socket: OpenSocket, live_backend: str, fails_with: FailsWith
) -> None:
    raw = open_socket(live_backend, "eth0")
    descriptor = raw.fileno()
    raw.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other, ExitStack() as stack:
        if other.fileno() != descriptor:  # the system gave another number than the lowest free one
            stack.callback(os.close, os.dup2(other.fileno(), descriptor))
        with fails_with("WSAEINVAL", RCVALL):
            ioctl(descriptor, ControlCode.SIO_RCVALL, ON)


@pytest.mark.parametrize("wrong", [None, 1.5, "socket", b"3", object()])
def test_c2_what_has_no_descriptor_is_a_type_error(wrong: object) -> None:
    with pytest.raises(TypeError, match="socket or its descriptor"):
        ioctl(wrong, ControlCode.FIONREAD, b"", 4)


# ---------------------------------------------------------------------------------------------
# C3: unknown codes, wrong types, codes that are not carried


@pytest.mark.parametrize("code", [0, 1, 0x98000099, 0xFFFFFFFF])
def test_c3_an_unknown_code(udp: socket.socket, code: int) -> None:
    with pytest.raises(WinsockError) as caught:
        ioctl(udp, code)
    assert caught.value.call == "WSAIoctl"
    assert caught.value.symbol in UNKNOWN
    assert "ControlCode" in caught.value.hint


@pytest.mark.parametrize("code", [0, 0x98000099])
def test_c3_an_unknown_code_on_a_raw_socket(tap: Tap, code: int) -> None:
    raw = tap.open()
    with pytest.raises(WinsockError) as caught:
        raw.ioctl(code)
    assert caught.value.call == "WSAIoctl"
    assert caught.value.symbol in UNKNOWN
    assert raw.mode == RcvAll.IPLEVEL


@pytest.mark.linux
@pytest.mark.parametrize("code", [code for code in ControlCode if code not in CARRIED])
def test_c3_a_known_code_that_linux_does_not_carry(
    tcp: socket.socket, fails_with: FailsWith, code: ControlCode
) -> None:
    with fails_with("WSAEOPNOTSUPP", f"WSAIoctl({code.name})") as caught:
        ioctl(tcp, code, ON)
    assert "Linux" in caught.value.hint
    named = re.findall(r"\bwinsockctl\.(\w+)\(\)", caught.value.hint)
    assert named == ([EQUALS[code]] if code in EQUALS else [])
    assert all(name in winsockctl.__all__ for name in named)


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("AF_INET", socket.SOCK_DGRAM),
        ("AF_INET", socket.SOCK_STREAM),
        ("AF_INET6", socket.SOCK_DGRAM),
        pytest.param("AF_UNIX", socket.SOCK_STREAM, marks=pytest.mark.linux),
    ],
)
def test_c3_rcvall_on_another_type_of_socket(  # R2
    rcvall: object, fails_with: FailsWith, family: str, kind: int
) -> None:
    with socket.socket(getattr(socket, family), kind) as sock:
        for call in (
            lambda: ioctl(sock, ControlCode.SIO_RCVALL, ON),
            lambda: ioctl(sock.fileno(), ControlCode.SIO_RCVALL, ON),
            lambda: set_rcvall(sock, RcvAll.ON),
        ):
            with fails_with("WSAEINVAL", RCVALL) as caught:
                call()
            assert "RawSocket" in caught.value.hint


def test_c3_rcvall_on_a_raw_socket_of_another_protocol(  # R2
    loopback: Port, rcvall: object, fails_with: FailsWith
) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock,
        fails_with("WSAEINVAL", RCVALL),
    ):
        ioctl(sock, ControlCode.SIO_RCVALL, ON)


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("AF_INET", "SOCK_DGRAM"),
        pytest.param("AF_UNIX", "SOCK_SEQPACKET", marks=pytest.mark.linux),
    ],
)
def test_c3_keepalive_on_another_type_of_socket(family: str, kind: str) -> None:
    with (
        socket.socket(getattr(socket, family), getattr(socket, kind)) as sock,
        pytest.raises(WinsockError) as caught,
    ):
        ioctl(sock, ControlCode.SIO_KEEPALIVE_VALS, struct.pack("=III", 1, 1000, 1000))
    assert caught.value.call == KEEPALIVE
    # The one is Linux's and Windows', the other what some transports answer.
    assert caught.value.symbol in ("WSAEINVAL", "WSAENOPROTOOPT")


def test_c3_keepalive_values_that_the_system_refuses(
    tcp: socket.socket, fails_with: FailsWith
) -> None:
    with fails_with("WSAEFAULT", KEEPALIVE):
        ioctl(tcp, ControlCode.SIO_KEEPALIVE_VALS, bytes(11))
    if sys.platform == "linux":
        with fails_with("WSAEINVAL", KEEPALIVE):
            ioctl(tcp, ControlCode.SIO_KEEPALIVE_VALS, struct.pack("=III", 1, 0, 0))


@pytest.mark.parametrize("code", [-1, 2**32, 2**70])
def test_c3_a_code_is_a_32_bit_number(udp: socket.socket, code: int) -> None:
    with pytest.raises(ValueError, match="control code"):
        ioctl(udp, code)


# ---------------------------------------------------------------------------------------------
# C7: every failure says what happened


@pytest.mark.parametrize("symbol", ERROR_CODES)
@pytest.mark.parametrize(
    ("step", "call"),
    [("socket", "socket"), ("bind", "bind"), ("WSAIoctl", RCVALL), ("receive", "receive")],
)
def test_c7_number_name_call_and_subclass(
    fails_with: FailsWith, symbol: str, step: str, call: str
) -> None:
    with fails_with(symbol, call) as caught:
        raw = RawSocket.replay([], faults={step: ERROR_CODES[symbol]})
        with raw:
            raw.bind("replay")
            raw.ioctl(ControlCode.SIO_RCVALL, ON)
            raw.receive(0)
    assert isinstance(caught.value, PermissionError) == (symbol == "WSAEACCES")
    assert isinstance(caught.value, InterruptedError) == (symbol == "WSAEINTR")
    assert issubclass(caught.type, ERROR_TYPES.get(symbol, OSError))
    assert str(ERROR_CODES[symbol]) in str(caught.value)


def test_c7_one_handler_for_every_failure_of_the_package(udp: socket.socket) -> None:
    with pytest.raises(OSError, match="WSAEFAULT") as caught:
        ioctl(udp, ControlCode.FIONREAD, b"", 3)
    assert isinstance(caught.value, WinsockError)
    assert caught.value.errno == errno.EFAULT  # the number that other programs know


# ---------------------------------------------------------------------------------------------
# C8: too little room


@pytest.mark.parametrize("size", range(4))
def test_c8_an_output_buffer_that_is_too_small(
    udp: socket.socket, fails_with: FailsWith, size: int
) -> None:
    with fails_with("WSAEFAULT", "WSAIoctl(FIONREAD)"):
        ioctl(udp, ControlCode.FIONREAD, b"", size)


def test_c8_an_impossible_size_is_a_value_error(udp: socket.socket) -> None:
    for size in (-1, 2**31):
        with pytest.raises(ValueError, match="out_size"):
            ioctl(udp, ControlCode.FIONREAD, b"", size)


# ---------------------------------------------------------------------------------------------
# SIO_LOOPBACK_FAST_PATH


@pytest.mark.parametrize("size", range(4))
def test_f1_an_input_shorter_than_the_boolean(
    rcvall: object, tcp: socket.socket, fails_with: FailsWith, size: int
) -> None:
    with fails_with("WSAEINVAL", FAST_PATH):
        ioctl(tcp, ControlCode.SIO_LOOPBACK_FAST_PATH, bytes(size))


@pytest.mark.parametrize("size", [1, 4, 64])
def test_f1_an_output_that_is_not_empty(
    rcvall: object, tcp: socket.socket, fails_with: FailsWith, size: int
) -> None:
    with fails_with("WSAEINVAL", FAST_PATH):
        ioctl(tcp, ControlCode.SIO_LOOPBACK_FAST_PATH, ON, size)


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("AF_INET", socket.SOCK_DGRAM),
        ("AF_INET6", socket.SOCK_DGRAM),
        pytest.param("AF_UNIX", socket.SOCK_STREAM, marks=pytest.mark.linux),
    ],
)
def test_f2_another_type_of_socket(
    rcvall: object, fails_with: FailsWith, family: str, kind: int
) -> None:
    with (
        socket.socket(getattr(socket, family), kind) as sock,
        fails_with("WSAEINVAL", FAST_PATH),
    ):
        ioctl(sock, ControlCode.SIO_LOOPBACK_FAST_PATH, ON)


@pytest.mark.linux
@pytest.mark.parametrize("asked", [False, True])
def test_f3_a_connection_takes_the_ordinary_way(
    loopback: Port, open_socket: OpenSocket, live_backend: str, asked: bool
) -> None:
    # The fast path leaves out the IP layer: nothing of it could be captured.
    raw = open_socket(live_backend, loopback.name)
    with socket.create_server((loopback.ipv4, 0)) as server, socket.socket() as client:
        if asked:
            for sock in (server, client):
                with pytest.raises(WinsockError, match="WSAEOPNOTSUPP"):
                    ioctl(sock, ControlCode.SIO_LOOPBACK_FAST_PATH, ON)
        client.connect(server.getsockname())
        served, _ = server.accept()
        with served:
            client.sendall(b"winsockctl over the ordinary way")
            read_until(raw, lambda d: bytes(d.data).endswith(b"winsockctl over the ordinary way"))
            assert served.recv(100) == b"winsockctl over the ordinary way"


@pytest.mark.linux
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("enable", [0, 1])
def test_f6_linux_answers_that_it_has_no_fast_path(
    fails_with: FailsWith, family: int, enable: int
) -> None:
    with (
        socket.socket(family, socket.SOCK_STREAM) as sock,
        fails_with("WSAEOPNOTSUPP", FAST_PATH) as caught,
    ):
        ioctl(sock, ControlCode.SIO_LOOPBACK_FAST_PATH, struct.pack("=I", enable))
    assert "Linux" in caught.value.hint
