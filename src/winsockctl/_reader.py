"""The reading API: what a capture, a replay and a savefile have in common."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections import deque
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

from winsockctl._arrival import Arrival
from winsockctl._iteration import Batches, Items
from winsockctl._options import instructions, parse_filter
from winsockctl._winsockctl import Batch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from types import TracebackType

    from winsockctl._filter import Filter
    from winsockctl._filter.bpf import Instruction
    from winsockctl._winsockctl import Datagram, _BatchIterator

T = TypeVar("T")


class Source(Protocol):
    """What a reader reads from: a ``RawSocket`` or the reader of a savefile."""

    @property
    def backend(self) -> str: ...
    @property
    def buffer_size(self) -> int: ...
    @property
    def closed(self) -> bool: ...
    @property
    def ended(self) -> bool: ...
    def receive(self, timeout: float | None = None) -> Batch: ...
    def wait(self, timeout: float | None = None) -> bool: ...
    def statistics(self) -> tuple[int, int | None, int, int]: ...
    def fileno(self) -> int: ...
    def set_filter(self, program: Sequence[Instruction] | None) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts since the capture began; none of them ever shrinks."""

    received: int
    """Datagrams handed to the program."""
    dropped: int | None
    """Datagrams that passed but found no room; ``None`` where the system does not tell."""
    truncated: int
    """Datagrams of which only the first ``snaplen`` bytes were kept."""
    bytes: int
    """Bytes handed to the program."""
    buffer_size: int
    """Bytes that the system really gave for datagrams not yet read; it does not change."""
    passed_over: int | None = None
    """Packets of a savefile that are neither IPv4 nor IPv6 (contract R8)."""


class Reader:
    """Datagrams from a raw socket: in batches, one by one, or as memoryviews.

    Every view is read-only and stays valid for as long as the program holds it: after the next
    batch, after ``close()``, after the reader itself is gone. Any thread may call ``close()`` at
    any time; a thread that waits in a read is woken.

    A reader keeps its place: what a loop that was left has not come to is what the next read or
    loop begins with, whichever it is. ``close()`` gives it up.

    Args:
        socket: a ``RawSocket`` that is bound and turned on. The reader owns it and closes it.
        filter: what the socket was given as its filter, for the property of this name.
    """

    def __init__(self, socket: Source, *, filter: Filter | None = None) -> None:
        self._socket = socket
        self._filter = filter
        # The batches that loops are in. One, but for loops of several threads at a time.
        self._begun: deque[_BatchIterator[object]] = deque()

    def read(self, timeout: float | None = None) -> Batch:
        """Wait for the next batch.

        Args:
            timeout: seconds to wait; ``None`` waits for ever, 0 does not wait.

        Returns:
            The datagrams that came, at least one: at once what a loop that was left has not come
            to. An empty batch if nothing came in time or if there will be no more (see ``ended``).

        Raises:
            WinsockError: WSAENETDOWN if the interface went away, after what was received before
                was delivered (contract R14); WSAENOTSOCK if the reader is closed; WSAEINTR if
                another thread closes it meanwhile (R15).
        """
        return self._rest() or self._socket.receive(timeout)

    def _rest(self) -> Batch | None:
        """What a loop that was left has not come to."""
        while self._begun:
            try:
                rest = self._begun.popleft().rest()
            except IndexError:  # another thread was faster
                return None
            if rest:
                return rest
        return None

    def _begin(self, items: _BatchIterator[T], known: Filter | None) -> _BatchIterator[T]:
        """Keep the place in a batch that was read when the filter was ``known``."""
        self._begun.append(items)
        if self._filter is not known:  # changed before the setter could see the batch here
            items.select(instructions(self._filter))
        return items

    @cached_property
    def _arrival(self) -> Arrival:
        arrival = Arrival(self._socket)
        weakref.finalize(self, _end, weakref.ref(arrival))  # or its thread would wait for ever
        return arrival

    async def read_async(self, timeout: float | None = None) -> Batch:
        """Wait for the next batch in a coroutine, on any event loop of asyncio.

        Cancelling it loses nothing: what came is what the next read begins with.

        Args:
            timeout: seconds to wait; ``None`` waits for ever, 0 does not wait. Other than that of
                ``read`` it also ends the wait for a file that is slow.

        Returns:
            As ``read`` does.

        Raises:
            WinsockError: as ``read`` does.
        """
        deadline = None if timeout is None else time.monotonic() + _seconds(timeout)
        while True:
            await asyncio.sleep(0)  # a source that is never idle leaves the loop to the others too
            if rest := self._rest():
                return rest
            if self._socket.wait(0):
                batch = self._socket.receive(0)
                if batch or self.ended:
                    return batch
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return Batch()
            await self._arrival.wait(left)

    def batches(self, timeout: float | None = None) -> Batches:
        """Iterate over batches until the reader is closed or nothing came for ``timeout`` seconds.

        It is for ``for`` and for ``async for``, as ``datagrams`` and the reader itself are.

        Raises:
            WinsockError: as ``read`` does, except that closing ends the iteration in silence.
        """
        return Batches(self, timeout)

    def datagrams(self, timeout: float | None = None) -> Items[Datagram]:
        """Iterate over ``Datagram`` records; ends as ``batches`` does."""
        return Items(self, self.batches(timeout), Batch.datagrams)

    def __iter__(self) -> Iterator[memoryview]:
        """Iterate over the bytes of each datagram, IP header first; ends as ``batches`` does."""
        return iter(Items(self, self.batches(), Batch.__iter__))

    def __aiter__(self) -> AsyncIterator[memoryview]:
        """Iterate over the bytes of each datagram in a coroutine."""
        return Items(self, self.batches(), Batch.__iter__)

    @property
    def filter(self) -> Filter | None:
        """Which datagrams are wanted; ``None`` for all of them.

        A ``Filter`` or an expression can be set at any time, also while another thread reads. No
        datagram that the new filter refuses is delivered after that, not even one that was already
        waiting, or that a loop over datagrams had not come to; of one that came before, the new
        filter sees the bytes that ``snaplen`` has left.

        Raises:
            TypeError, FilterSyntaxError: for what is no filter; the old one stays.
            WinsockError: WSAENOTSOCK if the reader is closed.
        """
        return self._filter

    @filter.setter
    def filter(self, wanted: Filter | str | None) -> None:
        changed = parse_filter(wanted)
        program = instructions(changed)
        self._socket.set_filter(program)
        self._filter = changed
        for begun in tuple(self._begun):
            begun.select(program)

    @property
    def statistics(self) -> Statistics:
        """The counts so far; they can still be read after ``close()``."""
        return Statistics(*self._socket.statistics(), self._socket.buffer_size)

    @property
    def backend(self) -> str:
        """Which backend is at work, one of ``winsockctl.backends()``."""
        return self._socket.backend

    @property
    def buffer_size(self) -> int:
        """Bytes that the backend really has for datagrams not yet read."""
        return self._socket.buffer_size

    @property
    def closed(self) -> bool:
        """Whether ``close()`` was called."""
        return self._socket.closed

    @property
    def ended(self) -> bool:
        """Whether there can be no further datagram, as at the end of a savefile."""
        return self._socket.ended

    def fileno(self) -> int:
        """Return the descriptor of the socket (Windows: its handle)."""
        return self._socket.fileno()

    def close(self) -> None:
        """End the reader: promiscuous mode is dropped, waiting threads are woken (R15)."""
        self._socket.close()
        self._begun.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _end(arrival: weakref.ref[Arrival]) -> None:
    if (alive := arrival()) is not None:
        alive.end()


def _seconds(timeout: float) -> float:
    if not timeout >= 0:  # nor a NaN
        raise ValueError("timeout must be 0 seconds or more; None waits for ever")
    return float(timeout)
