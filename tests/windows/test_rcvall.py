"""SIO_RCVALL itself, without the hook: what Windows does, which Wine has no equal of."""

import socket
import struct
import time
from collections.abc import Iterator

import pytest
from missing import carried

from winsockctl import Capture, RcvAll

PATIENCE = 20.0  # seconds
LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
HEADER = {socket.AF_INET: 20, socket.AF_INET6: 40}  # bytes

families = pytest.mark.parametrize("family", LOOPBACK)


@pytest.fixture
def udp(family: socket.AddressFamily) -> Iterator[socket.socket]:
    with socket.socket(family, socket.SOCK_DGRAM) as bound:
        bound.bind((LOOPBACK[family], 0))
        bound.settimeout(PATIENCE)
        yield bound


def exchange(capture: Capture, udp: socket.socket, payload: bytes) -> bytes:
    """Send a datagram over loopback, and give what was captured of it."""
    udp.sendto(payload, udp.getsockname()[:2])
    assert udp.recv(65535) == payload
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for view in capture.read(1):
            if bytes(view).endswith(payload):
                return bytes(view)
    raise AssertionError("the datagram was not captured")


@families
@pytest.mark.parametrize("mode", [RcvAll.ON, RcvAll.IPLEVEL])
def test_r4_r5_r11_a_whole_datagram_with_its_header(
    family: socket.AddressFamily, mode: RcvAll, udp: socket.socket
) -> None:
    address, port = udp.getsockname()[:2]
    with carried(lambda: Capture(address, mode=mode, filter=f"udp port {port}")) as capture:
        datagram = exchange(capture, udp, b"a payload of its own")
    header = HEADER[family]
    assert datagram[0] >> 4 == (4 if family == socket.AF_INET else 6)
    assert datagram[header - 2 * len(socket.inet_pton(family, address)) : header] == (
        socket.inet_pton(family, address) * 2
    )
    assert struct.unpack_from(">HHH", datagram, header) == (port, port, len(datagram) - header)


@pytest.mark.parametrize("family", [socket.AF_INET])
def test_r7_r15_off_and_on_again(family: socket.AddressFamily, udp: socket.socket) -> None:
    port = udp.getsockname()[1]
    with carried(lambda: Capture("127.0.0.1", filter=f"udp port {port}")) as capture:
        exchange(capture, udp, b"before")
        capture.mode = RcvAll.OFF
        capture.mode = RcvAll.IPLEVEL
        exchange(capture, udp, b"after")
