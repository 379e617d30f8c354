"""Text for the user."""

from __future__ import annotations

from typing import TYPE_CHECKING

from winsockctl.cli.errors import OUTPUT, writing

if TYPE_CHECKING:
    from winsockctl import Statistics


def say(text: str) -> None:
    """Print on standard output, at once, because a program that reads it may wait for it."""
    with writing(OUTPUT):
        print(text, flush=True)


def received_and_dropped(received: int, statistics: Statistics) -> str:
    """Return both counts in words."""
    dropped = "unknown" if statistics.dropped is None else statistics.dropped
    return f"{received} received, {dropped} dropped"
