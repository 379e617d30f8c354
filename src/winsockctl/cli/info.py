"""``winsockctl info``: what a savefile has in it, as a table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from winsockctl.cli.counts import Counts, conversation_name
from winsockctl.cli.output import say
from winsockctl.cli.progress import Progress
from winsockctl.cli.savefile import Input
from winsockctl.cli.summary import protocol_name

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from winsockctl import Savefile
    from winsockctl.cli.counts import Amount

_Key = TypeVar("_Key")

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


def run(arguments: argparse.Namespace) -> int:
    """Read the whole file, then tell."""
    source = Input(arguments.file)
    counts = Counts()
    with source.savefile as savefile:
        try:
            with Progress(source) as progress:
                for batch in source.batches():
                    counts.add(batch)
                    progress.update()
        finally:
            say("\n".join((*_facts(source.name, savefile, counts), *_tables(counts))))
    return 0


def _tables(counts: Counts) -> Iterator[str]:
    """Iterate over the lines of both tables."""
    if not counts.protocols:
        return
    yield from ("", f"{'protocol':<40} {'datagrams':>12} {'bytes':>16}")
    for (version, protocol), amount in _most(counts.protocols):
        name = f"IPv{version} {protocol_name(protocol)}"
        yield f"{name:<40} {amount.datagrams:>12} {amount.bytes:>16}"
    yield from ("", f"{'conversation':<40} {'datagrams':>12} {'bytes':>16}")
    for key, amount in _most(counts.conversations)[:_TOP]:
        yield f"{conversation_name(key):<40} {amount.datagrams:>12} {amount.bytes:>16}"
    if len(counts.conversations) > _TOP:
        yield f"and {len(counts.conversations) - _TOP} more"


def _most(amounts: dict[_Key, Amount]) -> list[tuple[_Key, Amount]]:
    return sorted(
        amounts.items(), key=lambda item: (-item[1].datagrams, -item[1].bytes, str(item[0]))
    )


def _facts(name: str, savefile: Savefile, counts: Counts) -> Iterator[str]:
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
    wire_bytes = counts.total.bytes
    yield f"bytes        {wire_bytes} on the wire, {statistics.bytes} in the file"
    if counts.first is None or counts.last is None:
        return
    duration = (counts.last - counts.first) / 1e9
    yield f"first        {_moment(counts.first)}"
    yield f"last         {_moment(counts.last)}"
    yield f"duration     {duration:.6f} s"
    if duration > 0:
        rates = f"{statistics.received / duration:.1f} datagrams/s"
        yield f"rate         {rates}, {wire_bytes / duration:.1f} bytes/s"


def _moment(timestamp_ns: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=timestamp_ns // 1000)
    return f"{moment:%Y-%m-%d %H:%M:%S.%f} UTC"
