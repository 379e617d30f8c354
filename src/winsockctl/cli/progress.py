"""How far a long read of a savefile is, on standard error."""

from __future__ import annotations

import stat
import sys
import time
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from types import TracebackType

    from winsockctl.cli.savefile import Input

_PATIENCE = 1.0  # seconds; a read that is over by then shows nothing
_BAR_INTERVAL = 0.1  # seconds
_LINE_INTERVAL = 5.0  # seconds


class _Display(Protocol):
    interval: float

    def show(self, position: int) -> None:
        """Tell that so many bytes were read."""

    def end(self) -> None:
        """Leave nothing behind that is not a whole line."""


class Progress:
    """A bar on a terminal if rich is there (the extra ``cli``), else a line now and then.

    Args:
        source: what is read.
        wanted: whether to show anything.
    """

    def __init__(self, source: Input, *, wanted: bool = True) -> None:
        self._source = source
        self._display: _Display | None = None
        self._due = time.monotonic() + _PATIENCE if wanted and sys.stderr else float("inf")

    def update(self) -> None:
        """Show how far it is, if that is due."""
        now = time.monotonic()
        if now < self._due:
            return
        if self._display is None:
            self._display = _display(self._source)
        self._display.show(self._source.savefile.position)
        self._due = now + self._display.interval

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._display is not None:
            self._display.end()


def _display(source: Input) -> _Display:
    total = None
    if source.savefile.compression is None and stat.S_ISREG(source.status.st_mode):
        total = source.status.st_size
    if sys.stderr.isatty():
        try:
            return _Bar(source.name, total)
        except ImportError:
            pass
    return _Lines(source.name, total)


class _Lines:
    interval = _LINE_INTERVAL

    def __init__(self, name: str, total: int | None) -> None:
        self._name = name
        self._total = total

    def show(self, position: int) -> None:
        of = "" if self._total is None else f" of {self._total}, {position / self._total:.0%}"
        print(f"{self._name}: {position} bytes{of}", file=sys.stderr, flush=True)

    def end(self) -> None:
        pass


class _Bar:
    interval = _BAR_INTERVAL

    def __init__(self, name: str, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task(name, total=total)
        self._progress.start()

    def show(self, position: int) -> None:
        self._progress.update(self._task, completed=position)

    def end(self) -> None:
        self._progress.stop()
