"""Control operations that are started and not waited for: the overlapped WSAIoctl."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

from winsockctl import _winsockctl

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    from typing_extensions import Buffer

    from winsockctl._winsockctl import _Descriptor


class Operation(_winsockctl.Operation):
    """A control operation under way (contract C4-C6), made by ``start_ioctl``.

    Wait for it with ``wait()``, ask with ``done()``, or await it in a coroutine on any event loop;
    then ``result()`` is its output. The system writes to memory that the operation owns; dropping
    the operation cancels it and waits until the system has let go.
    """

    def __await__(self) -> Generator[Any, None, bytes]:
        """Wait in a coroutine and return the output; cancelling the task cancels the operation."""
        return self._wait_in_thread().__await__()

    async def _wait_in_thread(self) -> bytes:
        # A thread of its own: in a pool, operations that wait could keep out the one that is done.
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def announce() -> None:
            self.wait()
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=announce, daemon=True).start()
        try:
            await done.wait()
        except asyncio.CancelledError:
            self.cancel()
            await done.wait()
            raise
        return self.result()


def start_ioctl(
    sock: _Descriptor,
    code: int,
    in_buffer: Buffer = b"",
    out_size: int = 0,
    callback: Callable[[Operation], object] | None = None,
) -> Operation:
    """Start a control code without waiting for it (contract C4).

    A socket without the overlapped attribute ignores that and is waited for (C5). On Linux every
    code but SIO_ADDRESS_LIST_CHANGE is done at once.

    Args:
        sock: a ``socket.socket``, a ``RawSocket``, or a descriptor (Windows: a handle).
        code: the control code, a ``ControlCode`` or any 32-bit number.
        in_buffer: the input bytes.
        out_size: how many output bytes there is room for.
        callback: called with the operation when it is done, in a thread of its own.

    Raises:
        WinsockError: as ``ioctl`` does, if the operation cannot be started. WSA_IO_PENDING is no
            error; what goes wrong later is raised by ``Operation.result``.

    https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-wsaioctl
    """
    operation = Operation(sock, code, in_buffer, out_size)
    if callback is not None:

        def announce() -> None:
            operation.wait()
            callback(operation)

        threading.Thread(target=announce, daemon=True).start()
    return operation
