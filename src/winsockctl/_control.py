"""The control operation (WSAIoctl) on any socket, and its wrappers."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from winsockctl import _winsockctl
from winsockctl._constants import ControlCode, RcvAll

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from winsockctl._winsockctl import RawSocket, _Descriptor


def descriptor_of(sock: _Descriptor) -> int:
    """Return the descriptor (Windows: handle) behind what a control operation is given."""
    if isinstance(sock, int):
        return sock
    if not hasattr(sock, "fileno"):
        raise TypeError(f"a socket or its descriptor is needed, not {type(sock).__name__}")
    return sock.fileno()


def ioctl(sock: _Descriptor, code: int, in_buffer: Buffer = b"", out_size: int = 0) -> bytes:
    """Issue a control code and wait until it is done (contract C1-C3, C7, C8).

    Args:
        sock: a ``socket.socket``, a ``RawSocket``, or a descriptor (Windows: a handle).
        code: the control code, a ``ControlCode`` or any 32-bit number.
        in_buffer: the input bytes.
        out_size: how many output bytes there is room for.

    Returns:
        The output, as many bytes as the system reported.

    Raises:
        WinsockError: WSAENOTSOCK if ``sock`` is no open socket; WSAEINVAL for an unknown code,
            an unacceptable input or the wrong type of socket; WSAEOPNOTSUPP for a code that
            this system or transport does not carry; WSAEFAULT for too small an output.

    https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsaioctl
    """
    return _winsockctl.ioctl(sock, code, in_buffer, out_size)


def set_rcvall(sock: RawSocket | _Descriptor, mode: RcvAll) -> None:
    """Issue SIO_RCVALL: what passes the bound interface is received from now on, or no longer.

    Args:
        sock: a bound ``RawSocket`` or its descriptor.
        mode: a ``RcvAll`` value (contract R1, R4-R7).

    Raises:
        WinsockError: WSAEINVAL for another value, for a socket that is not bound (R3) or that is
            no raw socket of the package's (R2).
        WinsockPermissionError: WSAEACCES without the privilege for promiscuous mode (R12).
    """
    ioctl(sock, ControlCode.SIO_RCVALL, struct.pack("=I", mode))
