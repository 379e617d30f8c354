"""How a coroutine waits for datagrams, whichever event loop it runs on."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from winsockctl._reader import Source


class Arrival:
    """Wakes coroutines when a source has something to tell.

    A thread waits for them: that works on every event loop and every system, for files too, and
    the loops of several threads can wait for one source. The thread takes nothing from the source,
    so a coroutine that is cancelled loses nothing; the thread goes on waiting for the next one.
    There is one at a time, and it ends when something comes or the source is closed.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._is_awaited = False
        self._waiting: set[asyncio.Future[Exception | None]] = set()

    async def wait(self, timeout: float | None) -> None:
        """Come back when there is something to tell, or after ``timeout`` seconds.

        Raises:
            WinsockError: as ``Source.wait`` does.
        """
        came: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        with self._lock:
            if not self._is_awaited:
                threading.Thread(target=self._run, name="winsockctl wait", daemon=True).start()
                self._is_awaited = True
            self._waiting.add(came)
        try:
            await asyncio.wait([came], timeout=timeout)
        finally:
            with self._lock:
                self._waiting.discard(came)
        if came.done() and (error := came.result()):
            raise error

    def end(self) -> None:
        """Close the source if a thread waits for it."""
        with self._lock:
            is_awaited = self._is_awaited
        if is_awaited:
            self._source.close()

    def _run(self) -> None:
        error = None
        try:
            self._source.wait()
        except Exception as caught:
            error = caught
        with self._lock:
            self._is_awaited = False
            waiting = list(self._waiting)
        for came in waiting:
            with contextlib.suppress(RuntimeError):  # its loop was closed meanwhile
                came.get_loop().call_soon_threadsafe(_tell, came, error)
        del error


def _tell(came: asyncio.Future[Exception | None], error: Exception | None) -> None:
    if not came.done():
        came.set_result(error)
