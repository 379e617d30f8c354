"""Text for the user."""

from __future__ import annotations

from winsockctl.cli.errors import naming


def say(text: str) -> None:
    """Print on standard output, at once, because a program that reads it may wait for it."""
    with naming("standard output"):
        print(text, flush=True)
