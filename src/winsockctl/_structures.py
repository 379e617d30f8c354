"""What control codes tell, as Python objects, and how Winsock lays it out in bytes.

Everything here is bytes to objects and back, without a system call, so it is the same everywhere.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from enum import IntEnum


class TcpState(IntEnum):
    """The states of a TCP connection, RFC 9293 section 3.3.2, as Windows numbers them.

    https://learn.microsoft.com/windows/win32/api/mstcpip/ne-mstcpip-tcpstate
    """

    CLOSED = 0
    LISTEN = 1
    SYN_SENT = 2
    SYN_RCVD = 3
    ESTABLISHED = 4
    FIN_WAIT_1 = 5
    FIN_WAIT_2 = 6
    CLOSE_WAIT = 7
    CLOSING = 8
    LAST_ACK = 9
    TIME_WAIT = 10


@dataclass(frozen=True, slots=True)
class TcpInfo:
    """How a TCP connection is doing, as far as Windows and Linux both know it."""

    state: TcpState
    """Where the connection stands."""
    mss: int
    """Maximum segment size for sending, bytes."""
    timestamps: bool
    """Whether the two ends agreed on TCP time stamps (RFC 7323)."""
    rtt_us: int
    """Estimated round-trip time, microseconds; 0 before the first measurement."""
    min_rtt_us: int | None
    """Smallest measured round-trip time, microseconds; ``None`` before the first measurement."""
    congestion_window: int
    """Congestion window, bytes; Linux counts it in segments of ``mss`` bytes."""
    send_window: int
    """What the other end is ready to receive (SND.WND), bytes."""
    bytes_out: int
    """Bytes sent; on Linux those sent again are counted again."""
    bytes_in: int
    """Bytes received."""
    bytes_retransmitted: int
    """Bytes sent again."""


@dataclass(frozen=True, slots=True)
class InterfaceInfo:
    """One IPv4 address of a network interface, and what it is good for."""

    address: str
    """The address."""
    netmask: str
    """Its network mask."""
    broadcast: str
    """Its broadcast address; on a point-to-point link the address of the other end.

    Windows may answer 255.255.255.255 whatever the network, Linux 0.0.0.0 where there is none.
    """
    up: bool
    """Whether the interface is switched on (IFF_UP)."""
    can_broadcast: bool
    """Whether it can send to everybody (IFF_BROADCAST)."""
    loopback: bool
    """Whether it is the machine's own loopback (IFF_LOOPBACK)."""
    point_to_point: bool
    """Whether it leads to one other end only (IFF_POINTTOPOINT)."""
    multicast: bool
    """Whether it can send to groups (IFF_MULTICAST)."""


# winsock2.h; Python's socket.AF_INET6 is that of the system underneath.
_AF_INET = 2
_AF_INET6 = 23

# https://learn.microsoft.com/windows/win32/winsock/sockaddr-2
_SOCKADDR_IN = struct.Struct("=HH4s8x")
_SOCKADDR_IN6 = struct.Struct("=HHI16sI")
_FAMILY = struct.Struct("=H")

# https://learn.microsoft.com/windows/win32/api/mstcpip/ns-mstcpip-tcp_info_v0
# State, Mss, ConnectionTimeMs, TimestampsEnabled, RttUs, MinRttUs, BytesInFlight, Cwnd, SndWnd,
# RcvWnd, RcvBuf, BytesOut, BytesIn, BytesReordered, BytesRetrans, FastRetrans, DupAcksIn,
# TimeoutEpisodes, SynRetrans
TCP_INFO_V0 = struct.Struct("=2IQB3x7I2Q5IB3x")
_NOT_MEASURED = 0xFFFFFFFF

# https://learn.microsoft.com/windows/win32/api/ws2ipdef/ns-ws2ipdef-interface_info
# iiFlags, iiAddress, iiBroadcastAddress, iiNetmask, each address a sockaddr_gen of 24 bytes
_INTERFACE_INFO = struct.Struct("=I24s24s24s")
_IFF_UP = 0x01
_IFF_BROADCAST = 0x02
_IFF_LOOPBACK = 0x04
_IFF_POINTTOPOINT = 0x08
_IFF_MULTICAST = 0x10


def pack_sockaddr(address: str) -> bytes:
    """Lay out a numeric address, an IPv6 one perhaps with %SCOPE, as a sockaddr with port 0.

    Raises:
        ValueError: if it is no such address.
    """
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv4Address):
        return _SOCKADDR_IN.pack(_AF_INET, 0, parsed.packed)
    return _SOCKADDR_IN6.pack(_AF_INET6, 0, 0, parsed.packed, int(parsed.scope_id or 0))


def parse_sockaddr(sockaddr: bytes) -> str:
    """Return the address in a sockaddr_in or sockaddr_in6; IPv6 with %SCOPE if it has one.

    Raises:
        ValueError: if it is neither, or incomplete.
    """
    try:
        (family,) = _FAMILY.unpack_from(sockaddr)
        if family == _AF_INET:
            return str(ipaddress.IPv4Address(_SOCKADDR_IN.unpack_from(sockaddr)[2]))
        if family == _AF_INET6:
            _, _, _, packed, scope = _SOCKADDR_IN6.unpack_from(sockaddr)
            return str(ipaddress.IPv6Address(packed)) + (f"%{scope}" if scope else "")
    except struct.error:
        raise ValueError(f"a sockaddr of {len(sockaddr)} bytes is incomplete") from None
    raise ValueError(f"a sockaddr of family {family} is none of IPv4 or IPv6")


def parse_tcp_info(output: bytes) -> TcpInfo:
    """Read the output of SIO_TCP_INFO version 0.

    Raises:
        ValueError: if it is incomplete.
    """
    if len(output) < TCP_INFO_V0.size:
        raise ValueError(f"a TCP_INFO_v0 of {len(output)} bytes is incomplete")
    (
        state,
        mss,
        _connection_time_ms,
        timestamps,
        rtt_us,
        min_rtt_us,
        _bytes_in_flight,
        congestion_window,
        send_window,
        _receive_window,
        _receive_buffer,
        bytes_out,
        bytes_in,
        _bytes_reordered,
        bytes_retransmitted,
        *_,
    ) = TCP_INFO_V0.unpack_from(output)
    return TcpInfo(
        state=TcpState(state),
        mss=mss,
        timestamps=bool(timestamps),
        rtt_us=rtt_us,
        min_rtt_us=measured(min_rtt_us),
        congestion_window=congestion_window,
        send_window=send_window,
        bytes_out=bytes_out,
        bytes_in=bytes_in,
        bytes_retransmitted=bytes_retransmitted,
    )


def measured(time_us: int) -> int | None:
    """Return a smallest time so far; it begins as the largest 32-bit number, which means none."""
    return None if time_us == _NOT_MEASURED else time_us


def _ipv4_in(sockaddr_gen: bytes) -> str:
    # The family of a netmask is not relied upon: sin_addr has its place anyway.
    return str(ipaddress.IPv4Address(_SOCKADDR_IN.unpack_from(sockaddr_gen)[2]))


def parse_interface_list(output: bytes) -> list[InterfaceInfo]:
    """Read the output of SIO_GET_INTERFACE_LIST, an array of INTERFACE_INFO.

    Raises:
        ValueError: if the last one is incomplete.
    """
    if len(output) % _INTERFACE_INFO.size:
        raise ValueError(f"{len(output)} bytes are no whole number of INTERFACE_INFO")
    return [
        InterfaceInfo(
            address=_ipv4_in(address),
            netmask=_ipv4_in(netmask),
            broadcast=_ipv4_in(broadcast),
            up=bool(flags & _IFF_UP),
            can_broadcast=bool(flags & _IFF_BROADCAST),
            loopback=bool(flags & _IFF_LOOPBACK),
            point_to_point=bool(flags & _IFF_POINTTOPOINT),
            multicast=bool(flags & _IFF_MULTICAST),
        )
        for flags, address, broadcast, netmask in _INTERFACE_INFO.iter_unpack(output)
    ]


def parse_address_list(output: bytes, pointer_size: int = struct.calcsize("P")) -> list[str]:
    """Read the output of SIO_ADDRESS_LIST_QUERY, a SOCKET_ADDRESS_LIST and its sockaddrs.

    Its pointers are those of the buffer that the system wrote to, which is gone. The sockaddrs
    follow the list, so the lowest pointer stands for the first byte behind it.
    https://learn.microsoft.com/windows/win32/api/ws2def/ns-ws2def-socket_address_list

    Args:
        output: the bytes.
        pointer_size: 8 in a 64-bit process, 4 in a 32-bit one.

    Raises:
        ValueError: if it is incomplete or points out of itself.
    """
    # {INT iAddressCount; {LPSOCKADDR lpSockaddr; INT iSockaddrLength;} Address[];}
    entry = struct.Struct("=Qi4x" if pointer_size == 8 else "=Ii")
    if len(output) < pointer_size:
        raise ValueError(f"a SOCKET_ADDRESS_LIST of {len(output)} bytes is incomplete")
    (count,) = struct.unpack_from("=i", output)
    start = pointer_size + count * entry.size
    if not 0 <= count <= (len(output) - pointer_size) // entry.size:
        raise ValueError(f"{len(output)} bytes are too few for {count} addresses")
    entries = list(entry.iter_unpack(output[pointer_size:start]))
    lowest = min((pointer for pointer, _ in entries), default=0)
    addresses = []
    for pointer, length in entries:
        offset = start + pointer - lowest
        if length < 0 or length > len(output) - offset:
            raise ValueError("a SOCKET_ADDRESS_LIST points out of itself")
        addresses.append(parse_sockaddr(output[offset : offset + length]))
    return addresses
