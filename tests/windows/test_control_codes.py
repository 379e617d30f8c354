"""Control codes on Windows: handles that are no sockets, and what SIO_LOOPBACK_FAST_PATH refuses.

The hook stands in for SIO_LOOPBACK_FAST_PATH by our reading of its reference page.
"""

import ctypes
import os
import socket
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator

import pytest

if sys.platform != "win32":
    pytest.skip("needs the handles of Windows", allow_module_level=True)

import msvcrt

from hook import Hook

from winsockctl import (
    ControlCode,
    WinsockError,
    _winsockctl,
    ioctl,
    set_loopback_fast_path,
    start_ioctl,
)

ON = struct.pack("=I", 1)
FAST_PATH = ControlCode.SIO_LOOPBACK_FAST_PATH


@pytest.fixture(params=["event", "file", "pipe", "closed", "never", "largest"])
def no_socket(request: pytest.FixtureRequest) -> Iterator[int]:
    """A handle that is no socket."""
    kernel = ctypes.WinDLL("kernel32")
    kernel.CreateEventW.restype = ctypes.c_void_p
    if request.param == "event":
        handle = kernel.CreateEventW(None, True, False, None)
        yield handle
        kernel.CloseHandle(ctypes.c_void_p(handle))
    elif request.param == "file":
        with tempfile.TemporaryFile() as file:
            yield msvcrt.get_osfhandle(file.fileno())
    elif request.param == "pipe":
        ends = os.pipe()
        yield msvcrt.get_osfhandle(ends[0])
        for end in ends:
            os.close(end)
    elif request.param == "closed":
        with socket.socket() as sock:
            handle = sock.fileno()
        yield handle
    else:
        yield {"never": 0x7FFFFFF0, "largest": -1}[request.param]


@pytest.mark.parametrize("call", [ioctl, start_ioctl])
@pytest.mark.parametrize("code", [*ControlCode, 0x12345678], ids=hex)
def test_c2_a_handle_that_is_no_socket(
    no_socket: int, code: int, call: Callable[..., object]
) -> None:
    with pytest.raises(WinsockError) as caught:
        call(no_socket, code, ON, 16)
    assert (caught.value.code, caught.value.symbol) == (10038, "WSAENOTSOCK")
    name = f"({code.name})" if isinstance(code, ControlCode) else ""
    assert caught.value.call == f"WSAIoctl{name}"
    assert "no socket" in caught.value.hint


@pytest.fixture
def hook() -> Iterator[Hook]:
    if "WINSOCKCTL_HOOK" not in os.environ:
        pytest.skip("needs the hook: WINSOCKCTL_HOOK is not set")
    with Hook(_winsockctl) as patched:
        yield patched


def asked(hook: Hook) -> int:
    """How often the system was asked for the fast path."""
    return sum(
        call.function == "WSAIoctl" and call.arguments[0] == FAST_PATH for call in hook.calls
    )


@pytest.mark.parametrize("required", [True, False])
def test_f4_asking_on_a_connected_socket_is_too_late(hook: Hook, required: bool) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
        server.accept()[0] as accepted,
    ):
        for sock in (client, accepted):
            with pytest.raises(WinsockError, match="WSAEINVAL") as caught:
                set_loopback_fast_path(sock, required=required)
            assert "before connect()" in caught.value.hint
            assert "before accept()" in caught.value.hint
        assert asked(hook) == 0
        assert set_loopback_fast_path(server) is True


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("required", [True, False])
def test_f2_another_socket_than_one_of_tcp(
    hook: Hook, family: socket.AddressFamily, required: bool
) -> None:
    with (
        socket.socket(family, socket.SOCK_DGRAM) as udp,
        pytest.raises(WinsockError, match="WSAEINVAL"),
    ):
        set_loopback_fast_path(udp, required=required)
    assert asked(hook) == 1


def test_f1_there_is_no_output_and_four_bytes_of_input(hook: Hook) -> None:
    with socket.socket() as tcp:
        for given, size in ((ON, 1), (ON, 4), (b"", 0), (ON[:3], 0)):
            with pytest.raises(WinsockError) as caught:
                ioctl(tcp, FAST_PATH, given, size)
            assert (caught.value.symbol, caught.value.call) == (
                "WSAEINVAL",
                "WSAIoctl(SIO_LOOPBACK_FAST_PATH)",
            )
        assert ioctl(tcp, FAST_PATH, ON) == b""


@pytest.mark.parametrize("enable", [True, False])
def test_f6_a_transport_without_it(hook: Hook, enable: bool) -> None:
    hook.fail("WSAIoctl", 10045, code=FAST_PATH, times=2)
    with socket.socket() as tcp:
        with pytest.raises(WinsockError, match="WSAEOPNOTSUPP") as caught:
            set_loopback_fast_path(tcp, enable)
        assert "does not carry" in caught.value.hint
        assert set_loopback_fast_path(tcp, enable, required=False) is False


@pytest.mark.parametrize(("code", "symbol"), [(10050, "WSAENETDOWN"), (10013, "WSAEACCES")])
def test_f6_any_other_failure_is_no_answer(hook: Hook, code: int, symbol: str) -> None:
    hook.fail("WSAIoctl", code, code=FAST_PATH)
    with socket.socket() as tcp, pytest.raises(WinsockError, match=symbol):
        set_loopback_fast_path(tcp, required=False)


def test_f8_the_documentation_says_that_it_is_deprecated_and_what_to_use_instead() -> None:
    text = set_loopback_fast_path.__doc__
    assert "Deprecated" in text
    assert "AF_UNIX" in text
    for option in ["IP_TTL", "IPV6_V6ONLY", "SO_CONDITIONAL_ACCEPT", "SO_RCVBUF", "TCP_BSDURGENT"]:
        assert option in text  # F9
