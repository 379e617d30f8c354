"""Control codes as functions: the same names, types and errors on Windows and on Linux.

A code that Linux has no equal of is answered there as ``ioctl`` answers it: WSAEOPNOTSUPP.
``docs/control-codes.md`` lists the codes and what each system does with them.
"""

from __future__ import annotations

import ipaddress
import struct
import sys
from typing import TYPE_CHECKING

from winsockctl._constants import ControlCode, RcvAll
from winsockctl._control import ioctl
from winsockctl._errors import ErrorNumber, control_error
from winsockctl._operation import start_ioctl
from winsockctl._winsockctl import WinsockError

if sys.platform == "win32":
    from winsockctl import _codes_windows as _system
else:
    from winsockctl import _codes_linux as _system

if TYPE_CHECKING:
    from winsockctl._structures import InterfaceInfo, TcpInfo
    from winsockctl._winsockctl import _Descriptor

# Seconds: a tcp_keepalive counts milliseconds in 32 bits.
_SHORTEST_KEEPALIVE = 0.001
_LONGEST_KEEPALIVE = 0xFFFFFFFF / 1000


def set_rcvall_mcast(sock: _Descriptor, mode: RcvAll) -> None:
    """Issue SIO_RCVALL_MCAST: the IPv4 datagrams to every multicast group are received, or not.

    Args:
        sock: a ``socket.socket`` or its handle, of AF_INET, SOCK_RAW and IPPROTO_UDP, bound to an
            explicit address and port 0.
        mode: ``RcvAll.ON`` or ``RcvAll.OFF``.

    Raises:
        WinsockError: WSAEINVAL for another type of socket or one that is not bound; WSAEOPNOTSUPP
            on Linux, which has no equal.
        WinsockPermissionError: WSAEACCES without administrator rights.

    https://learn.microsoft.com/windows/win32/winsock/winsock-ioctls
    """
    ioctl(sock, ControlCode.SIO_RCVALL_MCAST, struct.pack("=I", mode))


def set_rcvall_igmpmcast(sock: _Descriptor, mode: RcvAll) -> None:
    """Issue SIO_RCVALL_IGMPMCAST: IGMP datagrams to every multicast group are received, or not.

    Args:
        sock: a ``socket.socket`` or its handle, of AF_INET, SOCK_RAW and IPPROTO_IGMP, bound to an
            explicit address.
        mode: ``RcvAll.ON`` or ``RcvAll.OFF``.

    Raises:
        WinsockError: WSAEINVAL for another type of socket or one that is not bound; WSAEOPNOTSUPP
            on Linux, which has no equal.
        WinsockPermissionError: WSAEACCES without administrator rights.

    https://learn.microsoft.com/windows/win32/winsock/winsock-ioctls
    """
    ioctl(sock, ControlCode.SIO_RCVALL_IGMPMCAST, struct.pack("=I", mode))


def set_loopback_fast_path(
    sock: _Descriptor, enable: bool = True, *, required: bool = True
) -> bool:
    """Issue SIO_LOOPBACK_FAST_PATH: ask for TCP over loopback without the IP layer (F1-F9).

    Deprecated by Microsoft, who advises against it in new code, and answered with WSAEOPNOTSUPP by
    systems that do not have it. Use an ordinary TCP connection over loopback, which needs no
    request, or AF_UNIX sockets between processes of one machine.

    Both ends must ask: the connecting one before ``connect()``, the listening one before
    ``accept()``; accepted sockets inherit it (F4). It is off by default (F3), works over IPv4 and
    IPv6, and has no effect on a connection that leaves the machine (F5). Socket options that hold
    with it: IP_TTL, IP_UNICAST_IF, IPV6_UNICAST_HOPS, IPV6_UNICAST_IF, IPV6_V6ONLY,
    SO_CONDITIONAL_ACCEPT, SO_EXCLUSIVEADDRUSE, SO_PORT_SCALABILITY, SO_RCVBUF, SO_REUSEADDR and
    TCP_BSDURGENT (F9).

    Args:
        sock: a TCP socket that is not connected yet, or its descriptor.
        enable: whether to use the fast path.
        required: False if the connection does as well without: then WSAEOPNOTSUPP is an answer and
            no error (F6).

    Returns:
        Whether the system took the request; always True if it is required.

    Raises:
        WinsockError: WSAEINVAL for a socket that is already connected (F4) or is none of TCP (F2);
            WSAEOPNOTSUPP without a fast path, as on Linux, if it is required (F6).

    https://learn.microsoft.com/windows/win32/winsock/sio-loopback-fast-path
    """
    code = ControlCode.SIO_LOOPBACK_FAST_PATH
    try:
        ioctl(sock, code, struct.pack("=I", bool(enable)))
    except WinsockError as error:
        if required or error.code != ErrorNumber.WSAEOPNOTSUPP:
            raise
        return False
    return True


def _milliseconds(name: str, seconds: float) -> int:
    if not _SHORTEST_KEEPALIVE <= seconds <= _LONGEST_KEEPALIVE:
        raise ValueError(
            f"{name} must be {_SHORTEST_KEEPALIVE} to {_LONGEST_KEEPALIVE} seconds, not {seconds}"
        )
    return round(seconds * 1000)


def set_keepalive(sock: _Descriptor, on: bool, idle: float = 7200.0, interval: float = 1.0) -> None:
    """Issue SIO_KEEPALIVE_VALS: whether and when TCP asks a silent peer if it is still there.

    The defaults are those of Windows.

    Args:
        sock: a TCP socket or its descriptor.
        on: whether to send keep-alive probes.
        idle: seconds of silence before the first probe, 0.001 to 4294967.295. Linux counts whole
            seconds, rounded up, at most 32767.
        interval: seconds between probes that are not answered, as ``idle``.

    Raises:
        ValueError: if ``idle`` or ``interval`` is out of range.
        WinsockError: WSAEINVAL (Windows: WSAENOPROTOOPT) if the socket is none of TCP; WSAEINVAL
            for more seconds than the system takes.

    https://learn.microsoft.com/windows/win32/winsock/sio-keepalive-vals
    """
    values = (bool(on), _milliseconds("idle", idle), _milliseconds("interval", interval))
    ioctl(sock, ControlCode.SIO_KEEPALIVE_VALS, struct.pack("=III", *values))


def set_udp_connreset(sock: _Descriptor, enable: bool) -> None:
    """Issue SIO_UDP_CONNRESET: whether receiving fails after a datagram found its port closed.

    Windows reports an ICMP port-unreachable message as WSAECONNRESET of the next receive call, also
    on a socket that talks to many peers; False stops that.

    Args:
        sock: a UDP socket or its handle.
        enable: whether it is reported, as it is by default.

    Raises:
        WinsockError: WSAEOPNOTSUPP on Linux, which never reports it on a socket that is not
            connected.

    https://learn.microsoft.com/windows/win32/winsock/winsock-ioctls
    """
    ioctl(sock, ControlCode.SIO_UDP_CONNRESET, struct.pack("=I", bool(enable)))


def tcp_info(sock: _Descriptor) -> TcpInfo:
    """Return how a TCP connection is doing: SIO_TCP_INFO, on Linux the option TCP_INFO.

    Args:
        sock: a TCP socket or its descriptor.

    Raises:
        WinsockError: WSAEINVAL if the socket is none of TCP; WSAEOPNOTSUPP before Windows 10 1703
            and before Linux 5.4.

    https://learn.microsoft.com/windows/win32/winsock/sio-tcp-info
    https://man7.org/linux/man-pages/man7/tcp.7.html
    """
    return _system.tcp_info(sock)


def interface_list(sock: _Descriptor) -> list[InterfaceInfo]:
    """Return the IPv4 addresses of the interfaces: SIO_GET_INTERFACE_LIST, on Linux SIOCGIFCONF.

    ``interfaces`` tells names and IPv6 addresses.

    Args:
        sock: any socket of AF_INET, or its descriptor. On Linux its network namespace counts.

    Raises:
        WinsockError: WSAEINVAL for a socket of another family.

    https://learn.microsoft.com/windows/win32/winsock/winsock-ioctls
    https://learn.microsoft.com/windows/win32/api/ws2ipdef/ns-ws2ipdef-interface_info
    https://man7.org/linux/man-pages/man7/netdevice.7.html
    """
    return _system.interface_list(sock)


def address_list(sock: _Descriptor) -> list[str]:
    """Return the local addresses that a socket can be bound to: SIO_ADDRESS_LIST_QUERY.

    Those of the socket's family only. Left out are loopback and link-local addresses of the
    loopback interface, and IPv6 addresses whose uniqueness is still being found out. A link-local
    IPv6 address carries its interface: ``fe80::1%12``.

    Args:
        sock: a socket of AF_INET or AF_INET6, or its descriptor. On Linux the network namespace of
            the calling thread counts.

    Raises:
        WinsockError: WSAEINVAL for a socket of another family.

    https://learn.microsoft.com/windows/win32/winsock/sio-address-list-query
    """
    return _system.address_list(sock)


def wait_address_list_change(sock: _Descriptor, timeout: float | None = None) -> bool:
    """Wait until the machine gets or loses an address: SIO_ADDRESS_LIST_CHANGE.

    A change before the call is not noticed. To miss none, start the operation, query the list, and
    only then wait:

        change = start_ioctl(sock, ControlCode.SIO_ADDRESS_LIST_CHANGE)
        addresses = address_list(sock)
        change.wait()                       # or: await change

    Args:
        sock: a socket of AF_INET or AF_INET6, or its descriptor: addresses of this family count.
            On Linux the network namespace of the calling thread counts. A handle without the
            overlapped attribute (Windows) waits without a timeout (contract C5).
        timeout: seconds; ``None`` waits for ever.

    Returns:
        Whether there was a change.

    Raises:
        WinsockError: WSAEINVAL for a socket of another family; WSA_OPERATION_ABORTED if the socket
            is closed meanwhile (contract C6).

    https://learn.microsoft.com/windows/win32/winsock/winsock-ioctls
    """
    operation = start_ioctl(sock, ControlCode.SIO_ADDRESS_LIST_CHANGE)
    if not operation.wait(timeout):
        return False
    operation.result()
    return True


def routing_interface(sock: _Descriptor, destination: str) -> str:
    """Return the local address that datagrams to a destination leave from.

    SIO_ROUTING_INTERFACE_QUERY; on Linux what connect(2) on a UDP socket chooses. Nothing is sent.

    Args:
        sock: a socket of AF_INET or AF_INET6, or its descriptor. On Linux the network namespace of
            the calling thread counts, not what this socket is bound to.
        destination: a numeric address of the socket's family, unicast or multicast; a link-local
            IPv6 address with its interface: ``fe80::1%12``.

    Raises:
        WinsockError: WSAEINVAL for a destination that is no address or one of another family
            (Windows: WSAEAFNOSUPPORT); WSAENETUNREACH or WSAEHOSTUNREACH without a route to it;
            WSAEACCES for a route that prohibits it.

    https://learn.microsoft.com/windows/win32/winsock/winsock-ioctls
    https://man7.org/linux/man-pages/man7/ip.7.html
    """
    try:
        ipaddress.ip_address(destination)
    except ValueError:
        raise control_error(
            ControlCode.SIO_ROUTING_INTERFACE_QUERY,
            ErrorNumber.WSAEINVAL,
            "the destination must be a numeric IPv4 or IPv6 address",
        ) from None
    return _system.routing_interface(sock, destination)


def base_handle(sock: _Descriptor) -> int:
    """Return the handle below all layered service providers: SIO_BASE_HANDLE.

    On Linux there are no such layers: the descriptor itself.

    Args:
        sock: any socket, or its descriptor.

    Raises:
        WinsockError: WSAENOTSOCK if it is none.

    https://learn.microsoft.com/windows/win32/winsock/winsock-ioctls
    """
    return _system.base_handle(sock)
