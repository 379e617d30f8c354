"""``winsockctl read``: the datagrams of a savefile as lines or as another savefile."""

from __future__ import annotations

import contextlib
import os
import sys
from itertools import islice
from typing import TYPE_CHECKING

from winsockctl.cli import recording
from winsockctl.cli.errors import UsageError
from winsockctl.cli.output import say
from winsockctl.cli.progress import Progress
from winsockctl.cli.savefile import Input
from winsockctl.cli.summary import hex_dump, line

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from winsockctl import Batch, Savefile


def run(arguments: argparse.Namespace) -> int:
    """Read to the end or to the count."""
    recording.check(arguments, "winsockctl read FILE -w - | tshark -r -")
    source = Input(
        arguments.file, filter=" ".join(arguments.filter) or None, snaplen=arguments.snaplen
    )
    _refuse_same_file(source, arguments.write)
    read = truncated = 0
    with source.savefile as savefile, _sink(arguments, savefile) as take:
        try:
            with Progress(source, wanted=arguments.write is not None) as progress:
                for batch in source.batches():
                    wanted = len(batch)
                    if arguments.count is not None:
                        wanted = min(wanted, arguments.count - read)
                    count = take(batch, wanted)
                    read += count
                    truncated += sum(each.truncated for each in islice(batch.datagrams(), count))
                    if count < wanted or read == arguments.count:
                        break
                    progress.update()
        finally:
            passed_over = savefile.statistics.passed_over
            counts = f"{read} read, {passed_over} passed over, {truncated} truncated"
            print(counts, file=sys.stderr, flush=True)
    return 0


def _refuse_same_file(source: Input, target: str | None) -> None:
    with contextlib.suppress(OSError):
        if target not in (None, "-") and os.path.samestat(source.status, os.stat(str(target))):
            raise UsageError(f"{target} is the file that is read: write to another one")


@contextlib.contextmanager
def _sink(
    arguments: argparse.Namespace, savefile: Savefile
) -> Iterator[Callable[[Batch, int], int]]:
    """What takes the first datagrams of a batch, and tells how many it has taken."""
    if arguments.write is None:
        yield lambda batch, count: _show(batch, count, with_bytes=arguments.hex)
        return
    names = {entry.name or "" for entry in savefile.interfaces}
    interface = names.pop() if len(names) == 1 else ""
    with recording.recorder(arguments, interface=interface, comment=savefile.comment) as recorder:

        def write(batch: Batch, count: int) -> int:
            room = None if arguments.bytes is None else max(arguments.bytes - recorder.bytes, 0)
            return recorder.write(batch, count, bytes=room)

        yield write


def _show(batch: Batch, count: int, *, with_bytes: bool) -> int:
    lines = []
    for datagram in islice(batch.datagrams(), count):
        lines.append(line(datagram))
        if with_bytes:
            lines += hex_dump(datagram.data)
    say("\n".join(lines))
    return count
