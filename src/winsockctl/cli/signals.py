"""Ctrl-C and its like end a capture in order."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import FrameType

# How long a signal may go unnoticed.
LOOK_INTERVAL = 0.1  # seconds
# Some senders (timeout(1), for one) send the same signal twice at once.
_INSIST_AFTER = 1.0  # seconds


class StopSignals:
    """Notes SIGINT and SIGTERM while it is entered; what was received before is still handled."""

    def __init__(self) -> None:
        self._first: float | None = None
        self._previous: dict[signal.Signals, Any] = {}

    @property
    def came(self) -> bool:
        """Whether there was one."""
        return self._first is not None

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self._first is None:
            self._first = time.monotonic()
        elif time.monotonic() - self._first > _INSIST_AFTER:
            raise KeyboardInterrupt

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        # A signal has ended the command: its twin must not turn that into a failure.
        if not self.came:
            for number, handler in self._previous.items():
                signal.signal(number, handler)
