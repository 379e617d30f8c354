"""``winsockctl capture``: the datagrams of an interface as lines or in savefiles."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from winsockctl import RcvAll
from winsockctl.cli import recording
from winsockctl.cli.opening import interface_name, open_capture
from winsockctl.cli.output import received_and_dropped, say
from winsockctl.cli.process import Process
from winsockctl.cli.signals import LOOK_INTERVAL, StopSignals
from winsockctl.cli.summary import hex_dump, line

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from winsockctl import Batch, Capture, Recorder

_STATUS_INTERVAL = 1.0  # seconds
# A shorter line leaves nothing of the longer one that it is written over.
_STATUS_WIDTH = 76  # columns


class _Sink(Protocol):
    truncated_left_out: int
    """Of those that were received and not taken."""

    @property
    def received(self) -> int:
        """Datagrams taken so far."""

    def take(self, capture: Capture, seconds: float, limit: int) -> None:
        """Take at most ``limit`` datagrams for at most so long."""

    def is_full(self) -> bool:
        """Whether it takes no more."""

    def status(self, capture: Capture) -> None:
        """Tell how it goes, if there is nothing else to be seen of it."""

    def end(self) -> None:
        """Write what was not written yet."""


def run(arguments: argparse.Namespace) -> int:
    """Capture until the count, the time, a signal, or the reader of the output ends it."""
    recording.check(arguments, "winsockctl capture INTERFACE -w - | tshark -r -")
    process = None if arguments.process is None else Process(arguments.process)
    capture = open_capture(arguments, snaplen=arguments.snaplen, latency=arguments.latency)
    with capture, StopSignals() as signals, _sink(arguments, process) as sink:
        pump = _Pump(capture, sink, arguments, signals)
        try:
            target = f" into {recording.target_name(arguments)}" if arguments.write else ""
            _tell(f"capturing on {arguments.interface}{target} ({capture.backend}), Ctrl-C ends")
            if process is not None and not process.running:
                _tell(f"there is no process {arguments.process} yet")
            pump.run()
            sink.end()
        except BrokenPipeError:
            # As after "| head": the capture ends when nobody reads it any more.
            pass
        finally:
            capture.close()
            _tell(pump.totals())
    return 0


class _Pump:
    """Moves batches from a capture to a sink and counts what it moved."""

    def __init__(
        self,
        capture: Capture,
        sink: _Sink,
        arguments: argparse.Namespace,
        signals: StopSignals,
    ) -> None:
        self._capture = capture
        self._sink = sink
        self._signals = signals
        self._limit = sys.maxsize if arguments.count is None else arguments.count
        self._end = math.inf
        if arguments.seconds is not None:
            self._end = time.monotonic() + arguments.seconds
        # The last block comes after the latency, counted by a timer that may just have run.
        self._grace = 2 * arguments.latency + 0.05  # seconds

    def run(self) -> None:
        """Work until the count, the time or a signal; then fetch what was received before it."""
        while self._wants_more() and not self._signals.came:
            left = self._end - time.monotonic()
            if left <= 0:
                break
            self._take(min(LOOK_INTERVAL, left))
        self._capture.mode = RcvAll.OFF
        while self._wants_more() and self._take(self._grace):
            pass

    def _wants_more(self) -> bool:
        return self._sink.received < self._limit and not self._sink.is_full()

    def _take(self, seconds: float) -> int:
        before = self._capture.statistics.received
        self._sink.take(self._capture, seconds, self._limit - self._sink.received)
        self._sink.status(self._capture)
        return self._capture.statistics.received - before

    def totals(self) -> str:
        """Return the closing line."""
        statistics = self._capture.statistics
        truncated = statistics.truncated - self._sink.truncated_left_out
        text = f"{received_and_dropped(self._sink.received, statistics)}, {truncated} truncated"
        if statistics.dropped:
            had = statistics.buffer_size / 2**20
            text += f"; the buffer had {had:g} MiB, a larger --buffer-size drops less"
        return text


class _Lines:
    """Lines on standard output, at once."""

    def __init__(self, process: Process | None, *, with_bytes: bool) -> None:
        self._process = process
        self._with_bytes = with_bytes
        self.received = 0
        self.truncated_left_out = 0

    def take(self, capture: Capture, seconds: float, limit: int) -> None:
        batch = capture.read(seconds)
        wanted = batch if self._process is None else self._process.select(batch)
        count = min(len(wanted), limit)
        self.truncated_left_out += _truncated_left_out(batch, wanted, count)
        self.received += count
        lines = []
        for datagram in islice(wanted.datagrams(), count):
            lines.append(line(datagram))
            if self._with_bytes:
                lines += hex_dump(datagram.data)
        if lines:
            say("\n".join(lines))

    def is_full(self) -> bool:
        return False

    def status(self, capture: Capture) -> None:
        pass

    def end(self) -> None:
        pass


class _Savefile:
    """Savefiles; how it goes is told on a terminal about once a second."""

    def __init__(self, recorder: Recorder, process: Process | None, limit: int | None) -> None:
        self.truncated_left_out = 0
        self._recorder = recorder
        self._process = process
        self._limit = limit
        self._full = False
        self._told_at = time.monotonic()
        self._told_received = 0

    @property
    def received(self) -> int:
        return self._recorder.datagrams

    def take(self, capture: Capture, seconds: float, limit: int) -> None:
        room = None if self._limit is None else self._limit - self._recorder.bytes
        if room is not None and room <= 0:
            self._full = True
        elif self._process is None:
            self._record(capture, seconds, limit, room)
        else:
            batch = capture.read(seconds)
            wanted = self._process.select(batch)
            count = self._recorder.write(wanted, limit, bytes=room)
            self.truncated_left_out += _truncated_left_out(batch, wanted, count)
            self._full = count < min(len(wanted), limit)

    def _record(self, capture: Capture, seconds: float, limit: int, room: int | None) -> None:
        # The clock that record() goes by; monotonic() may lag behind it (Windows).
        end = time.perf_counter() + seconds
        count = self._recorder.record(capture, count=limit, bytes=room, seconds=seconds)
        # What ends it before its time is the one datagram that would be too much.
        self._full = room is not None and count < limit and time.perf_counter() < end

    def is_full(self) -> bool:
        return self._full

    def status(self, capture: Capture) -> None:
        received = self.received
        elapsed = time.monotonic() - self._told_at
        if elapsed < _STATUS_INTERVAL or not _on_terminal():
            return
        rate = (received - self._told_received) / elapsed
        self._told_at += elapsed
        self._told_received = received
        counts = received_and_dropped(received, capture.statistics)
        text = f"{counts}, {self._recorder.bytes} bytes, {rate:.0f}/s"
        print(f"\r{text:<{_STATUS_WIDTH}}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        self._recorder.close()


@contextlib.contextmanager
def _sink(arguments: argparse.Namespace, process: Process | None) -> Iterator[_Sink]:
    if arguments.write is None:
        yield _Lines(process, with_bytes=arguments.hex)
        return
    with recording.recorder(arguments, interface=interface_name(arguments.interface)) as recorder:
        yield _Savefile(recorder, process, arguments.bytes)


def _truncated_left_out(batch: Batch, wanted: Batch, count: int) -> int:
    """How many truncated datagrams of a batch are not among the first ``count`` wanted ones."""
    if wanted is batch:
        return sum(each.truncated for each in islice(batch.datagrams(), count, None))
    taken = sum(each.truncated for each in islice(wanted.datagrams(), count))
    return sum(each.truncated for each in batch.datagrams()) - taken


def _on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def _tell(text: str) -> None:
    """Print a line on standard error, over the status line if there is one."""
    print(f"\r{text:<{_STATUS_WIDTH}}" if _on_terminal() else text, file=sys.stderr, flush=True)
