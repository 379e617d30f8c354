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


OUTPUT = "standard output"
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
    return " ".join(line.split())


@contextlib.contextmanager
def naming(name: str) -> Iterator[None]:
    """Let an ``OSError`` that passes tell which interface it is about."""
    try:
        yield
    except OSError as error:
        error.filename = name
        raise


@contextlib.contextmanager
def writing(name: str | None = None) -> Iterator[None]:
    """Explain why something cannot be written.

    Args:
        name: of what is written, if the errors do not name it themselves.

    Raises:
        CommandError: in place of an ``OSError`` of a file, with what to do about it.
        BrokenPipeError: if nobody reads it any more.
    """
    try:
        yield
    except (BrokenPipeError, WinsockError):
        raise
    except OSError as error:
        error.filename = name or error.filename
        if sys.platform == "win32" and error.errno == errno.EINVAL and error.filename == OUTPUT:
            # What Windows' C library makes of a pipe that nobody reads any more.
            # https://github.com/python/cpython/issues/79935
            raise BrokenPipeError(errno.EPIPE, error.strerror, name) from error
        remedy = _REMEDIES.get(error.errno or 0)
        raise CommandError(f"{explain(error)}; {remedy}" if remedy else explain(error)) from error
