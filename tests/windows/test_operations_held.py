"""Operations that the hook holds: ended, cancelled, closed and dropped, in every order.

The system writes to an operation's memory until it says that the operation is over. So does the
hook, late, and it counts what had been given away by then.
"""

import _socket
import asyncio
import gc
import os
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hook import Hook
from network import PATIENCE, eventually

from winsockctl import ControlCode, Operation, WinsockError, _winsockctl, start_ioctl

pytestmark = pytest.mark.skipif(
    "WINSOCKCTL_HOOK" not in os.environ, reason="needs the hook: WINSOCKCTL_HOOK is not set"
)

CODE = ControlCode.SIO_TCP_INFO
OUTPUT = bytes(range(88))
STATUS_INVALID_PARAMETER = 0xC000000D
ERROR_NOT_FOUND = 1168
LATE = 0.2  # seconds

each_loop = pytest.mark.parametrize(
    "loop_factory",
    [getattr(asyncio, name) for name in ("SelectorEventLoop", "ProactorEventLoop")],
)


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook(_winsockctl, _socket) as patched:
        patched.hold(CODE)
        yield patched
        gc.collect()
        assert patched.lost == 0


@pytest.fixture
def tcp(hook: Hook) -> Iterator[socket.socket]:
    with socket.socket() as sock:
        yield sock


def start(sock: socket.socket, callback: Callable[[Operation], object] | None = None) -> Operation:
    return start_ioctl(sock, CODE, b"", len(OUTPUT), callback)


def symbol_of(operation: Operation) -> str:
    with pytest.raises(WinsockError) as caught:
        operation.result()
    assert caught.value.call == "WSAIoctl(SIO_TCP_INFO)"
    return caught.value.symbol


def test_c4_pending_until_the_system_ends_it(hook: Hook, tcp: socket.socket) -> None:
    operation = start(tcp)
    assert not operation.wait(0)
    assert not operation.wait(0.05)
    assert not operation.done()
    assert hook.held == 1
    assert hook.complete(OUTPUT)
    assert operation.wait(PATIENCE)
    assert operation.done()
    operation.cancel()  # too late
    assert operation.result() == OUTPUT


def test_c4_as_many_bytes_as_the_system_reported(hook: Hook, tcp: socket.socket) -> None:
    operation = start(tcp)
    hook.complete(OUTPUT[:5])
    assert operation.wait(PATIENCE)
    assert operation.result() == OUTPUT[:5]


def test_c4_what_fails_later_is_told_by_the_result(hook: Hook, tcp: socket.socket) -> None:
    operation = start(tcp)
    hook.complete(status=STATUS_INVALID_PARAMETER)
    assert operation.wait(PATIENCE)
    assert symbol_of(operation) == "WSAEINVAL"


def test_c4_each_operation_ends_by_itself(hook: Hook, tcp: socket.socket) -> None:
    first, second = start(tcp), start(tcp)
    second.cancel()
    assert second.wait(PATIENCE)
    assert symbol_of(second) == "WSA_OPERATION_ABORTED"
    assert not first.done()
    assert hook.complete(OUTPUT)
    assert first.wait(PATIENCE)
    assert first.result() == OUTPUT


def test_c4_a_callback_comes_when_it_is_over(hook: Hook, tcp: socket.socket) -> None:
    told: list[Operation] = []
    operation = start(tcp, told.append)
    assert told == []
    hook.complete(OUTPUT)
    assert eventually(lambda: told == [operation])
    assert operation.result() == OUTPUT


@each_loop
def test_c4_awaited(
    hook: Hook, tcp: socket.socket, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def main() -> bytes:
        operation = start(tcp)
        asyncio.get_running_loop().call_later(0.05, hook.complete, OUTPUT)
        return await asyncio.wait_for(operation, PATIENCE)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(main()) == OUTPUT


@each_loop
def test_c6_a_cancelled_task_waits_until_the_system_lets_go(
    hook: Hook, tcp: socket.socket, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def main() -> None:
        operation = start(tcp)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(operation, 0.02)
        assert hook.held == 0
        assert symbol_of(operation) == "WSA_OPERATION_ABORTED"

    hook.hold(CODE, delay=LATE)
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


def test_c6_cancelling_does_not_wait_for_the_system(hook: Hook, tcp: socket.socket) -> None:
    hook.hold(CODE, delay=LATE)
    operation = start(tcp)
    operation.cancel()
    operation.cancel()
    assert operation.wait(PATIENCE)
    assert symbol_of(operation) == "WSA_OPERATION_ABORTED"


@pytest.mark.parametrize("waiting", [False, True])
def test_c6_closing_the_socket_ends_it(hook: Hook, waiting: bool) -> None:
    hook.hold(CODE, delay=LATE)
    sock = socket.socket()
    operation = start(sock)
    told: list[bool] = []
    thread = threading.Thread(target=lambda: told.append(operation.wait(PATIENCE)))
    if waiting:
        thread.start()
    sock.close()
    if not waiting:
        thread.start()
    thread.join()
    assert told == [True]
    assert symbol_of(operation) == "WSA_OPERATION_ABORTED"


@pytest.mark.parametrize("before", ["nothing", "cancel", "close", "cancel and close"])
@pytest.mark.parametrize("cycle", [False, True])
def test_c6_memory_outlives_an_operation_that_is_dropped(
    hook: Hook, before: str, cycle: bool
) -> None:
    hook.hold(CODE, delay=LATE)
    with socket.socket() as sock:
        operation = start(sock)
        reference = weakref.ref(operation)
        if cycle:
            operation.myself = operation  # type: ignore[attr-defined]
        if "cancel" in before:
            operation.cancel()
        if "close" in before:
            sock.close()
        del operation
        gc.collect()
        # It came back when the system had written for the last time, and not before.
        assert reference() is None
        assert hook.held == 0
    assert hook.lost == 0


def test_c6_one_that_cannot_be_cancelled_leaves_its_memory_to_the_system(
    hook: Hook, tcp: socket.socket
) -> None:
    hook.fail("CancelIoEx", ERROR_NOT_FOUND)
    operation = start(tcp)
    del operation  # the destructor has waited for a while, and then let it be
    assert hook.held == 1
    assert hook.complete(OUTPUT)


def test_c6_what_ends_while_it_is_dropped(hook: Hook, tcp: socket.socket) -> None:
    hook.fail("CancelIoEx", ERROR_NOT_FOUND)
    operation = start(tcp)
    timer = threading.Timer(0.1, hook.complete, (OUTPUT,))
    timer.start()
    del operation
    timer.join()
    assert hook.held == hook.lost == 0


@pytest.mark.parametrize("threads", [0, 3])
def test_c6_the_program_ends_while_it_is_pending(threads: int) -> None:
    program = f"""
import _socket, socket, sys, threading
from hook import Hook
from winsockctl import ControlCode, _winsockctl, start_ioctl

hook = Hook(_winsockctl, _socket).__enter__()
hook.hold(ControlCode.SIO_TCP_INFO, delay=0.1)
sock = socket.socket()
kept = [start_ioctl(sock, ControlCode.SIO_TCP_INFO, b"", 88) for _ in range(4)]
told = start_ioctl(sock, ControlCode.SIO_TCP_INFO, b"", 88, print)
for operation in kept[:{threads}]:
    threading.Thread(target=operation.wait, daemon=True).start()
print("ended", flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=PATIENCE * 3,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ended\n")
