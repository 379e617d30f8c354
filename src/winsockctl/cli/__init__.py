"""The command ``winsockctl``: captures, savefiles, a demo, a check of the machine."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
from typing import TYPE_CHECKING

from winsockctl.cli.errors import OUTPUT, CommandError, UsageError, explain, writing
from winsockctl.cli.parser import build_parser

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: the arguments without the program's name; ``None`` takes them from ``sys.argv``.

    Returns:
        The exit status: 0 done, 1 failed, 2 wrong usage. A failure is one line on standard error.
    """
    for stream in (sys.stdout, sys.stderr):
        # The name of an interface may hold what the terminal's encoding cannot show.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = _run(argv)
        with writing(OUTPUT):
            print(end="", flush=True)
    except BrokenPipeError:
        # As after "| head": whoever reads the output has what they wanted.
        _discard(sys.stdout)
        return 0
    except KeyboardInterrupt:
        return _fail("interrupted", 1)
    except (UsageError, ValueError, OverflowError) as error:
        return _fail(explain(error), 2)
    except (CommandError, OSError, MemoryError) as error:
        return _fail(explain(error), 1)
    return status


def _run(argv: Sequence[str] | None) -> int:
    try:
        arguments, rest = build_parser().parse_known_args(argv)
    except SystemExit:
        # argparse has answered -h or --version; what is wrong with the arguments is a UsageError.
        return 0
    # argparse takes no words of the filter behind an option: they are left over.
    if rest and (not hasattr(arguments, "filter") or any(word.startswith("-") for word in rest)):
        raise UsageError(
            f"unrecognized arguments: {' '.join(rest)}; see 'winsockctl {arguments.command} -h'"
        )
    if rest:
        arguments.filter += rest
    # Each command is a module of its name, imported only when it is asked for.
    command = importlib.import_module(f"winsockctl.cli.{arguments.command}")
    status: int = command.run(arguments)
    return status


def _fail(message: str, status: int) -> int:
    # What was printed before it goes first, if it can still go.
    try:
        print(end="", flush=True)
    except OSError:
        _discard(sys.stdout)
    try:
        print(f"winsockctl: {message}", file=sys.stderr, flush=True)
    except OSError:
        _discard(sys.stderr)
    return status


def _discard(stream: TextIO) -> None:
    """Send what the interpreter flushes at its end to nowhere, or it would complain."""
    # https://docs.python.org/3/library/signal.html#note-on-sigpipe
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
