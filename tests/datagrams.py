"""Builders of valid IPv4 and IPv6 datagrams, checksums included, for every test that needs one."""

import ipaddress
import random
import struct
from collections.abc import Iterable
from functools import lru_cache

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58

# Many datagrams have the same few addresses, and reading one takes longer than all the rest.
ip_address = lru_cache(ipaddress.ip_address)
ipv4_address = lru_cache(ipaddress.IPv4Address)
ipv6_address = lru_cache(ipaddress.IPv6Address)

_RANDOM_BYTES = random.Random(2026).randbytes(1 << 16)


def checksum(data: bytes) -> int:
    """Return the Internet checksum of RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(
    payload: bytes,
    protocol: int,
    *,
    source: str = "127.0.0.1",
    destination: str = "127.0.0.1",
    ttl: int = 64,
    identification: int = 0,
    fragment: int = 0,
    options: bytes = b"",
) -> bytes:
    """Return an IPv4 datagram; ``fragment`` is the 16-bit word of flags and fragment offset."""
    options += bytes(-len(options) % 4)
    header = struct.pack(
        "!BBHHHBBH4s4s",
        0x40 | (5 + len(options) // 4),
        0,
        20 + len(options) + len(payload),
        identification,
        fragment,
        ttl,
        protocol,
        0,
        ipv4_address(source).packed,
        ipv4_address(destination).packed,
    )
    header += options
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def ipv6(
    payload: bytes,
    next_header: int,
    *,
    source: str = "::1",
    destination: str = "::1",
    hop_limit: int = 64,
    traffic_class: int = 0,
    flow_label: int = 0,
) -> bytes:
    """Return an IPv6 datagram; extension headers, if any, are the front of ``payload``."""
    return (
        struct.pack(
            "!IHBB16s16s",
            6 << 28 | traffic_class << 20 | flow_label,
            len(payload),
            next_header,
            hop_limit,
            ipv6_address(source).packed,
            ipv6_address(destination).packed,
        )
        + payload
    )


def udp(
    payload: bytes = b"",
    *,
    source: str = "127.0.0.1",
    destination: str = "127.0.0.1",
    source_port: int = 40000,
    destination_port: int = 40001,
) -> bytes:
    """Return a UDP datagram over IPv4 or IPv6, as the addresses say."""
    header = struct.pack("!HHHH", source_port, destination_port, 8 + len(payload), 0)
    return _transport(header + payload, UDP, 6, source, destination)


def tcp(
    payload: bytes = b"",
    *,
    source: str = "127.0.0.1",
    destination: str = "127.0.0.1",
    source_port: int = 40000,
    destination_port: int = 40001,
    sequence: int = 0,
    acknowledgment: int = 0,
    flags: int = 0x02,
    window: int = 65535,
) -> bytes:
    """Return a TCP segment over IPv4 or IPv6; ``flags`` is the byte FIN=1, SYN=2, ... ACK=16."""
    header = struct.pack(
        "!HHIIBBHHH",
        source_port,
        destination_port,
        sequence,
        acknowledgment,
        5 << 4,
        flags,
        window,
        0,
        0,
    )
    return _transport(header + payload, TCP, 16, source, destination)


def icmp_echo(
    payload: bytes = b"",
    *,
    source: str = "127.0.0.1",
    destination: str = "127.0.0.1",
    identifier: int = 1,
    sequence: int = 1,
    reply: bool = False,
) -> bytes:
    """Return an ICMP (over IPv6: ICMPv6) echo request or reply."""
    body = struct.pack("!HH", identifier, sequence) + payload
    if ip_address(source).version == 6:
        message = struct.pack("!BBH", 129 if reply else 128, 0, 0) + body
        return _transport(message, ICMPV6, 2, source, destination)
    message = struct.pack("!BBH", 0 if reply else 8, 0, 0) + body
    message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
    return ipv4(message, ICMP, source=source, destination=destination)


def of_length(length: int, *, index: int = 0) -> bytes:
    """Return an IPv4 UDP datagram of exactly ``length`` bytes, from 28 to 65,535."""
    return udp(seeded_payload(index, length - 28))


def seeded_payload(index: int, length: int) -> bytes:
    """Return ``length`` bytes that follow from ``index``, so that any reader can check them."""
    start = index * 2654435761 % (len(_RANDOM_BYTES) - 4096)
    block = _RANDOM_BYTES[start : start + 4096]
    return (struct.pack("!I", index) + block * (length // 4096 + 1))[:length]


def mixed(count: int) -> list[bytes]:
    """Return ``count`` datagrams of both families and four protocols, each one different."""
    makers = (
        lambda payload: udp(payload),
        lambda payload: tcp(payload, source="192.0.2.1", destination="192.0.2.2"),
        lambda payload: icmp_echo(payload),
        lambda payload: udp(payload, source="2001:db8::1", destination="2001:db8::2"),
        lambda payload: tcp(payload, source="::1", destination="::1"),
        lambda payload: icmp_echo(payload, source="fe80::1", destination="ff02::1"),
    )
    return [makers[i % len(makers)](seeded_payload(i, 4 + i * 37 % 300)) for i in range(count)]


def version_of(datagrams: Iterable[bytes], version: int) -> list[bytes]:
    """Return those of one IP version."""
    return [datagram for datagram in datagrams if datagram[0] >> 4 == version]


def _transport(
    segment: bytes, protocol: int, checksum_at: int, source: str, destination: str
) -> bytes:
    addresses = ip_address(source), ip_address(destination)
    packed = addresses[0].packed + addresses[1].packed
    if addresses[0].version == 4:
        pseudo = packed + struct.pack("!BBH", 0, protocol, len(segment))
    else:
        pseudo = packed + struct.pack("!II", len(segment), protocol)
    value = checksum(pseudo + segment)
    if protocol == UDP:
        value = value or 0xFFFF  # RFC 768: an all-zero checksum means "none"
    segment = segment[:checksum_at] + struct.pack("!H", value) + segment[checksum_at + 2 :]
    build = ipv4 if addresses[0].version == 4 else ipv6
    return build(segment, protocol, source=source, destination=destination)
