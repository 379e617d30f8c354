"""Options that several readers take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from winsockctl._filter import Filter

if TYPE_CHECKING:
    from collections.abc import Sequence


def parse_filter(wanted: Filter | str | None) -> Filter | None:
    """Return the filter that is meant, compiled if it is an expression."""
    if isinstance(wanted, str):
        return Filter(wanted)
    if wanted is not None and not isinstance(wanted, Filter):
        raise TypeError(
            f"filter must be a Filter, an expression or None, not {type(wanted).__name__}"
        )
    return wanted


def instructions(wanted: Filter | None) -> Sequence[tuple[int, int, int, int]] | None:
    """Return the program of a filter, for a ``RawSocket``."""
    return None if wanted is None else wanted.instructions
