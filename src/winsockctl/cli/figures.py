"""Numbers as a table shows them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from winsockctl.cli.conversations import Conversations

_PREFIXES = ("", "k", "M", "G", "T")
_BLOCKS = " ▁▂▃▄▅▆▇█"
_LETTERS = " .:-=+*#@"


def short(number: float) -> str:
    """Return three digits or so and a decimal prefix, for a unit to follow: ``'1.5 M'``."""
    prefix = 0
    while number >= 999.5 and prefix < len(_PREFIXES) - 1:
        number /= 1000
        prefix += 1
    digits = 1 if prefix and number < 99.5 else 0
    return f"{number:.{digits}f} {_PREFIXES[prefix]}"


def sparkline(values: Sequence[float], width: int, *, ascii: bool = False) -> str:
    """Draw the last ``width`` values, the latest at the right, to the scale of the greatest."""
    levels = _LETTERS if ascii else _BLOCKS
    values = values[-width:]
    greatest = max(values, default=0) or 1
    drawn = (levels[math.ceil(value / greatest * (len(levels) - 1))] for value in values)
    return "".join(drawn).rjust(width)


def rest(conversations: Conversations, shown: int) -> str:
    """Return a line about the conversations that are not shown, empty if there are none."""
    parts = []
    if len(conversations) > shown:
        parts.append(f"and {len(conversations) - shown} more")
    forgotten = conversations.forgotten
    if forgotten.datagrams:
        parts.append(f"forgotten: {forgotten.datagrams} datagrams, {short(forgotten.bytes)}B")
    return "; ".join(parts)
