"""The checks of ``winsockctl doctor``: made one by one, a line for each, every remedy once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from winsockctl.cli.errors import CommandError, explain
from winsockctl.cli.output import say

OK, NO, UNSUPPORTED, UNKNOWN = "ok", "no", "unsupported", "unknown"

Outcome: TypeAlias = tuple[str, str]
"""The state and what there is to say about it."""
Check: TypeAlias = Callable[[], Outcome]
"""Tries something; an ``OSError`` or a ``CommandError`` is a no with its text."""


class Checks:
    """Makes checks, prints a line for each, and gives every remedy once."""

    def __init__(self) -> None:
        self._failures: dict[str, str] = {}

    def make(self, name: str, check: Check) -> bool:
        """Make a check; return whether it was ok."""
        try:
            state, detail = check()
        except (OSError, CommandError) as error:
            state, detail = NO, explain(error)
        first = self._failures.setdefault(detail, name) if state == NO else name
        tell(name, state, detail if first == name else f"for the same reason as {first}")
        return state == OK


def tell(name: str, state: str, detail: str) -> None:
    """Print the line of a check."""
    say(f"{name:<36}{state:<13}{detail}".rstrip())
