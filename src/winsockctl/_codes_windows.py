"""Control codes on Windows whose input or output is a structure, behind the names in ``_codes``."""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING

from winsockctl._constants import ControlCode
from winsockctl._control import ioctl
from winsockctl._errors import ErrorNumber, control_error
from winsockctl._structures import (
    TCP_INFO_V0,
    InterfaceInfo,
    TcpInfo,
    pack_sockaddr,
    parse_address_list,
    parse_interface_list,
    parse_sockaddr,
    parse_tcp_info,
)
from winsockctl._winsockctl import WinsockError

if TYPE_CHECKING:
    from winsockctl._winsockctl import _Descriptor

assert sys.platform == "win32"

# Bytes: what a list is tried with first, and the most that ioctl() takes.
_FIRST_ROOM = 16 * 1024
_LARGEST_ROOM = 1024 * 1024

_SOCKADDR_STORAGE_SIZE = 128


def _list(sock: _Descriptor, code: ControlCode) -> bytes:
    room = _FIRST_ROOM
    while True:
        try:
            return ioctl(sock, code, b"", room)
        except WinsockError as error:  # C8
            too_small = error.code in (ErrorNumber.WSAEFAULT, ErrorNumber.WSAEINVAL)
            if not too_small or room >= _LARGEST_ROOM:
                raise
        room *= 4


def tcp_info(sock: _Descriptor) -> TcpInfo:
    """SIO_TCP_INFO, version 0."""
    version = struct.pack("=I", 0)
    return parse_tcp_info(ioctl(sock, ControlCode.SIO_TCP_INFO, version, TCP_INFO_V0.size))


def interface_list(sock: _Descriptor) -> list[InterfaceInfo]:
    """SIO_GET_INTERFACE_LIST."""
    return parse_interface_list(_list(sock, ControlCode.SIO_GET_INTERFACE_LIST))


def address_list(sock: _Descriptor) -> list[str]:
    """SIO_ADDRESS_LIST_QUERY."""
    return parse_address_list(_list(sock, ControlCode.SIO_ADDRESS_LIST_QUERY))


def routing_interface(sock: _Descriptor, destination: str) -> str:
    """SIO_ROUTING_INTERFACE_QUERY."""
    code = ControlCode.SIO_ROUTING_INTERFACE_QUERY
    try:
        target = pack_sockaddr(destination)
    except ValueError:
        raise control_error(
            code, ErrorNumber.WSAEINVAL, "the interface behind the address must be its number"
        ) from None
    return parse_sockaddr(ioctl(sock, code, target, _SOCKADDR_STORAGE_SIZE))


def base_handle(sock: _Descriptor) -> int:
    """SIO_BASE_HANDLE."""
    handle = ioctl(sock, ControlCode.SIO_BASE_HANDLE, b"", struct.calcsize("P"))
    return int.from_bytes(handle, sys.byteorder)
