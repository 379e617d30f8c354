"""``winsockctl info``: what a savefile has in it, as a table."""

from __future__ import annotations

import socket
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from winsockctl.cli.output import say
from winsockctl.cli.savefile import Input
from winsockctl.cli.summary import protocol_name, summarize

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from winsockctl import Datagram, Savefile

_TOP = 10  # conversations
# https://www.tcpdump.org/linktypes.html
_LINK_TYPES = {
    0: "NULL",
    1: "ETHERNET",
    9: "PPP",
    12: "RAW",
    14: "RAW",
    50: "PPP_HDLC",
    101: "RAW",
    108: "LOOP",
    113: "LINUX_SLL",
    204: "PPP_WITH_DIR",
    228: "IPV4",
    229: "IPV6",
    276: "LINUX_SLL2",
}
# https://www.iana.org/assignments/ipv6-parameters, extension header types
_EXTENSION_HEADERS = {0, 43, 44, 51, 60, 135, 139, 140}


def run(arguments: argparse.Namespace) -> int:
    """Read the whole file, then tell."""
    source = Input(arguments.file)
    counts = _Counts()
    with source.savefile as savefile:
        try:
            for batch in source.batches():
                for datagram in batch.datagrams():
                    counts.add(datagram)
        finally:
            say("\n".join((*_facts(source.name, savefile, counts), *counts.tables())))
    return 0


class _Counts:
    """Datagrams and their bytes, as long as they were on the wire, by what they are."""

    def __init__(self) -> None:
        self.first: int | None = None
        self.last: int | None = None
        self._protocols: Counter[tuple[int, int | None]] = Counter()
        self._protocol_bytes: Counter[tuple[int, int | None]] = Counter()
        self._pairs: Counter[tuple[bytes, bytes]] = Counter()
        self._pair_bytes: Counter[tuple[bytes, bytes]] = Counter()

    def add(self, datagram: Datagram) -> None:
        data, length, stamp = datagram.data, datagram.original_length, datagram.timestamp_ns
        if self.first is None or self.last is None:
            self.first = self.last = stamp
        self.first, self.last = min(self.first, stamp), max(self.last, stamp)
        version = data[0] >> 4
        start, size, place = (12, 4, 9) if version == 4 else (8, 16, 6)
        protocol = data[place] if len(data) > place else None
        if version == 6 and protocol in _EXTENSION_HEADERS:
            protocol = summarize(datagram).protocol
        self._protocols[version, protocol] += 1
        self._protocol_bytes[version, protocol] += length
        if len(data) >= start + 2 * size:
            ends = bytes(data[start : start + size]), bytes(data[start + size : start + 2 * size])
            pair = (ends[0], ends[1]) if ends[0] <= ends[1] else (ends[1], ends[0])
            self._pairs[pair] += 1
            self._pair_bytes[pair] += length

    @property
    def bytes(self) -> int:
        """On the wire, IP headers included."""
        return self._protocol_bytes.total()

    def tables(self) -> Iterator[str]:
        """Iterate over the lines of both tables."""
        if not self._protocols:
            return
        yield from ("", f"{'protocol':<40} {'datagrams':>12} {'bytes':>16}")
        for (version, protocol), count in self._protocols.most_common():
            name = f"IPv{version} {protocol_name(protocol)}"
            yield f"{name:<40} {count:>12} {self._protocol_bytes[version, protocol]:>16}"
        yield from ("", f"{'conversation':<40} {'datagrams':>12} {'bytes':>16}")
        for pair, count in self._pairs.most_common(_TOP):
            name = " - ".join(map(_address, pair))
            yield f"{name:<40} {count:>12} {self._pair_bytes[pair]:>16}"
        if len(self._pairs) > _TOP:
            yield f"and {len(self._pairs) - _TOP} more"


def _address(packed: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def _facts(name: str, savefile: Savefile, counts: _Counts) -> Iterator[str]:
    statistics = savefile.statistics
    compression = f", {savefile.compression}" if savefile.compression else ""
    yield f"file         {name}"
    yield f"format       {savefile.format}, {savefile.byte_order}-endian{compression}"
    link_types = ", ".join(
        f"{_LINK_TYPES.get(number, 'not read')} ({number})" for number in savefile.link_types
    )
    yield f"link types   {link_types or 'none'}"
    names = [entry.name for entry in savefile.interfaces if entry.name]
    if names:
        yield f"interfaces   {', '.join(names)}"
    yield f"snaplen      {savefile.snaplen or 'no limit'}"
    if savefile.comment:
        yield f"comment      {savefile.comment}"
    passed_over = statistics.passed_over or 0
    yield f"packets      {statistics.received + passed_over}"
    yield f"datagrams    {statistics.received}, {statistics.truncated} of them truncated"
    yield f"passed over  {passed_over}, neither IPv4 nor IPv6"
    yield f"dropped      {'not told' if statistics.dropped is None else statistics.dropped}"
    yield f"bytes        {counts.bytes} on the wire, {statistics.bytes} in the file"
    if counts.first is None or counts.last is None:
        return
    duration = (counts.last - counts.first) / 1e9
    yield f"first        {_moment(counts.first)}"
    yield f"last         {_moment(counts.last)}"
    yield f"duration     {duration:.6f} s"
    if duration > 0:
        rates = f"{statistics.received / duration:.1f} datagrams/s"
        yield f"rate         {rates}, {counts.bytes / duration:.1f} bytes/s"


def _moment(timestamp_ns: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=timestamp_ns // 1000)
    return f"{moment:%Y-%m-%d %H:%M:%S.%f} UTC"
