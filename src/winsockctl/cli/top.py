"""``winsockctl top``: a table of conversations, drawn anew each interval."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from typing import TYPE_CHECKING, Protocol

from winsockctl import RcvAll
from winsockctl.cli.conversations import Conversations
from winsockctl.cli.counts import Counts
from winsockctl.cli.figures import rest, short
from winsockctl.cli.opening import open_capture
from winsockctl.cli.output import received_and_dropped, say
from winsockctl.cli.signals import LOOK_INTERVAL, StopSignals

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from winsockctl import Capture

_ROWS = 10
_SNAPLEN = 128  # bytes: both headers, with some extension headers between them
# Seconds until the capture hands over what it has: a longer one costs less.
_LATENCY = 0.1
# The last block comes after the latency, counted by a timer that may just have run.
_GRACE = 2 * _LATENCY + 0.05  # seconds


class _View(Protocol):
    def show(self, title: str, conversations: Conversations) -> None:
        """Show how it is now."""

    def asked_to_end(self) -> bool:
        """Whether the user has typed so."""


def run(arguments: argparse.Namespace) -> int:
    """Show a table each interval until the time, a signal or a key ends it."""
    conversations = Conversations()
    capture = open_capture(arguments, snaplen=_SNAPLEN, latency=_LATENCY)
    with capture, StopSignals() as signals:
        try:
            with _view(arguments) as view:
                _watch(arguments, capture, conversations, view, signals)
        finally:
            totals = received_and_dropped(conversations.total.datagrams, capture.statistics)
            print(totals, file=sys.stderr, flush=True)
    return 0


def _watch(
    arguments: argparse.Namespace,
    capture: Capture,
    conversations: Conversations,
    view: _View,
    signals: StopSignals,
) -> None:
    begin = last = time.monotonic()
    end = math.inf if arguments.seconds is None else begin + arguments.seconds
    counts = Counts(ports=arguments.ports)
    due = begin + arguments.interval
    going_on = True
    while going_on:
        now = time.monotonic()
        counts.add(capture.read(max(min(LOOK_INTERVAL, due - now, end - now), 0)))
        now = time.monotonic()
        going_on = now < end and not signals.came and not view.asked_to_end()
        if now < due and going_on:
            continue
        if not going_on:
            capture.mode = RcvAll.OFF
            while batch := capture.read(_GRACE):
                counts.add(batch)
        conversations.tick(counts, max(now - last, 0.001))
        last, counts = now, Counts(ports=arguments.ports)
        due += arguments.interval * max(math.ceil((now - due) / arguments.interval), 1)
        view.show(_title(arguments.interface, capture, conversations), conversations)


def _title(interface: str, capture: Capture, conversations: Conversations) -> str:
    dropped = capture.statistics.dropped
    return (
        f"{time.strftime('%H:%M:%S')}  {interface}  {short(conversations.rate)}B/s  "
        f"{conversations.datagram_rate:.0f} datagrams/s  "
        f"{'unknown' if dropped is None else dropped} dropped"
    )


@contextlib.contextmanager
def _view(arguments: argparse.Namespace) -> Iterator[_View]:
    if not sys.stdout.isatty() or os.environ.get("TERM") in ("dumb", "unknown"):
        yield _Tables(arguments.rows)
        return
    try:
        from winsockctl.cli.screen import Screen
    except ModuleNotFoundError:
        remedy = "without rich the table is printed anew each time: pip install 'winsockctl[cli]'"
        print(remedy, file=sys.stderr, flush=True)
        yield _Tables(arguments.rows)
        return
    with Screen(arguments.rows) as screen:
        yield screen


class _Tables:
    """A table below the other, for files, programs, and terminals that cannot redraw."""

    def __init__(self, rows: int | None) -> None:
        self._rows = rows or _ROWS

    def show(self, title: str, conversations: Conversations) -> None:
        lines = [title, f"{'conversation':<40} {'rate':>10} {'datagrams':>12} {'bytes':>9}"]
        for each in conversations.busiest()[: self._rows]:
            rate = f"{short(each.rate)}B/s"
            amount = f"{each.total.datagrams:>12} {short(each.total.bytes) + 'B':>9}"
            lines.append(f"{each.name:<40} {rate:>10} {amount}")
        lines.append(rest(conversations, self._rows))
        say("\n".join(lines))

    def asked_to_end(self) -> bool:
        return False
