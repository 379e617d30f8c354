"""Counts of datagrams and bytes by protocol and by conversation, for whole batches."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any

from winsockctl.cli.summary import protocol_name, summarize

try:
    import numpy
except ModuleNotFoundError:
    numpy = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from winsockctl import Batch, Datagram

# https://www.iana.org/assignments/ipv6-parameters, extension header types
_EXTENSION_HEADERS = (0, 43, 44, 51, 60, 135, 139, 140)
# Those whose header begins with the two ports: TCP, UDP, DCCP, SCTP, UDPLite.
_WITH_PORTS = (6, 17, 33, 132, 136)
# Where both addresses begin, the bytes of one, and where the protocol is.
_LAYOUTS = {4: (12, 4, 9), 6: (8, 16, 6)}
# Fewer datagrams are counted sooner one by one.
_FEW = 32


class Counts:
    """Datagrams and their bytes, as long as they were on the wire, by what they are.

    With numpy a batch is counted as a whole, else datagram by datagram; the counts are the same.

    Args:
        ports: whether a conversation is between two ports, and of one protocol; otherwise it is
            between two addresses.
    """

    def __init__(self, *, ports: bool = False) -> None:
        self._ports = ports
        self.first: int | None = None
        """The earliest time stamp, ns."""
        self.last: int | None = None
        self.protocols: dict[tuple[int, int | None], Amount] = {}
        """By IP version and number of the protocol, ``None`` if it was not captured."""
        self.conversations: dict[bytes, Amount] = {}
        """By a key that ``conversation_name`` reads: both directions have the same one."""

    def add(self, batch: Batch) -> None:
        """Count the datagrams of a batch."""
        if not batch:
            return
        stamps = batch.timestamps_ns.tolist()
        earliest, latest = min(stamps), max(stamps)
        self.first = earliest if self.first is None else min(self.first, earliest)
        self.last = latest if self.last is None else max(self.last, latest)
        if numpy is None or len(batch) < _FEW:
            for datagram in batch.datagrams():
                self._add(datagram)
        else:
            self._add_columns(batch)

    @property
    def total(self) -> Amount:
        """All of them."""
        total = Amount()
        for amount in self.protocols.values():
            total.add(amount.datagrams, amount.bytes)
        return total

    def _add(self, datagram: Datagram) -> None:
        data, length = datagram.data, datagram.original_length
        version = data[0] >> 4
        protocol = _protocol_of(datagram)
        _amount(self.protocols, (version, protocol)).add(1, length)
        key = conversation_key(datagram, ports=self._ports)
        if key is not None:
            _amount(self.conversations, key).add(1, length)

    def _add_columns(self, batch: Batch) -> None:
        records, data = numpy.asarray(batch.records), numpy.asarray(batch.buffer)
        rest = numpy.ones(len(records), bool)
        for version, (start, size, place) in _LAYOUTS.items():
            rows = (records["version"] == version) & (records["length"] >= start + 2 * size)
            chosen = records[rows]
            protocols = data[chosen["offset"] + place]
            if version == 6:
                plain = ~numpy.isin(protocols, _EXTENSION_HEADERS)
                rows[rows] = plain
                chosen, protocols = chosen[plain], protocols[plain]
            rest &= ~rows
            if len(chosen):
                self._add_rows(version, chosen, protocols, data)
        for index in numpy.flatnonzero(rest):
            self._add(batch.datagram(index))

    def _add_rows(self, version: int, records: Any, protocols: Any, data: Any) -> None:
        start, size, _ = _LAYOUTS[version]
        offsets, lengths = records["offset"], records["original_length"]
        counted = numpy.bincount(protocols, minlength=256)
        sizes = numpy.bincount(protocols, lengths, minlength=256)
        for protocol in numpy.flatnonzero(counted).tolist():
            amount = _amount(self.protocols, (version, protocol))
            amount.add(int(counted[protocol]), int(sizes[protocol]))
        ends = [
            data[(offsets + at)[:, None] + numpy.arange(size, dtype=numpy.uint64)]
            for at in (start, start + size)
        ]
        if self._ports:
            ports = _port_rows(version, records, protocols, data)
            ends = [numpy.hstack((ends[i], ports[:, 2 * i : 2 * i + 2])) for i in (0, 1)]
        swap = _as_text(ends[0]) > _as_text(ends[1])
        lower, upper = (
            numpy.where(swap[:, None], first, second)
            for first, second in ((ends[1], ends[0]), (ends[0], ends[1]))
        )
        columns = [protocols[:, None], lower, upper] if self._ports else [lower, upper]
        keys = numpy.hstack(columns)
        _, index, inverse = numpy.unique(_as_text(keys), return_index=True, return_inverse=True)
        counted = numpy.bincount(inverse)
        sizes = numpy.bincount(inverse, lengths)
        for place, row in enumerate(index):
            amount = _amount(self.conversations, keys[row].tobytes())
            amount.add(int(counted[place]), int(sizes[place]))


class Amount:
    """Datagrams and their bytes."""

    __slots__ = ("bytes", "datagrams")

    def __init__(self) -> None:
        self.datagrams = 0
        self.bytes = 0

    def add(self, datagrams: int, bytes: int) -> None:
        """Add some."""
        self.datagrams += datagrams
        self.bytes += bytes


def conversation_key(datagram: Datagram, *, ports: bool) -> bytes | None:
    """Return who talks to whom, the same for both directions; ``None`` if it was not captured.

    Args:
        datagram: of which both addresses have to be there.
        ports: whether the key has protocol (0 if unknown) and ports (0 if there are none) as well:
            protocol, then address and port of each end, in the order of their bytes.
    """
    data = datagram.data
    start, size, _ = _LAYOUTS[data[0] >> 4]
    if len(data) < start + 2 * size:
        return None
    ends = bytes(data[start : start + size]), bytes(data[start + size : start + 2 * size])
    key = b""
    if ports:
        numbers = _ports_of(datagram)
        ends = ends[0] + numbers[:2], ends[1] + numbers[2:]
        key = bytes([_protocol_of(datagram) or 0])
    return key + (ends[0] + ends[1] if ends[0] <= ends[1] else ends[1] + ends[0])


def conversation_name(key: bytes) -> str:
    """Return who talks to whom: ``address - address``, with ports and protocol if counted so."""
    if len(key) in (8, 32):
        half = len(key) // 2
        return f"{_address(key[:half])} - {_address(key[half:])}"
    half = 1 + len(key) // 2
    ends = " - ".join(map(_end, (key[1:half], key[half:])))
    return f"{ends} {protocol_name(key[0])}"


def _end(packed: bytes) -> str:
    address, port = _address(packed[:-2]), int.from_bytes(packed[-2:])
    if not port:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _address(packed: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def _amount(amounts: dict[Any, Amount], key: object) -> Amount:
    found = amounts.get(key)
    if found is None:
        found = amounts[key] = Amount()
    return found


def _protocol_of(datagram: Datagram) -> int | None:
    data = datagram.data
    version = data[0] >> 4
    place = _LAYOUTS[version][2]
    protocol = data[place] if len(data) > place else None
    if version == 6 and protocol in _EXTENSION_HEADERS:
        return summarize(datagram).protocol
    return protocol


def _ports_of(datagram: Datagram) -> bytes:
    """Both ports, as four bytes; 0 where there are none."""
    data = datagram.data
    if data[0] >> 4 == 4:
        behind = (data[0] & 15) * 4
        has_ports = data[9] in _WITH_PORTS and not (data[6] & 0x1F or data[7])
    elif data[6] in _EXTENSION_HEADERS:
        source, destination = summarize(datagram).ports or (0, 0)
        return struct.pack("!HH", source, destination)
    else:
        behind, has_ports = 40, data[6] in _WITH_PORTS
    return bytes(data[behind : behind + 4]) if has_ports and len(data) >= behind + 4 else bytes(4)


def _port_rows(version: int, records: Any, protocols: Any, data: Any) -> Any:
    """Both ports of each row, as four bytes; 0 where there are none."""
    offsets = records["offset"]
    if version == 4:
        behind = (data[offsets] & 15) * numpy.uint64(4)
        has_ports = ((data[offsets + 6] & 0x1F) | data[offsets + 7]) == 0
    else:
        behind = numpy.full(len(records), 40, numpy.uint64)
        has_ports = numpy.ones(len(records), bool)
    has_ports &= numpy.isin(protocols, _WITH_PORTS) & (records["length"] >= behind + 4)
    ports = numpy.zeros((len(records), 4), numpy.uint8)
    places = (offsets + behind)[has_ports]
    ports[has_ports] = data[places[:, None] + numpy.arange(4, dtype=numpy.uint64)]
    return ports


def _as_text(rows: Any) -> Any:
    """Rows of bytes as one value each, which compares as bytes do."""
    # numpy takes trailing zeros away, which does not matter among rows of one length.
    rows = numpy.ascontiguousarray(rows)
    return rows.view(f"S{rows.shape[1]}").ravel()
