"""``winsockctl read``: the datagrams of a savefile as lines or as another savefile."""

from __future__ import annotations

import contextlib
import os
import sys
from itertools import islice
from typing import TYPE_CHECKING

from winsockctl import SavefileWriter
from winsockctl.cli.errors import UsageError, naming
from winsockctl.cli.output import say
from winsockctl.cli.savefile import Input
from winsockctl.cli.summary import hex_dump, line

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from winsockctl import Batch


def run(arguments: argparse.Namespace) -> int:
    """Read to the end or to the count."""
    if arguments.write == "-" and (sys.stdout is None or sys.stdout.isatty()):
        raise UsageError("'-w -' writes binary data: send standard output to a file or a program")
    source = Input(
        arguments.file, filter=" ".join(arguments.filter) or None, snaplen=arguments.snaplen
    )
    _refuse_same_file(source, arguments.write)
    read = truncated = 0
    with source.savefile, _sink(arguments) as take:
        try:
            for batch in source.batches():
                count = len(batch)
                if arguments.count is not None:
                    count = min(count, arguments.count - read)
                take(batch, count)
                read += count
                truncated += sum(each.truncated for each in islice(batch.datagrams(), count))
                if read == arguments.count:
                    break
        finally:
            passed_over = source.savefile.statistics.passed_over
            counts = f"{read} read, {passed_over} passed over, {truncated} truncated"
            print(counts, file=sys.stderr, flush=True)
    return 0


def _refuse_same_file(source: Input, target: str | None) -> None:
    with contextlib.suppress(OSError):
        if target not in (None, "-") and os.path.samestat(source.status, os.stat(str(target))):
            raise UsageError(f"{target} is the file that is read: write to another one")


@contextlib.contextmanager
def _sink(arguments: argparse.Namespace) -> Iterator[Callable[[Batch, int], None]]:
    if arguments.write is None:
        yield lambda batch, count: _show(batch, count, with_bytes=arguments.hex)
        return
    name = "standard output" if arguments.write == "-" else str(arguments.write)
    target = sys.stdout.fileno() if arguments.write == "-" else arguments.write
    with open(target, "wb", buffering=0, closefd=arguments.write != "-") as file:

        def write(batch: Batch, count: int) -> None:
            with naming(name):
                writer.write(batch, count)

        with naming(name):
            writer = SavefileWriter(file.fileno(), snaplen=arguments.snaplen)
        yield write


def _show(batch: Batch, count: int, *, with_bytes: bool) -> None:
    lines = []
    for datagram in islice(batch.datagrams(), count):
        lines.append(line(datagram))
        if with_bytes:
            lines += hex_dump(datagram.data)
    say("\n".join(lines))
