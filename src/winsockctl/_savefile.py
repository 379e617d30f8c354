"""Savefiles: the datagrams of a pcap or pcapng file through the reading API, without privilege."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import mmap
import os
import stat
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from winsockctl._decompress import Stream, compression_of, decompress
from winsockctl._options import instructions, parse_filter
from winsockctl._reader import Reader, Statistics
from winsockctl._winsockctl import SavefileReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from winsockctl._filter import Filter


class BinaryFile(Protocol):
    """What a savefile can be streamed from."""

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes, none at the end."""


SavefileSource: TypeAlias = "str | bytes | os.PathLike[str] | os.PathLike[bytes] | BinaryFile"


@dataclass(frozen=True, slots=True)
class SavefileInterface:
    """An interface that a savefile was captured on."""

    name: str | None
    """``None`` if the file does not tell, as no pcap file does."""
    description: str | None
    filter: str | None
    """The expression that was captured with."""
    link_type: int
    """A LINKTYPE number, https://www.tcpdump.org/linktypes.html"""
    snaplen: int
    """Bytes of each packet that were kept; 0 for no limit."""


class Savefile(Reader):
    """Read the IPv4 and IPv6 datagrams of a savefile; ``open_savefile`` makes it.

    The link layer is cut off; packets that are neither IPv4 nor IPv6 are passed over and counted
    (contract R8). A ``Datagram``'s ``interface_index`` is a place in ``interfaces``, its
    ``timestamp_ns`` is 0 and its direction UNKNOWN where the file does not tell.
    """

    def __init__(
        self,
        file: SavefileSource,
        *,
        filter: Filter | str | None = None,
        snaplen: int | None = None,
        batch_size: int = 1024,
    ) -> None:
        wanted = parse_filter(filter)
        with contextlib.ExitStack() as undo:
            source, self._compression = _open(file, undo)
            self._reader = SavefileReader(
                source, filter=instructions(wanted), snaplen=snaplen, batch_size=batch_size
            )
            self._files = undo.pop_all()
        super().__init__(self._reader, filter=wanted)

    @property
    def format(self) -> str:
        """``'pcap'`` or ``'pcapng'``."""
        return self._reader.format

    @property
    def byte_order(self) -> str:
        """``'little'`` or ``'big'``; of a pcapng file that of the section that is being read."""
        return self._reader.byte_order

    @property
    def compression(self) -> str | None:
        """``'gzip'``, ``'zstd'`` or ``None``."""
        return self._compression

    @property
    def interfaces(self) -> tuple[SavefileInterface, ...]:
        """The interfaces that the file has described so far: of a pcap file one without a name.

        A pcapng file may describe further ones between its packets, and each of its sections has
        its own.
        """
        return tuple(SavefileInterface(*facts) for facts in self._reader.interfaces)

    @property
    def link_types(self) -> tuple[int, ...]:
        """The link types of the interfaces, each once."""
        return tuple(dict.fromkeys(interface.link_type for interface in self.interfaces))

    @property
    def snaplen(self) -> int:
        """Bytes of each packet that were kept, the most of all interfaces; 0 for no limit."""
        lengths = [interface.snaplen for interface in self.interfaces]
        return 0 if 0 in lengths else max(lengths, default=0)

    @property
    def comment(self) -> str | None:
        """The comment of a pcapng file, if it has one."""
        return self._reader.comment

    @property
    def position(self) -> int:
        """Bytes of the (uncompressed) file that were read so far."""
        return self._reader.position

    @property
    def statistics(self) -> Statistics:
        """The counts so far; ``dropped`` is what the file tells of its capture, at its end."""
        return dataclasses.replace(super().statistics, passed_over=self._reader.passed_over)

    def close(self) -> None:
        """Let go of the file; a file object that was given stays open. Views stay valid."""
        super().close()
        self._files.close()

    def __repr__(self) -> str:
        return f"<Savefile {self.format}{' closed' if self.closed else ''}>"


def open_savefile(
    file: SavefileSource,
    *,
    filter: Filter | str | None = None,
    snaplen: int | None = None,
    batch_size: int = 1024,
) -> Savefile:
    """Open a pcap or pcapng file to read its datagrams.

    A regular file is mapped and its datagrams are views onto the mapping; nothing is copied. A
    program that shortens the file meanwhile ends this one with SIGBUS (mmap(2)): give a file object
    for a file that is not at rest, which is then read in pieces, as pipes and compressed files are.

    Args:
        file: a path, or a binary file object, such as a pipe or ``sys.stdin.buffer``. Either may be
            compressed with gzip or zstd, which shows by its first bytes; zstd needs Python 3.14 or
            the extra ``winsockctl[zstd]``.
        filter: which datagrams are wanted, as of ``Capture``; decided before an object is made.
        snaplen: bytes to keep of each datagram; ``None`` keeps what the file has.
        batch_size: datagrams in a batch, 1 to 65,536, at most.

    Returns:
        A reader that has read what comes before the first packet.

    Raises:
        SavefileError: for a file that is empty, no savefile, of a link type that is not read, or
            damaged before its first packet. Damage behind it is told by the read that meets it,
            after every whole packet before it was delivered.
        ImportError: for a file compressed with zstd where no library is there to read it.
        OSError: if the file cannot be opened or read.
        TypeError, ValueError: for an argument of the wrong type or out of range.
        FilterSyntaxError: for a filter expression that cannot be compiled.

    Formats: https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html and
    https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html. Packets of the link types
    ETHERNET (with VLAN tags), RAW, IPV4, IPV6, NULL, LOOP, PPP, LINUX_SLL and LINUX_SLL2 are read.
    """
    return Savefile(file, filter=filter, snaplen=snaplen, batch_size=batch_size)


def _open(
    file: SavefileSource,
    undo: contextlib.ExitStack,
) -> tuple[mmap.mmap | Callable[[int], bytes], str | None]:
    """Return what the reader reads, and how it is compressed; ``undo`` closes what was opened."""
    if isinstance(file, str | bytes | os.PathLike):
        raw = undo.enter_context(io.FileIO(os.fspath(file)))
        mapping = _map(raw)
        if mapping is not None and compression_of(mapping[:4]) is None:
            undo.close()
            return mapping, None
        file = raw
    if isinstance(file, io.TextIOBase) or not hasattr(file, "read"):
        raise TypeError(
            f"a savefile is a path or a file object opened in binary mode, not {file!r:.100}"
        )
    stream = Stream(file)
    kind = compression_of(stream.first)
    return (stream.read if kind is None else decompress(kind, stream)), kind


def _map(file: io.FileIO) -> mmap.mmap | None:
    """Map a regular file; ``None`` for what cannot be mapped, as pipes and files of /proc."""
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
        return None
    try:
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, OverflowError, ValueError):
        return None
    if sys.platform != "win32":
        mapping.madvise(mmap.MADV_SEQUENTIAL)
    return mapping
