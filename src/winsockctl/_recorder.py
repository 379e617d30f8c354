"""Recorder: savefiles that other tools read, written in C."""

from __future__ import annotations

import os
import platform
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Literal, Self

from winsockctl._filter import Filter
from winsockctl._version import __version__
from winsockctl._winsockctl import RawSocket, Recording

if TYPE_CHECKING:
    from types import TracebackType

    from winsockctl._reader import Reader
    from winsockctl._winsockctl import Batch, _HasFileno

_LONGEST_TEXT = 65000  # bytes; an option of pcapng has at most 65,535


class Recorder:
    """Write datagrams to a savefile that tshark, Wireshark and everything else on libpcap reads.

    The file is written in large pieces, on Linux past the page cache where the file system can.
    While it records, what has been waiting for a second is written too. A failure ends the
    recording: the file then ends with its last whole datagram.

    >>> with Capture("eth0") as capture, Recorder("out.pcapng", interface="eth0") as recorder:
    ...     recorder.record(capture, seconds=60)

    Args:
        target: a path, which is overwritten, or the descriptor of a file or pipe that is open for
            writing, or an object with ``fileno()``; these stay the caller's.
        format: ``"pcapng"`` or ``"pcap"`` (nanoseconds, no comments and no statistics).
        snaplen: what the file says of it, in bytes; ``None`` says 262,144.
        interface: the interface's name, for the file (pcapng).
        filter: what was captured, for the file (pcapng); nothing is filtered here.
        comment: on the whole file (pcapng).
        rotate_size: bytes; the datagram that would make a file larger begins the next one.
        rotate_seconds: the first datagram that is written so long after a file was begun begins
            the next one.
        rotate_count: datagrams in a file. With any of these three, files are named as
            ``out_00001_20261121120000.pcapng``.
        files: how many files to keep; the oldest is removed when there would be more.
        flush: write after each batch, so that a reader of the file or pipe never waits for more.

    Raises:
        TypeError, ValueError: for an argument of the wrong type or out of range.
        OSError: if the file cannot be opened or written; ``filename`` and the message name file
            and call (open(2), write(2)).

    Formats: https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html,
    https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html
    """

    def __init__(
        self,
        target: str | os.PathLike[str] | int | _HasFileno,
        *,
        format: Literal["pcapng", "pcap"] = "pcapng",
        snaplen: int | None = None,
        interface: str = "",
        filter: Filter | str | None = None,
        comment: str = "",
        rotate_size: int | None = None,
        rotate_seconds: float | None = None,
        rotate_count: int | None = None,
        files: int | None = None,
        flush: bool = False,
    ) -> None:
        if format not in ("pcapng", "pcap"):
            raise ValueError(f"format must be 'pcapng' or 'pcap', not {format!r}")
        rotates = not (rotate_size is rotate_seconds is rotate_count is None)
        if files is not None and not rotates:
            raise ValueError("files needs rotate_size, rotate_seconds or rotate_count")
        path, suffix, descriptor = None, "", -1
        if isinstance(target, str | os.PathLike):
            path = os.fspath(target)
            if rotates:
                path, suffix = os.path.splitext(path)
        else:
            descriptor = target if isinstance(target, int) else target.fileno()
            if rotates:
                raise ValueError("files can be rotated in a folder only: give a path")
        # A program that was given as such has no expression.
        expression = filter.expression if isinstance(filter, Filter) else filter
        texts = (
            _text("machine", platform.machine()),
            _text("system", f"{platform.system()} {platform.release()}"),
            _text("application", f"winsockctl {__version__}"),
            _text("comment", comment),
            _text("interface", interface),
            _text("filter", expression or ""),
            None if path is None else _path(path),
            _path(suffix),
        )
        self._recording = Recording(
            texts,
            descriptor=descriptor,
            pcapng=format == "pcapng",
            snaplen=snaplen,
            rotate_size=rotate_size,
            rotate_count=rotate_count,
            rotate_seconds=rotate_seconds,
            files=files,
            flush=flush,
        )

    def record(
        self,
        source: Reader,
        *,
        count: int | None = None,
        bytes: int | None = None,
        seconds: float | None = None,
    ) -> int:
        """Write what a capture or a replay receives, until something ends it.

        The loop is C and works without the GIL. It ends when the source has no more datagrams, when
        the source or the recorder is closed (by any thread), and with a signal whose handler
        raises. What the limits leave over comes with the next read of the source, and what a loop
        over the source has left over comes first here.

        Args:
            source: where the datagrams come from; the batches of a ``Savefile`` are for ``write``.
            count: end after exactly so many datagrams.
            bytes: end before the files grow by more than so many bytes, statistics included.
            seconds: end after that time.

        Returns:
            How many datagrams were written.

        Raises:
            TypeError, ValueError: for a savefile or a limit below 1, or if the recorder is closed.
            WinsockError: as ``Reader.read``.
            OSError: if the file takes no more (ENOSPC, EPIPE, EFBIG, ...; write(2)).
        """
        socket = source._socket
        if not isinstance(socket, RawSocket):
            raise TypeError("record() takes a capture or a replay; write() takes a batch")
        written, before = 0, self._recording.bytes
        count_left, bytes_left, known = count, bytes, source.filter
        for rest in iter(source._rest, None):
            # It stays the source's until it is written.
            items = source._begin(iter(rest), known)
            part = self.write(rest, count_left, bytes=bytes_left)
            deque(islice(items, part), maxlen=0)
            written += part
            count_left = None if count is None else count - written
            if bytes is not None:
                bytes_left = max(bytes - (self._recording.bytes - before), 0)
            if part < len(rest) or count_left == 0 or bytes_left == 0:
                return written
        return written + self._recording.record(
            socket, count=count_left, bytes=bytes_left, seconds=seconds
        )

    def write(self, batch: Batch, count: int | None = None, *, bytes: int | None = None) -> int:
        """Write the first datagrams of a batch.

        Args:
            batch: where they come from.
            count: how many, at most; ``None`` for all of them.
            bytes: end before the files grow by more than so many bytes, statistics included.

        Returns:
            How many were written.

        Raises:
            ValueError: if the recorder is closed, or for a limit below 0.
            OSError: as ``record``.
        """
        return self._recording.write(batch, count, bytes)

    def flush(self) -> None:
        """Write what is still in the buffer."""
        self._recording.flush()

    def close(self) -> None:
        """Write what is in the buffer and the statistics, and end the file.

        Any thread may call it at any time; it waits for a write that is under way. Closing again
        does nothing.

        Raises:
            OSError: as ``record``; the recorder is closed all the same.
        """
        self._recording.close()

    @property
    def datagrams(self) -> int:
        """Datagrams recorded; after a failure, those that are whole in the files."""
        return self._recording.datagrams

    @property
    def bytes(self) -> int:
        """Bytes of all files so far, with those still in the buffer and of files removed since."""
        return self._recording.bytes

    @property
    def path(self) -> str | None:
        """The file that was begun last; ``None`` for a descriptor."""
        return self.paths[-1] if self.paths else None

    @property
    def paths(self) -> tuple[str, ...]:
        """The files that are kept, the oldest first."""
        return self._recording.paths

    @property
    def direct(self) -> bool:
        """Whether the file is written past the page cache (O_DIRECT)."""
        return self._recording.direct

    @property
    def closed(self) -> bool:
        """Whether nothing more can be recorded."""
        return self._recording.closed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _text(what: str, text: str) -> bytes:
    encoded = text.encode(errors="replace")
    if b"\0" in encoded or len(encoded) > _LONGEST_TEXT:
        raise ValueError(f"{what} must have no null character and at most {_LONGEST_TEXT} bytes")
    return encoded


def _path(text: str) -> bytes:
    encoded = os.fsencode(text)
    if b"\0" in encoded:
        raise ValueError("a path has no null character")
    return encoded
