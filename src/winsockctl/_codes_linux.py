"""The equals of control codes on Linux, behind the names that ``_codes`` calls."""

from __future__ import annotations

import errno
import fcntl
import ipaddress
import os
import socket
import struct
import sys
from array import array
from typing import TYPE_CHECKING

from winsockctl._constants import ControlCode
from winsockctl._control import descriptor_of
from winsockctl._errors import ErrorNumber, control_error
from winsockctl._interfaces import interfaces
from winsockctl._structures import InterfaceInfo, TcpInfo, TcpState, measured

if TYPE_CHECKING:
    from winsockctl._winsockctl import WinsockError, _Descriptor

assert sys.platform == "linux"

# The numbers that have another name in Winsock; the others differ by the prefix WSA.
_ERROR_NUMBERS = {
    errno.EBADF: ErrorNumber.WSAENOTSOCK,
    errno.EPERM: ErrorNumber.WSAEACCES,
    errno.ENFILE: ErrorNumber.WSAEMFILE,
    errno.ENODEV: ErrorNumber.WSAENETDOWN,
    errno.ENXIO: ErrorNumber.WSAENETDOWN,
    errno.ENOMEM: ErrorNumber.WSAENOBUFS,
} | {getattr(errno, number.name.removeprefix("WSA")): number for number in ErrorNumber}

# linux/sockios.h
_SIOCGIFCONF = 0x8912
_SIOCGIFFLAGS = 0x8913
_SIOCGIFDSTADDR = 0x8917
_SIOCGIFBRDADDR = 0x8919
_SIOCGIFNETMASK = 0x891B

# linux/if.h: struct ifreq is a name and a union, whose largest member is struct ifmap.
_IFREQ_SIZE = struct.calcsize("16sLLHBBB0L")
_IFREQ_FLAGS = struct.Struct("16xH")
_IFREQ_ADDRESS = struct.Struct("20x4s")
_IFCONF = struct.Struct("iP")
_IFF_UP = 0x0001
_IFF_BROADCAST = 0x0002
_IFF_LOOPBACK = 0x0008
_IFF_POINTOPOINT = 0x0010
_IFF_MULTICAST = 0x1000

# linux/tcp.h, struct tcp_info up to tcpi_snd_wnd: tcpi_state, tcpi_options, tcpi_snd_mss, tcpi_rtt,
# tcpi_snd_cwnd, tcpi_bytes_received, tcpi_min_rtt, tcpi_bytes_sent, tcpi_bytes_retrans,
# tcpi_snd_wnd
_TCP_INFO = struct.Struct("=B4xB10xI48xI8xI44xQ12xI48x2Q12xI")
_TCPI_OPT_TIMESTAMPS = 1
_TCP_STATES = {
    1: TcpState.ESTABLISHED,
    2: TcpState.SYN_SENT,
    3: TcpState.SYN_RCVD,
    4: TcpState.FIN_WAIT_1,
    5: TcpState.FIN_WAIT_2,
    6: TcpState.TIME_WAIT,
    7: TcpState.CLOSED,
    8: TcpState.CLOSE_WAIT,
    9: TcpState.LAST_ACK,
    10: TcpState.LISTEN,
    11: TcpState.CLOSING,
    12: TcpState.SYN_RCVD,  # TCP_NEW_SYN_RECV
}

_DISCARD_PORT = 9


def _failure(error: OSError, code: ControlCode, hint: str = "") -> WinsockError:
    number = _ERROR_NUMBERS.get(error.errno or 0, ErrorNumber.WSAEINVAL)
    if number is ErrorNumber.WSAENOTSOCK:
        hint = "the descriptor is closed or is no socket"
    return control_error(code, number, hint, system_error=error.errno)


def _same_socket(sock: _Descriptor, code: ControlCode) -> socket.socket:
    """Return another object for a socket, to be closed, which leaves the socket itself open."""
    descriptor = descriptor_of(sock)
    try:
        duplicate = os.dup(descriptor)
    except OverflowError:  # no descriptor is that large
        raise _failure(OSError(errno.EBADF, ""), code) from None
    except OSError as error:
        raise _failure(error, code) from None
    try:
        # Without SOCK_NONBLOCK the object would apply socket.setdefaulttimeout() to the socket.
        return socket.socket(type=socket.SOCK_NONBLOCK, fileno=duplicate)
    except OSError as error:
        os.close(duplicate)
        raise _failure(error, code) from None


def _family(sock: socket.socket) -> int:
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN)


def _is_tcp(sock: socket.socket) -> bool:
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL) == socket.IPPROTO_TCP


def tcp_info(sock: _Descriptor) -> TcpInfo:
    """TCP_INFO, tcp(7)."""
    code = ControlCode.SIO_TCP_INFO
    with _same_socket(sock, code) as same:
        if not _is_tcp(same):
            raise control_error(code, ErrorNumber.WSAEINVAL, "the socket must be a TCP socket")
        info = same.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    if len(info) < _TCP_INFO.size:
        raise control_error(code, ErrorNumber.WSAEOPNOTSUPP, "Linux 5.4 or later is needed")
    (
        state,
        options,
        mss,
        rtt_us,
        window_segments,
        bytes_in,
        min_rtt_us,
        bytes_out,
        bytes_retransmitted,
        send_window,
    ) = _TCP_INFO.unpack(info)
    return TcpInfo(
        state=_TCP_STATES[state],
        mss=mss,
        timestamps=bool(options & _TCPI_OPT_TIMESTAMPS),
        rtt_us=rtt_us,
        min_rtt_us=measured(min_rtt_us),
        congestion_window=window_segments * mss,
        send_window=send_window,
        bytes_out=bytes_out,
        bytes_in=bytes_in,
        bytes_retransmitted=bytes_retransmitted,
    )


def _interface_requests(sock: socket.socket) -> list[bytes]:
    """Return a struct ifreq with name and address for each IPv4 address, netdevice(7)."""
    room = 64 * _IFREQ_SIZE
    while True:
        buffer = array("B", bytes(room))
        request = _IFCONF.pack(room, buffer.buffer_info()[0])
        used, _ = _IFCONF.unpack(fcntl.ioctl(sock, _SIOCGIFCONF, request))
        if used < room:  # a full buffer may have been too small
            found = buffer.tobytes()[:used]
            return [found[i : i + _IFREQ_SIZE] for i in range(0, used, _IFREQ_SIZE)]
        room *= 2


def _interface_info(sock: socket.socket, request: bytes) -> InterfaceInfo:
    def address_by(operation: int) -> str:
        reply = fcntl.ioctl(sock, operation, request)
        return str(ipaddress.IPv4Address(_IFREQ_ADDRESS.unpack_from(reply)[0]))

    (flags,) = _IFREQ_FLAGS.unpack_from(fcntl.ioctl(sock, _SIOCGIFFLAGS, request))
    point_to_point = bool(flags & _IFF_POINTOPOINT)
    return InterfaceInfo(
        address=str(ipaddress.IPv4Address(_IFREQ_ADDRESS.unpack_from(request)[0])),
        netmask=address_by(_SIOCGIFNETMASK),
        broadcast=address_by(_SIOCGIFDSTADDR if point_to_point else _SIOCGIFBRDADDR),
        up=bool(flags & _IFF_UP),
        can_broadcast=bool(flags & _IFF_BROADCAST),
        loopback=bool(flags & _IFF_LOOPBACK),
        point_to_point=point_to_point,
        multicast=bool(flags & _IFF_MULTICAST),
    )


def interface_list(sock: _Descriptor) -> list[InterfaceInfo]:
    """SIOCGIFCONF, netdevice(7), on the socket itself: its network namespace."""
    code = ControlCode.SIO_GET_INTERFACE_LIST
    with _same_socket(sock, code) as same:
        if _family(same) != socket.AF_INET:
            raise control_error(code, ErrorNumber.WSAEINVAL, "the socket must be one of AF_INET")
        found = []
        for request in _interface_requests(same):
            try:
                found.append(_interface_info(same, request))
            except OSError as error:
                # ENODEV, EADDRNOTAVAIL: it went away after it was listed.
                if error.errno not in (errno.ENODEV, errno.EADDRNOTAVAIL):
                    raise _failure(error, code) from None
        return found


def _can_bind(family: int, address: str, index: int) -> bool:
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0) if family == socket.AF_INET else (address, 0, 0, index))
        except OSError:
            return False
        return True


def _with_scope(address: str, index: int) -> str:
    parsed = ipaddress.ip_address(address)
    return f"{address}%{index}" if parsed.version == 6 and parsed.is_link_local else address


def address_list(sock: _Descriptor) -> list[str]:
    """getifaddrs(3), by the rules of SIO_ADDRESS_LIST_QUERY."""
    code = ControlCode.SIO_ADDRESS_LIST_QUERY
    with _same_socket(sock, code) as same:
        family = _family(same)
    if family not in (socket.AF_INET, socket.AF_INET6):
        raise control_error(
            code, ErrorNumber.WSAEINVAL, "the socket must be one of AF_INET or AF_INET6"
        )
    found = []
    for interface in interfaces():
        for address in interface.addresses:
            parsed = ipaddress.ip_address(address)
            if (parsed.version == 6) != (family == socket.AF_INET6):
                continue
            if interface.loopback and (parsed.is_loopback or parsed.is_link_local):
                continue
            # An address whose uniqueness is not yet known can be listed, but not bound to.
            if _can_bind(family, address, interface.index):
                found.append(_with_scope(address, interface.index))
    return found


def routing_interface(sock: _Descriptor, destination: str) -> str:
    """connect(2) on a datagram socket sends nothing: it takes the route and its source address."""
    code = ControlCode.SIO_ROUTING_INTERFACE_QUERY
    with _same_socket(sock, code) as same:
        family = _family(same)
    try:
        (*_, target), *_ = socket.getaddrinfo(
            destination, _DISCARD_PORT, family, socket.SOCK_DGRAM, 0, socket.AI_NUMERICHOST
        )
    except socket.gaierror:
        raise control_error(
            code, ErrorNumber.WSAEINVAL, "the destination must be an address of the socket's family"
        ) from None
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            probe.connect(target)
        except OSError as error:
            raise _failure(error, code) from None
        address, _, *scope = probe.getsockname()
    return _with_scope(address.partition("%")[0], scope[-1] if scope else 0)


def base_handle(sock: _Descriptor) -> int:
    """There are no layers of providers: the descriptor itself."""
    with _same_socket(sock, ControlCode.SIO_BASE_HANDLE):
        return descriptor_of(sock)
