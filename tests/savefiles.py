"""Builders of savefiles, byte by byte: every format, byte order and link layer, also wrong ones.

``order`` is ``"<"`` or ``">"``, as of ``struct``.
"""

import struct
from collections.abc import Callable, Iterable

MICROSECONDS, NANOSECONDS, MODIFIED = 0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34

RAW, ETHERNET, NULL, LOOP, PPP, SLL, SLL2, IPV4, IPV6 = 101, 1, 0, 108, 9, 113, 276, 228, 229


def pcap(
    packets: Iterable[bytes],
    *,
    order: str = "<",
    magic: int = NANOSECONDS,
    link_type: int = RAW,
    snaplen: int = 262144,
    version: tuple[int, int] = (2, 4),
) -> bytes:
    """Return a pcap file of records made with ``pcap_record``."""
    header = struct.pack(order + "IHHIIII", magic, *version, 0, 0, snaplen, link_type)
    return header + b"".join(packets)


def pcap_record(
    packet: bytes,
    seconds: int = 0,
    fraction: int = 0,
    *,
    order: str = "<",
    original: int | None = None,
    more: bytes = b"",
) -> bytes:
    """Return one record; ``more`` stands behind its header."""
    length = len(packet) if original is None else original
    return struct.pack(order + "IIII", seconds, fraction, len(packet), length) + more + packet


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def block(kind: int, body: bytes, *, order: str = "<") -> bytes:
    length = len(body) + 12
    return struct.pack(order + "II", kind, length) + body + struct.pack(order + "I", length)


def options(values: Iterable[tuple[int, bytes]], *, order: str = "<") -> bytes:
    """Return options with their end mark; nothing if there are none."""
    made = b"".join(
        struct.pack(order + "HH", code, len(value)) + padded(value) for code, value in values
    )
    return made + bytes(4) if made else b""


def section(
    *, order: str = "<", more: Iterable[tuple[int, bytes]] = (), length: int = -1, major: int = 1
) -> bytes:
    body = struct.pack(order + "IHHq", 0x1A2B3C4D, major, 0, length)
    return block(0x0A0D0D0A, body + options(more, order=order), order=order)


def interface(
    link_type: int = RAW,
    *,
    order: str = "<",
    snaplen: int = 0,
    more: Iterable[tuple[int, bytes]] = (),
) -> bytes:
    body = struct.pack(order + "HHI", link_type, 0, snaplen)
    return block(1, body + options(more, order=order), order=order)


def enhanced(
    packet: bytes,
    units: int = 0,
    *,
    order: str = "<",
    number: int = 0,
    original: int | None = None,
    more: Iterable[tuple[int, bytes]] = (),
) -> bytes:
    length = len(packet) if original is None else original
    body = struct.pack(
        order + "IIIII", number, units >> 32, units & 0xFFFFFFFF, len(packet), length
    )
    return block(6, body + padded(packet) + options(more, order=order), order=order)


def obsolete(
    packet: bytes,
    units: int = 0,
    *,
    order: str = "<",
    number: int = 0,
    original: int | None = None,
    more: Iterable[tuple[int, bytes]] = (),
) -> bytes:
    length = len(packet) if original is None else original
    body = struct.pack(
        order + "HHIIII", number, 7, units >> 32, units & 0xFFFFFFFF, len(packet), length
    )
    return block(2, body + padded(packet) + options(more, order=order), order=order)


def simple(packet: bytes, *, order: str = "<", original: int | None = None) -> bytes:
    length = len(packet) if original is None else original
    return block(3, struct.pack(order + "I", length) + padded(packet), order=order)


def statistics(
    *, order: str = "<", number: int = 0, more: Iterable[tuple[int, bytes]] = ()
) -> bytes:
    return block(
        5, struct.pack(order + "III", number, 0, 0) + options(more, order=order), order=order
    )


def pcapng(packets: Iterable[bytes], *, order: str = "<", link_type: int = RAW) -> bytes:
    """Return a file of one section and one interface."""
    return section(order=order) + interface(link_type, order=order) + b"".join(packets)


def _version(datagram: bytes) -> int:
    return datagram[0] >> 4


def _ethertype(datagram: bytes) -> bytes:
    return b"\x08\x00" if _version(datagram) == 4 else b"\x86\xdd"


def ethernet(datagram: bytes, *tags: int) -> bytes:
    """Return a frame with VLAN tags of these types, padded to 60 bytes."""
    stack = b"".join(struct.pack("!HH", tag, 7 + place) for place, tag in enumerate(tags))
    return (bytes(12) + stack + _ethertype(datagram) + datagram).ljust(60, b"\xee")


def family(datagram: bytes, ipv6: int, order: str) -> bytes:
    """Return a frame of NULL or LOOP where AF_INET6 is such a number."""
    return struct.pack(order + "I", 2 if _version(datagram) == 4 else ipv6) + datagram


def sll(datagram: bytes, packet_type: int = 0) -> bytes:
    return struct.pack("!HHH8s", packet_type, 1, 6, bytes(8)) + _ethertype(datagram) + datagram


def sll2(datagram: bytes, packet_type: int = 0) -> bytes:
    return (
        _ethertype(datagram) + struct.pack("!HIHBB8s", 0, 3, 1, packet_type, 6, bytes(8)) + datagram
    )


def ppp(datagram: bytes, framing: bytes = b"\xff\x03", *, compressed: bool = False) -> bytes:
    protocol = b"\x21" if _version(datagram) == 4 else b"\x57"
    return framing + (protocol if compressed else b"\x00" + protocol) + datagram


Wrap = Callable[[bytes], bytes]

# Every link layer that is read, as a link type and what makes a frame of a datagram.
LINKS: dict[str, tuple[int, Wrap]] = {
    "RAW": (RAW, bytes),
    "RAW as 12": (12, bytes),
    "RAW as 14": (14, bytes),
    "ETHERNET": (ETHERNET, ethernet),
    "ETHERNET, 802.1Q": (ETHERNET, lambda data: ethernet(data, 0x8100)),
    "ETHERNET, 802.1ad": (ETHERNET, lambda data: ethernet(data, 0x88A8, 0x8100)),
    "ETHERNET, three tags": (ETHERNET, lambda data: ethernet(data, 0x9100, 0x9100, 0x8100)),
    "SLL": (SLL, sll),
    "SLL2": (SLL2, sll2),
    "PPP": (PPP, lambda data: ppp(data, b"")),
    "PPP, HDLC framing": (PPP, ppp),
    "PPP, compressed": (PPP, lambda data: ppp(data, compressed=True)),
    "PPP as 50": (50, ppp),
    "PPP with direction": (204, lambda data: b"\x01" + ppp(data)),
    **{
        f"{name}, AF_INET6 {number}, {order}": (
            link_type,
            lambda data, number=number, order=order: family(data, number, order),
        )
        for name, link_type in (("NULL", NULL), ("LOOP", LOOP))
        for number in (10, 23, 24, 28, 30)
        for order in "<>"
    },
}
