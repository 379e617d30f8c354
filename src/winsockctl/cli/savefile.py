"""The savefile that a command was given: opened, read, and what is wrong with it as one line."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

from winsockctl import SavefileError, open_savefile
from winsockctl.cli.errors import CommandError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from winsockctl import Batch, Savefile


class Input:
    """A savefile and the name that it has for the user.

    Args:
        file: a path, or ``-`` for standard input.
        filter: an expression; ``None`` wants every datagram.
        snaplen: bytes to keep of each datagram.
    """

    def __init__(self, file: str, *, filter: str | None = None, snaplen: int | None = None) -> None:
        self.name = "standard input" if file == "-" else file
        if file == "-" and (sys.stdin is None or sys.stdin.isatty()):
            raise UsageError(
                "'-' reads binary data: connect standard input to a file or a program, "
                "as in 'dumpcap -w - | winsockctl read -'"
            )
        source = sys.stdin.buffer if file == "-" else file
        with self._explaining():
            self.savefile: Savefile = open_savefile(source, filter=filter, snaplen=snaplen)
            self.status = os.fstat(sys.stdin.fileno()) if file == "-" else os.stat(file)

    def batches(self) -> Iterator[Batch]:
        """Iterate over what is left of the file."""
        while True:
            with self._explaining():
                batch = self.savefile.read()
            if not batch:
                return
            yield batch

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except (SavefileError, ImportError) as error:
            raise CommandError(f"{self.name}: {error}") from error
        except OSError as error:
            raise CommandError(f"{self.name}: {error.strerror or error}") from error
