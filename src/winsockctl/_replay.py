"""Replay: datagrams from memory through the same reading API, without any privilege."""

from __future__ import annotations

from typing import TYPE_CHECKING

from winsockctl._constants import RcvAll
from winsockctl._control import set_rcvall
from winsockctl._options import instructions, parse_filter
from winsockctl._reader import Reader
from winsockctl._winsockctl import RawSocket

if TYPE_CHECKING:
    from collections.abc import Iterable

    from winsockctl._filter import Filter
    from winsockctl._winsockctl import _ReplayItem


class Replay(Reader):
    """Read datagrams from memory as if they were captured: for tests of capture programs.

    Args:
        datagrams: bytes-like objects that begin with an IPv4 or IPv6 header; tuples
            ``(data, timestamp_ns, direction, original_length, flags)``, of which all behind the
            time stamp may be left out; or ``Datagram`` records. Of the flags TRUNCATED is told by
            the lengths instead.
            What is neither IPv4 nor IPv6 is passed over (contract R8).
        filter: which datagrams are wanted, as of ``Capture``.
        snaplen: bytes to keep of each datagram; ``None`` keeps it whole.
        batch_size: datagrams in a batch, from 1.
        wait: after the last datagram a read waits, as on an idle interface, until its time-out
            or ``close()``; by default the iteration ends there.

    Raises:
        TypeError, ValueError: for an argument of the wrong type or out of range.
    """

    def __init__(
        self,
        datagrams: Iterable[_ReplayItem],
        *,
        filter: Filter | str | None = None,
        snaplen: int | None = None,
        batch_size: int = 1024,
        wait: bool = False,
    ) -> None:
        wanted = parse_filter(filter)
        raw = RawSocket.replay(
            datagrams,
            filter=instructions(wanted),
            snaplen=snaplen,
            batch_size=batch_size,
            wait=wait,
        )
        super().__init__(raw, filter=wanted)
        raw.bind("replay")
        set_rcvall(raw, RcvAll.ON)
