"""What a reader is iterated with, by ``for`` and by ``async for``."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

from winsockctl._winsockctl import WinsockError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from winsockctl._reader import Reader
    from winsockctl._winsockctl import Batch, _BatchIterator

T = TypeVar("T")


class Batches(Iterator["Batch"]):
    """The batches of a reader until it is closed, or nothing came for ``timeout`` seconds.

    It ends once: the next ``for`` or ``async for`` takes a new one.
    """

    def __init__(self, reader: Reader, timeout: float | None) -> None:
        self._reader = reader
        self._timeout = timeout
        self._ended = False
        self.filter = reader.filter
        """The reader's, when the last read began."""

    def __next__(self) -> Batch:
        if not self._ended:
            self.filter = self._reader.filter
            try:
                if batch := self._reader.read(self._timeout):
                    return batch
            except WinsockError:
                if not self._reader.closed:
                    raise
            self._ended = True
        raise StopIteration

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        if not self._ended:
            self.filter = self._reader.filter
            try:
                if batch := await self._reader.read_async(self._timeout):
                    return batch
            except WinsockError:
                if not self._reader.closed:
                    raise
            self._ended = True
        raise StopAsyncIteration


class Items(Iterator[T]):
    """What is in the batches of a reader, one by one.

    Args:
        reader: whose place it keeps.
        batches: of the reader.
        items_of: what it is, in one batch.
    """

    def __init__(
        self, reader: Reader, batches: Batches, items_of: Callable[[Batch], _BatchIterator[T]]
    ) -> None:
        def begin(batch: Batch) -> Iterator[T]:
            return reader._begin(items_of(batch), batches.filter)

        self._batches = batches
        self._begin = begin
        self._items = chain.from_iterable(map(begin, batches))
        self._begun: Iterator[T] = iter(())  # of the batch that an async for is in

    def __iter__(self) -> Iterator[T]:
        return self._items  # a loop over it calls no Python

    def __next__(self) -> T:
        return next(self._items)

    def __aiter__(self) -> Self:
        return self

    # No asynchronous generator: a loop that is left would have it closed by the event loop later.
    async def __anext__(self) -> T:
        while True:
            for item in self._begun:
                return item
            self._begun = self._begin(await anext(self._batches))
