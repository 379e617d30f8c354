"""Failures as one line that says what to do."""

from __future__ import annotations

import contextlib
import errno
import sys
from typing import TYPE_CHECKING

from winsockctl import FilterSyntaxError, WinsockError

if TYPE_CHECKING:
    from collections.abc import Iterator


class UsageError(Exception):
    """The command was called wrongly: exit status 2."""


class CommandError(Exception):
    """The command could not do what it was asked for: exit status 1."""


_REMEDIES = {
    errno.EACCES: "choose a place where you may write",
    errno.EISDIR: "give the name of a file in it",
    errno.ENOENT: "create its folder first",
    errno.ENOSPC: "free some space or write to another disk",
    errno.ENOTDIR: "create its folder first",
    errno.EROFS: "choose a place where you may write",
}


def explain(error: Exception) -> str:
    """Return the line for an error: what failed, why, and what to do."""
    line = str(error)
    if isinstance(error, FilterSyntaxError):
        line = f"filter {error.expression!r}, column {error.position + 1}: {error.reason}"
    elif isinstance(error, MemoryError):
        line = "out of memory; take a smaller --buffer-size"
    elif isinstance(error, OSError) and error.strerror is not None:
        line = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        remedy = None if isinstance(error, WinsockError) else _REMEDIES.get(error.errno or 0)
        line = f"{line}; {remedy}" if remedy else line
    return " ".join(line.split())


@contextlib.contextmanager
def naming(name: str) -> Iterator[None]:
    """Let an ``OSError`` that passes tell which file or interface it is about."""
    try:
        yield
    except OSError as error:
        if sys.platform == "win32" and name == "standard output" and error.errno == errno.EINVAL:
            # What Windows' C library makes of a pipe that nobody reads any more.
            # https://github.com/python/cpython/issues/79935
            raise BrokenPipeError(errno.EPIPE, error.strerror, name) from error
        error.filename = name
        raise
