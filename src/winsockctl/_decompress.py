"""Streams of bytes, compressed or not."""

from __future__ import annotations

import gzip
import importlib
import sys
import zlib
from typing import TYPE_CHECKING, Any

from winsockctl._winsockctl import SavefileError

if TYPE_CHECKING:
    from collections.abc import Callable

# https://www.rfc-editor.org/rfc/rfc1952, https://www.rfc-editor.org/rfc/rfc8878
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


class Stream:
    """A file object of whose bytes the first four can be looked at."""

    def __init__(self, file: Any) -> None:
        # read(n) of a buffered file waits for all of the n bytes.
        self._read: Callable[[int], bytes] = getattr(file, "read1", file.read)
        self.first = b""
        while len(self.first) < 4 and (piece := self._read(4 - len(self.first))):
            self.first += piece
        self._rest = self.first

    def read(self, size: int) -> bytes:
        """Return up to ``size`` of the next bytes, none at the end."""
        if self._rest:
            piece, self._rest = self._rest[:size], self._rest[size:]
            return piece
        return self._read(size)


def compression_of(first: bytes) -> str | None:
    """Return how a file that begins with these four bytes is compressed, if it is."""
    return next((kind for magic, kind in _MAGIC.items() if first.startswith(magic)), None)


def decompress(kind: str, stream: Stream) -> Callable[[int], bytes]:
    """Return what reads the uncompressed bytes of a stream.

    Raises:
        ImportError: if no library for it is installed.
    """
    if kind == "gzip":
        file: Any = gzip.GzipFile(fileobj=stream, mode="rb")  # type: ignore[call-overload]
        damage: tuple[type[Exception], ...] = (EOFError, zlib.error, gzip.BadGzipFile)
    else:
        zstd = _zstd()
        file = zstd.ZstdFile(stream)
        damage = (EOFError, zstd.ZstdError)
    position = 0
    fault: SavefileError | None = None

    def read(size: int) -> bytes:
        nonlocal position, fault
        if fault is not None:
            raise fault
        try:
            piece: bytes = file.read1(size)
        except damage as error:
            fault = _fault(f"the {kind} stream is damaged: {error}", position)
            raise fault from error
        position += len(piece)
        return piece

    return read


def _zstd() -> Any:
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            "the savefile is compressed with zstd, and no library for it is here: "
            "install the extra, as in pip install 'winsockctl[zstd]'",
            name=name,
        ) from error


def _fault(reason: str, offset: int) -> SavefileError:
    error = SavefileError(f"{reason} (byte {offset})")
    error.reason, error.offset = reason, offset
    return error
