"""``-w``: a recorder by the options that the commands share, and the name of what it writes to."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from winsockctl import Recorder
from winsockctl.cli.errors import OUTPUT, UsageError, writing

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

_ROTATION = ("rotate_size", "rotate_seconds", "rotate_count")


def check(arguments: argparse.Namespace, example: str) -> None:
    """Refuse options that do not go together, before anything is opened.

    Args:
        arguments: of the command.
        example: a command line that is right, for who would get binary data on a terminal.
    """
    if arguments.write is None:
        for option in ("format", "bytes", "comment", "flush", *_ROTATION, "files"):
            if getattr(arguments, option):
                raise UsageError(f"--{option.replace('_', '-')} needs -w FILE")
    elif arguments.write == "-" and (sys.stdout is None or sys.stdout.isatty()):
        raise UsageError(
            "'-w -' writes binary data: send standard output to a file or a program, "
            f"as in '{example}'"
        )


def target_name(arguments: argparse.Namespace) -> str:
    """Return what the user knows it by."""
    return OUTPUT if arguments.write == "-" else str(arguments.write)


@contextlib.contextmanager
def recorder(
    arguments: argparse.Namespace, *, interface: str, comment: str | None = None
) -> Iterator[Recorder]:
    """Begin what ``-w`` asks for, and end it behind the last datagram.

    Args:
        arguments: of the command.
        interface: what the file says of where the datagrams come from.
        comment: for the file, unless the user has another.
    """
    is_pcap = str(arguments.write).lower().endswith(".pcap")
    to_output = arguments.write == "-"
    with (
        writing(OUTPUT if to_output else None),
        Recorder(
            sys.stdout.fileno() if to_output else arguments.write,
            format=arguments.format or ("pcap" if is_pcap else "pcapng"),
            snaplen=arguments.snaplen,
            interface=interface,
            filter=" ".join(arguments.filter),
            comment=arguments.comment or comment or "",
            flush=arguments.flush,
            files=arguments.files,
            **{option: getattr(arguments, option) for option in _ROTATION},
        ) as recording,
    ):
        yield recording
