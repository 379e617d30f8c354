"""One line a datagram: who to whom, which protocol, what matters in it, how long."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import dpkt

from winsockctl import RecordFlag

if TYPE_CHECKING:
    from collections.abc import Iterator

    from winsockctl import Datagram

# Where the name that dpkt has is not the one that people use.
_PROTOCOL_NAMES = {4: "IPv4", 33: "DCCP", 41: "IPv6", 58: "ICMPv6", 136: "UDPLite", 255: None}

# https://www.iana.org/assignments/icmp-parameters
_ICMP_TYPES = {
    0: "echo reply",
    3: "destination unreachable",
    4: "source quench",
    5: "redirect",
    8: "echo request",
    9: "router advertisement",
    10: "router solicitation",
    11: "time exceeded",
    12: "parameter problem",
    13: "timestamp request",
    14: "timestamp reply",
    42: "extended echo request",
    43: "extended echo reply",
}
_ICMP_CODES = {
    (3, 0): "network unreachable",
    (3, 1): "host unreachable",
    (3, 2): "protocol unreachable",
    (3, 3): "port unreachable",
    (3, 4): "fragmentation needed",
    (3, 13): "administratively prohibited",
    (11, 0): "time exceeded in transit",
    (11, 1): "time exceeded in reassembly",
}
# https://www.iana.org/assignments/icmpv6-parameters
_ICMPV6_TYPES = {
    1: "destination unreachable",
    2: "packet too big",
    3: "time exceeded",
    4: "parameter problem",
    128: "echo request",
    129: "echo reply",
    130: "multicast listener query",
    131: "multicast listener report",
    132: "multicast listener done",
    133: "router solicitation",
    134: "router advertisement",
    135: "neighbor solicitation",
    136: "neighbor advertisement",
    137: "redirect",
    143: "multicast listener report v2",
}
_ICMPV6_CODES = {
    (1, 0): "no route to destination",
    (1, 1): "administratively prohibited",
    (1, 3): "address unreachable",
    (1, 4): "port unreachable",
    (3, 0): "time exceeded in transit",
    (3, 1): "time exceeded in reassembly",
}
_UNREAD = "(too short to read)"


@dataclass(frozen=True, slots=True)
class Summary:
    """What a line says of a datagram, apart from its time and length."""

    version: int
    """4 or 6."""
    source: str
    """The address; ``?`` if it was not captured."""
    destination: str
    protocol: int | None
    """The number of what IP carries, behind the extension headers; ``None`` if not known."""
    ports: tuple[int, int] | None = None
    """Source and destination port."""
    identifier: int | None = None
    """Of an ICMP or ICMPv6 echo message."""
    detail: str = ""
    """The flags or the type that matter."""

    def __str__(self) -> str:
        source, destination = self.source, self.destination
        if self.ports is not None:
            source, destination = (
                f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
                for address, port in zip((source, destination), self.ports, strict=True)
            )
        return f"{source} > {destination} {protocol_name(self.protocol)} {self.detail}".rstrip()


@dataclass(frozen=True, slots=True)
class _Fragment:
    identification: int
    offset: int
    more: bool

    def __str__(self) -> str:
        rest = "more follow" if self.more else "last"
        return f"fragment id {self.identification:#x} offset {self.offset} {rest}"


def line(datagram: Datagram) -> str:
    """Return the line of a datagram."""
    length = datagram.original_length
    text = f"{_clock(datagram.timestamp_ns)} {summarize(datagram)}"
    text = f"{text} length {length}"
    return f"{text} [truncated {datagram.length} of {length}]" if datagram.truncated else text


def hex_dump(data: memoryview) -> Iterator[str]:
    """Iterate over the lines of a hex dump: offset, 16 bytes, the same as ASCII."""
    for offset in range(0, len(data), 16):
        row = bytes(data[offset : offset + 16])
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        yield f"    {offset:04x}  {row.hex(' '):<47}  {text}"


def summarize(datagram: Datagram) -> Summary:
    """Dissect a datagram; never raises, whatever is in it."""
    data, length, flags = bytes(datagram.data), datagram.original_length, datagram.flags
    if data[0] >> 4 == 4:
        header = _unpack(dpkt.ip.IP, data)
        start = max(header.hl * 4, header.__hdr_len__)
        offset = header.offset * 8
        fragment = _Fragment(header.id, offset, bool(header.mf)) if header.mf or offset else None
        family, protocol, known = socket.AF_INET, header.p, len(data) > 9
        ends = 16, 20
    else:
        header = _unpack(dpkt.ip6.IP6, data)
        protocol, start, fragment = _skip_extension_headers(header.nxt, data, header.__hdr_len__)
        family, known = socket.AF_INET6, len(data) > 6
        ends = 24, 40
    source, destination = (
        socket.inet_ntop(family, address) if len(data) >= end else "?"
        for address, end in zip((header.src, header.dst), ends, strict=True)
    )
    facts: dict[str, Any] = {"detail": ""}
    if known and (fragment is None or fragment.offset == 0) and protocol in _DISSECTORS:
        facts = _DISSECTORS[protocol](data[start:], length - start)
    if RecordFlag.NEXT_HEADER_UNKNOWN in flags:
        known, facts["detail"] = False, "(next header not told by the system)"
    if RecordFlag.DESTINATION_UNKNOWN in flags:
        destination = "?"
    if fragment is not None:
        facts["detail"] = f"{facts['detail']} {fragment}".lstrip()
    return Summary(
        version=4 if family == socket.AF_INET else 6,
        source=source,
        destination=destination,
        protocol=protocol if known else None,
        **facts,
    )


def protocol_name(protocol: int | None) -> str:
    """Return the usual name of a protocol number, or the number in words."""
    if protocol is None:
        return "protocol ?"
    name = _PROTOCOL_NAMES.get(protocol, dpkt.ip.get_ip_proto_name(protocol))
    return name or f"protocol {protocol}"


def _unpack(kind: Any, data: bytes) -> Any:
    """Unpack one header; what is missing of it counts as zero, what is inside is left alone.

    By itself dpkt unpacks all layers at once, and gives up the outer ones for an inner one that
    it cannot read.
    """
    header = kind.__new__(kind)
    dpkt.Packet.unpack(header, data.ljust(kind.__hdr_len__, b"\0"))
    return header


def _skip_extension_headers(
    protocol: int, data: bytes, start: int
) -> tuple[int, int, _Fragment | None]:
    """Return the protocol behind the IPv6 extension headers, where it begins, and the fragment."""
    fragment = None
    # An encrypted payload (ESP) has no next header that could be read.
    while protocol in dpkt.ip6.EXT_HDRS_CLS and protocol != dpkt.ip.IP_PROTO_ESP:
        try:
            header = dpkt.ip6.EXT_HDRS_CLS[protocol](data[start:])
        except dpkt.UnpackError:
            break
        protocol = header.nxt
        start += header.length
        if isinstance(header, dpkt.ip6.IP6FragmentHeader):
            fragment = _Fragment(header.id, header.frag_off * 8, bool(header.m_flag))
            # Behind a later fragment's header comes the middle of something, not a header.
            if fragment.offset:
                break
    return protocol, start, fragment


def _tcp(data: bytes, length: int) -> dict[str, Any]:
    header = _unpack(dpkt.tcp.TCP, data)
    if len(data) < header.__hdr_len__:
        return {"ports": _ports(header, data), "detail": _UNREAD}
    size = max(length - header.off * 4, 0)
    parts = [
        dpkt.tcp.tcp_flags_to_str(header.flags) or "no flags",
        f"seq {header.seq}:{(header.seq + size) % 2**32}" if size else f"seq {header.seq}",
    ]
    if header.flags & dpkt.tcp.TH_ACK:
        parts.append(f"ack {header.ack}")
    parts.append(f"win {header.win}")
    return {"ports": _ports(header, data), "detail": " ".join(parts)}


def _udp(data: bytes, length: int) -> dict[str, Any]:
    return _ports_only(dpkt.udp.UDP, data)


def _sctp(data: bytes, length: int) -> dict[str, Any]:
    return _ports_only(dpkt.sctp.SCTP, data)


def _ports_only(kind: Any, data: bytes) -> dict[str, Any]:
    ports = _ports(_unpack(kind, data), data)
    return {"ports": ports, "detail": "" if ports else _UNREAD}


def _ports(header: Any, data: bytes) -> tuple[int, int] | None:
    return (header.sport, header.dport) if len(data) >= 4 else None


def _icmp(data: bytes, length: int) -> dict[str, Any]:
    return _control_message(dpkt.icmp.ICMP, _ICMP_TYPES, _ICMP_CODES, (0, 8), data)


def _icmpv6(data: bytes, length: int) -> dict[str, Any]:
    return _control_message(dpkt.icmp6.ICMP6, _ICMPV6_TYPES, _ICMPV6_CODES, (128, 129), data)


def _control_message(
    kind: Any,
    types: dict[int, str],
    codes: dict[tuple[int, int], str],
    echo_types: tuple[int, int],
    data: bytes,
) -> dict[str, Any]:
    if len(data) < 2:
        return {"detail": _UNREAD}
    header = _unpack(kind, data)
    name = codes.get((header.type, header.code)) or types.get(header.type)
    detail = name or f"type {header.type} code {header.code}"
    if header.type in echo_types and len(data) >= 8:
        echo = _unpack(kind.Echo, header.data)
        return {"identifier": echo.id, "detail": f"{detail} id {echo.id} seq {echo.seq}"}
    return {"detail": detail}


_DISSECTORS = {
    dpkt.ip.IP_PROTO_ICMP: _icmp,
    dpkt.ip.IP_PROTO_TCP: _tcp,
    dpkt.ip.IP_PROTO_UDP: _udp,
    dpkt.ip.IP_PROTO_ICMP6: _icmpv6,
    dpkt.ip.IP_PROTO_SCTP: _sctp,
}


def _clock(timestamp_ns: int) -> str:
    seconds, nanoseconds = divmod(timestamp_ns, 1_000_000_000)
    return f"{_second(seconds)}.{nanoseconds // 1000:06d}"


@lru_cache(maxsize=16)
def _second(seconds: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(seconds))
