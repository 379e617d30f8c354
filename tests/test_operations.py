"""Operations that are started and not waited for (C4 to C6), on real sockets.

SIO_ADDRESS_LIST_CHANGE is the code that stays pending: until an address comes or goes, it is
cancelled, or its socket is closed.
"""

import asyncio
import gc
import itertools
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from conftest import FailsWith
from missing import WINE
from network import PATIENCE, Port, eventually

from winsockctl import (
    ControlCode,
    Operation,
    RawSocket,
    RcvAll,
    WinsockError,
    address_list,
    start_ioctl,
)

CHANGE = "WSAIoctl(SIO_ADDRESS_LIST_CHANGE)"

linux = pytest.mark.linux

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.SelectorEventLoop]
if sys.platform == "win32":
    LOOPS.append(asyncio.ProactorEventLoop)

each_loop = pytest.mark.parametrize("loop_factory", LOOPS)


@pytest.fixture
def udp() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        yield sock


@pytest.fixture
def start(udp: socket.socket) -> Callable[[], Operation]:
    """Start an operation that stays pending."""
    return lambda: start_ioctl(udp, ControlCode.SIO_ADDRESS_LIST_CHANGE)


_addresses = itertools.count(1)


def change_addresses(port: Port) -> None:
    """Give a host one IPv4 address more."""
    port.host.ip(f"addr add 10.77.0.{next(_addresses)}/32 dev {port.name}")


def outcome(operation: Operation) -> str:
    """How an operation that is done has ended."""
    assert operation.wait(PATIENCE)
    try:
        operation.result()
    except WinsockError as error:
        return error.symbol
    return "done"


def run(coroutine: object, loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> object:
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(coroutine)


def descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))


# ---------------------------------------------------------------------------------------------
# C4: what is done at once


def test_c4_what_needs_no_waiting_is_done(udp: socket.socket) -> None:
    udp.bind(("127.0.0.1", 0))
    udp.sendto(b"seventeen bytes, ", udp.getsockname())
    assert udp.recv(100, socket.MSG_PEEK) == b"seventeen bytes, "
    operation = start_ioctl(udp, ControlCode.FIONREAD, b"", 64)
    assert operation.wait(PATIENCE) is True
    assert operation.done() is True
    assert operation.wait(0) is True
    assert operation.wait() is True
    assert operation.result() == struct.pack("=I", 17)
    assert operation.result() == struct.pack("=I", 17)
    operation.cancel()  # too late: nothing changes
    assert operation.result() == struct.pack("=I", 17)


def test_c4_input_reaches_the_system() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp:
        values = bytearray(struct.pack("=III", 1, 90_000, 7_000))
        operation = start_ioctl(tcp.fileno(), ControlCode.SIO_KEEPALIVE_VALS, values)
        assert outcome(operation) == "done"
        assert operation.result() == b""
        values.clear()  # the operation keeps no hold on it
        assert tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0


def test_c4_the_raw_socket_of_the_package() -> None:
    with RawSocket.replay([]) as raw:
        raw.bind("anything")
        operation = start_ioctl(raw, ControlCode.SIO_RCVALL, struct.pack("=I", RcvAll.IPLEVEL))
        assert operation.done()
        assert operation.result() == b""
        assert raw.mode == RcvAll.IPLEVEL


def test_c4_a_live_raw_socket(loopback: Port, live_backend: str) -> None:
    with RawSocket(socket.AF_INET, backend=live_backend) as raw:
        raw.bind(loopback.name)
        value = struct.pack("=I", RcvAll.ON)
        for mode, target in ((RcvAll.ON, raw), (RcvAll.OFF, raw.fileno())):
            value = struct.pack("=I", mode)
            assert outcome(start_ioctl(target, ControlCode.SIO_RCVALL, value)) == "done"
            assert raw.mode == mode
        assert len(start_ioctl(raw, ControlCode.FIONREAD, b"", 4).result()) == 4


@linux
@pytest.mark.parametrize(
    ("code", "in_buffer", "out_size", "symbol", "call"),
    [
        (0, b"", 0, "WSAEINVAL", "WSAIoctl"),
        (ControlCode.FIONREAD, b"", 3, "WSAEFAULT", "WSAIoctl(FIONREAD)"),  # C8
        (ControlCode.SIO_RCVALL, bytes(4), 0, "WSAEINVAL", "WSAIoctl(SIO_RCVALL)"),
        (ControlCode.SIO_UDP_CONNRESET, bytes(4), 0, "WSAEOPNOTSUPP", None),
    ],
)
def test_c4_what_cannot_be_started(
    udp: socket.socket,
    fails_with: FailsWith,
    code: int,
    in_buffer: bytes,
    out_size: int,
    symbol: str,
    call: str | None,
) -> None:
    called: list[Operation] = []
    with fails_with(symbol, call or f"WSAIoctl({ControlCode(code).name})"):
        start_ioctl(udp, code, in_buffer, out_size, called.append)
    assert called == []


@pytest.mark.parametrize("code", [ControlCode.FIONREAD, ControlCode.SIO_ADDRESS_LIST_CHANGE])
@pytest.mark.parametrize("what", ["closed", "negative", "never opened", "huge"])
def test_c2_what_is_no_socket(code: int, what: str) -> None:
    closed = socket.socket()
    closed.close()
    sock = {"closed": closed, "negative": -1, "never opened": 1_000_000, "huge": 2**40}[what]
    with pytest.raises(WinsockError) as caught:
        start_ioctl(sock, code, b"", 4)
    assert caught.value.symbol == "WSAENOTSOCK"


@linux
@pytest.mark.parametrize("code", [ControlCode.FIONREAD, ControlCode.SIO_ADDRESS_LIST_CHANGE])
def test_c2_a_descriptor_that_only_ends_like_that_of_a_socket(
    udp: socket.socket, code: int
) -> None:
    with pytest.raises(WinsockError) as caught:
        start_ioctl(2**32 + udp.fileno(), code, b"", 4)
    assert caught.value.symbol == "WSAENOTSOCK"


def test_c4_arguments_of_the_wrong_type(udp: socket.socket) -> None:
    for arguments in ((), (udp,), (None, 1), (udp, "code"), (udp, 1, "text"), (udp, 1, b"", "4")):
        with pytest.raises(TypeError):
            start_ioctl(*arguments)  # type: ignore[arg-type]
    for arguments in ((udp, -1), (udp, 2**32), (udp, 1, b"", -1), (udp, 1, b"", 2**31)):
        with pytest.raises(ValueError, match=r"control code|out_size"):
            start_ioctl(*arguments)


# ---------------------------------------------------------------------------------------------
# C4: what stays pending


def test_c4_pending_until_it_is_cancelled(
    start: Callable[[], Operation], fails_with: FailsWith
) -> None:
    operation = start()
    for timeout in (0, 0.001, 0.05):
        assert operation.wait(timeout) is False
        assert operation.wait(timeout=timeout) is False
        assert operation.done() is False
    with pytest.raises(WinsockError) as caught:
        operation.result()
    assert (caught.value.symbol, caught.value.code) == ("WSA_IO_INCOMPLETE", 996)
    assert "wait()" in caught.value.hint
    operation.cancel()
    assert operation.wait(PATIENCE) is True
    assert operation.done() is True
    for _ in range(2):
        with fails_with("WSA_OPERATION_ABORTED", CHANGE):
            operation.result()
        operation.cancel()  # C6: it stays as it is


@pytest.mark.parametrize("timeout", [-1, float("nan"), "1", b""])
def test_c4_a_time_that_there_is_not(start: Callable[[], Operation], timeout: object) -> None:
    operation = start()
    with pytest.raises((ValueError, TypeError)):
        operation.wait(timeout)  # type: ignore[arg-type]
    assert not operation.done()


@pytest.mark.parametrize(
    ("family", "added", "other"),
    [
        (socket.AF_INET, "192.0.2.7/32", "2001:db8::7/128"),
        pytest.param(
            *(socket.AF_INET6, "2001:db8::7/128", "192.0.2.7/32"),
            marks=pytest.mark.needs("a change of IPv6 addresses that is told", not WINE),
        ),
    ],
)
def test_c4_a_change_of_addresses_of_the_family_ends_it(
    changeable: Port, family: int, added: str, other: str
) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        operation = start_ioctl(sock, ControlCode.SIO_ADDRESS_LIST_CHANGE)
        changeable.host.ip(f"addr add {other} dev {changeable.name}")
        assert not operation.wait(0)
        changeable.host.ip(f"addr add {added} dev {changeable.name}")
        assert operation.wait(PATIENCE)
        assert operation.done()
        assert operation.result() == b""
        # One operation tells once; to lose an address is a change as well.
        following = start_ioctl(sock, ControlCode.SIO_ADDRESS_LIST_CHANGE)
        assert not following.done()
        changeable.host.ip(f"addr del {added} dev {changeable.name}")
        assert outcome(following) == "done"
        assert outcome(operation) == "done"


def test_c4_done_is_seen_without_waiting(changeable: Port, start: Callable[[], Operation]) -> None:
    operation = start()
    change_addresses(changeable)
    # Nobody has waited in between: asking is enough. Linux has it by now, Windows tells it soon.
    assert operation.done() or (sys.platform == "win32" and eventually(operation.done))
    operation.cancel()
    assert operation.result() == b""


@linux
def test_c4_a_change_that_came_before_cancelling_counts(
    changeable: Port, start: Callable[[], Operation]
) -> None:
    operation = start()
    change_addresses(changeable)
    operation.cancel()
    assert outcome(operation) == "done"


def test_c4_no_change_is_missed_between_start_and_query(
    changeable: Port, udp: socket.socket, start: Callable[[], Operation]
) -> None:
    # https://learn.microsoft.com/windows/win32/winsock/sio-address-list-query: start, query, wait
    first = len(address_list(udp))
    for count in range(1, 6):
        operation = start()
        known = address_list(udp)
        change_addresses(changeable)
        assert outcome(operation) == "done"
        if not WINE:  # which lists one address of an adapter
            assert len(address_list(udp)) == len(known) + 1 == first + count


def test_c4_every_thread_that_waits_is_told(start: Callable[[], Operation]) -> None:
    operation = start()
    told: list[bool] = []
    threads = [
        threading.Thread(target=lambda: told.append(operation.wait(PATIENCE))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    operation.cancel()
    for thread in threads:
        thread.join()
    assert told == [True] * 8


def test_c4_many_at_once(changeable: Port, start: Callable[[], Operation]) -> None:
    operations = [start() for _ in range(100)]
    cancelled = operations[::3]
    for operation in cancelled:
        operation.cancel()
    assert [outcome(operation) for operation in cancelled] == ["WSA_OPERATION_ABORTED"] * 34
    assert not any(operation.done() for operation in operations if operation not in cancelled)
    change_addresses(changeable)
    for operation in operations:
        aborted = operation in cancelled
        assert outcome(operation) == ("WSA_OPERATION_ABORTED" if aborted else "done")


@linux
def test_c4_a_signal_gets_through(start: Callable[[], Operation]) -> None:
    class AlarmError(Exception):
        pass

    def ring(number: int, frame: object) -> None:
        raise AlarmError

    operation = start()
    previous = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(AlarmError):
            operation.wait(PATIENCE)
        # A handler that raises nothing lets the wait go on.
        signal.signal(signal.SIGALRM, lambda number, frame: operation.cancel())
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert operation.wait(PATIENCE)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert outcome(operation) == "WSA_OPERATION_ABORTED"


@linux
def test_c4_no_descriptors_for_more(udp: socket.socket) -> None:
    resource = pytest.importorskip("resource", reason="the limits of POSIX are missing")

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = descriptors()
    lowest_free = os.dup(udp.fileno())
    os.close(lowest_free)
    symbols = []
    # From none to more than one operation takes.
    for spare in range(6):
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + spare, limits[1]))
        try:
            start_ioctl(udp, ControlCode.SIO_ADDRESS_LIST_CHANGE)
        except WinsockError as error:
            symbols.append(error.symbol)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert descriptors() == before
    assert symbols
    assert set(symbols) == {"WSAEMFILE"}
    assert len(symbols) < 6


# ---------------------------------------------------------------------------------------------
# C4: announced to a callback


class Announced:
    """A callback that notes what it is called with, and by whom."""

    def __init__(self) -> None:
        self.calls: list[tuple[Operation, str, threading.Thread]] = []
        self._called = threading.Event()

    def __call__(self, operation: Operation) -> None:
        self.calls.append((operation, outcome(operation), threading.current_thread()))
        self._called.set()

    def wait(self) -> tuple[Operation, str]:
        assert self._called.wait(PATIENCE)
        # A second call would come from the same thread.
        self.calls[0][2].join(PATIENCE)
        ((operation, ended, thread),) = self.calls
        assert thread is not threading.current_thread()
        return operation, ended


def test_c4_the_callback_of_what_is_done_at_once(udp: socket.socket) -> None:
    announced = Announced()
    operation = start_ioctl(udp, ControlCode.FIONREAD, b"", 4, announced)
    assert announced.wait() == (operation, "done")
    assert operation.result() == bytes(4)


def test_c4_the_callback_of_a_change(changeable: Port, udp: socket.socket) -> None:
    announced = Announced()
    operation = start_ioctl(udp, ControlCode.SIO_ADDRESS_LIST_CHANGE, callback=announced)
    assert not operation.wait(0.05)
    assert announced.calls == []
    change_addresses(changeable)
    assert announced.wait() == (operation, "done")
    change_addresses(changeable)
    assert len(announced.calls) == 1


def test_c4_the_callback_of_what_is_cancelled(udp: socket.socket) -> None:
    announced = Announced()
    operation = start_ioctl(udp, ControlCode.SIO_ADDRESS_LIST_CHANGE, callback=announced)
    operation.cancel()
    operation.cancel()
    assert announced.wait() == (operation, "WSA_OPERATION_ABORTED")


def test_c4_the_callback_comes_although_nobody_keeps_the_operation(
    changeable: Port, udp: socket.socket
) -> None:
    announced = Announced()
    start_ioctl(udp, ControlCode.SIO_ADDRESS_LIST_CHANGE, callback=announced)
    gc.collect()
    change_addresses(changeable)
    assert announced.wait()[1] == "done"


def test_c4_many_callbacks(udp: socket.socket) -> None:
    pairs = []
    for _ in range(50):
        announced = Announced()
        code = ControlCode.SIO_ADDRESS_LIST_CHANGE
        pairs.append((start_ioctl(udp, code, callback=announced), announced))
    for operation, _ in reversed(pairs):
        operation.cancel()
    for operation, announced in pairs:
        assert announced.wait() == (operation, "WSA_OPERATION_ABORTED")


# ---------------------------------------------------------------------------------------------
# C4: awaited


@each_loop
def test_c4_await_what_is_done_at_once(
    udp: socket.socket, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def main() -> bytes:
        return await start_ioctl(udp, ControlCode.FIONREAD, b"", 4)

    assert run(main(), loop_factory) == bytes(4)


@each_loop
def test_c4_await_a_change(
    changeable: Port,
    start: Callable[[], Operation],
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def main() -> list[bytes]:
        operation = start()
        # Any number of coroutines may await it, and the loop goes on meanwhile.
        tasks = [asyncio.ensure_future(awaited(operation)) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in tasks)
        change_addresses(changeable)
        return await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)

    async def awaited(operation: Operation) -> bytes:
        return await operation

    assert run(main(), loop_factory) == [b""] * 3


@each_loop
def test_c4_await_what_is_cancelled_elsewhere(
    start: Callable[[], Operation],
    fails_with: FailsWith,
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def main() -> None:
        operation = start()
        asyncio.get_running_loop().call_later(0.02, operation.cancel)
        with fails_with("WSA_OPERATION_ABORTED", CHANGE):
            await operation
        with fails_with("WSA_OPERATION_ABORTED", CHANGE):
            await operation

    run(main(), loop_factory)


@each_loop
@pytest.mark.parametrize("how", ["cancel", "wait_for", "at once"])
def test_c6_a_cancelled_task_cancels_the_operation(
    start: Callable[[], Operation],
    how: str,
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def awaited(operation: Operation) -> bytes:
        return await operation

    async def main() -> Operation:
        operation = start()
        if how == "wait_for":
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(operation, 0.02)
        else:
            task = asyncio.ensure_future(awaited(operation))
            await asyncio.sleep(0.02 if how == "cancel" else 0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert operation.done()
        return operation

    operation = run(main(), loop_factory)
    assert isinstance(operation, Operation)
    assert outcome(operation) == "WSA_OPERATION_ABORTED"


@each_loop
def test_c4_many_awaited_at_once_end_in_any_order(
    start: Callable[[], Operation], loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def awaited(operation: Operation) -> str:
        with suppress(WinsockError):
            await operation
        return outcome(operation)

    async def main() -> None:
        operations = [start() for _ in range(40)]
        tasks = [asyncio.ensure_future(awaited(operation)) for operation in operations]
        await asyncio.sleep(0.02)
        try:
            # The last one first: those before it are pending all the while, and so is nothing else
            # that the loop does in threads.
            for position in (39, 20, 0):
                operations[position].cancel()
                ended = await asyncio.wait_for(asyncio.shield(tasks[position]), PATIENCE / 4)
                assert ended == "WSA_OPERATION_ABORTED"
            tasks[30].cancel()
            await asyncio.wait([tasks[30]], timeout=PATIENCE / 4)
            assert tasks[30].cancelled()
            await asyncio.wait_for(
                asyncio.get_running_loop().getaddrinfo("127.0.0.1", 0), PATIENCE / 4
            )
        finally:
            for operation in operations:
                operation.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    run(main(), loop_factory)


# ---------------------------------------------------------------------------------------------
# C6: the end of a pending operation, and of what belongs to it


@pytest.mark.parametrize("waiting", [False, True])
def test_c6_closing_the_socket_ends_it(waiting: bool) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    operation = start_ioctl(sock, ControlCode.SIO_ADDRESS_LIST_CHANGE)
    ended: list[str] = []
    thread = threading.Thread(target=lambda: operation.wait(PATIENCE) and ended.append("done"))
    if waiting:
        thread.start()
        assert not operation.wait(0.05)
    sock.close()
    if not waiting:
        thread.start()
    thread.join()
    assert ended == ["done"]
    assert outcome(operation) == "WSA_OPERATION_ABORTED"


def test_c6_the_end_of_the_thread_that_started_it(udp: socket.socket) -> None:
    operations: list[Operation] = []
    code = ControlCode.SIO_ADDRESS_LIST_CHANGE
    thread = threading.Thread(target=lambda: operations.append(start_ioctl(udp, code)))
    thread.start()
    thread.join()
    assert outcome(operations[0]) == "WSA_OPERATION_ABORTED"


def test_c6_dropped_while_pending(start: Callable[[], Operation]) -> None:
    operation = start()
    reference = weakref.ref(operation)
    assert reference() is operation
    del operation
    assert reference() is None


@linux
def test_c6_what_it_held_is_given_back(udp: socket.socket, start: Callable[[], Operation]) -> None:
    before = descriptors()
    for _ in range(3):
        pending, cancelled = start(), start()
        cancelled.cancel()
        at_once = start_ioctl(udp, ControlCode.FIONREAD, b"", 4)
        assert descriptors() != before
        del pending, cancelled, at_once
        assert descriptors() == before
    for code in (0, ControlCode.SIO_RCVALL, ControlCode.SIO_UDP_CONNRESET):
        with pytest.raises(WinsockError):
            start_ioctl(udp, code, bytes(4))
    with socket.socket(socket.AF_UNIX) as local, pytest.raises(WinsockError):
        start_ioctl(local, ControlCode.SIO_ADDRESS_LIST_CHANGE)
    assert descriptors() == before


@linux
def test_c6_garbage_in_a_cycle(start: Callable[[], Operation]) -> None:
    gc.collect()
    before = descriptors()
    operation = start()
    operation.myself = [operation]  # type: ignore[attr-defined]
    reference = weakref.ref(operation)
    del operation
    assert reference() is not None
    gc.collect()
    assert reference() is None
    assert descriptors() == before


STEPS = ("close the socket", "drop the socket", "cancel", "drop the operation", "collect")


@pytest.mark.parametrize("order", list(itertools.permutations(STEPS)))
@pytest.mark.parametrize("cycle", [False, True])
def test_c6_the_end_in_every_order(order: tuple[str, ...], cycle: bool) -> None:
    owned: dict[str, object] = {}
    owned["socket"] = sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    owned["operation"] = operation = start_ioctl(sock, ControlCode.SIO_ADDRESS_LIST_CHANGE)
    if cycle:
        operation.owners = owned  # type: ignore[attr-defined]
    references = [weakref.ref(sock), weakref.ref(operation)]
    del sock, operation
    for step in order:
        if step == "close the socket" and "socket" in owned:
            owned["socket"].close()
        elif step == "drop the socket":
            held = owned.pop("socket")
            held.close()  # a socket that is dropped open is a ResourceWarning
            del held
        elif step == "cancel" and "operation" in owned:
            owned["operation"].cancel()
            assert outcome(owned["operation"]) == "WSA_OPERATION_ABORTED"
        elif step == "drop the operation":
            del owned["operation"]
        elif step == "collect":
            gc.collect()
    gc.collect()
    assert [reference() for reference in references] == [None, None]


@linux
def test_c6_waiting_threads_outlive_everybody_else(start: Callable[[], Operation]) -> None:
    before = descriptors()
    told: list[bool] = []
    operation = start()
    threads = [
        threading.Thread(target=lambda op=operation: told.append(op.wait(PATIENCE)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    threading.Timer(0.05, operation.cancel).start()
    del operation
    gc.collect()
    while threads:
        threads.pop().join()
    assert told == [True] * 4
    gc.collect()
    # The timer's thread may still be on its way out.
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join()
    del thread
    gc.collect()
    assert descriptors() == before


@linux
def test_c6_the_program_ends_while_it_is_pending() -> None:
    script = """
import socket, sys
from winsockctl import ControlCode, start_ioctl
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
kept = start_ioctl(sock, ControlCode.SIO_ADDRESS_LIST_CHANGE)
told = start_ioctl(sock, ControlCode.SIO_ADDRESS_LIST_CHANGE, callback=print)
print("ended")
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")
