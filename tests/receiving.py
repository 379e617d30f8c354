"""What tests of a receiving socket share: its mode, what it delivers, threads that wait in it."""

import _thread
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from struct import pack

from network import PATIENCE, udp_payload

from winsockctl import ControlCode, Datagram, Direction, RawSocket, RcvAll


def set_mode(raw: RawSocket, mode: RcvAll) -> None:
    raw.ioctl(ControlCode.SIO_RCVALL, pack("=I", mode))


def remaining(raw: RawSocket) -> list[Datagram]:
    """Everything that is delivered until nothing comes any more."""
    datagrams: list[Datagram] = []
    while batch := raw.receive(0.1):
        datagrams += batch.datagrams()
    return datagrams


def directions(datagrams: Iterable[Datagram], wanted: Sequence[bytes]) -> list[Direction]:
    """Which way the UDP datagrams with these payloads went."""
    return [d.direction for d in datagrams if udp_payload(d.data) in wanted]


def drain(raw: RawSocket, timeout: float | None = PATIENCE) -> None:
    """Read until it fails; what comes before is the little that hosts say by themselves."""
    for _ in range(100):
        receive(raw, timeout)


def receive(raw: RawSocket, timeout: float | None) -> None:
    raw.receive(timeout)  # nothing else may stand on the line: wait_in_receive() looks for it


def send_signal(number: int = signal.SIGINT) -> None:
    """Have a signal come to the main thread, also while it waits."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident, number)
    else:
        _thread.interrupt_main(number)  # where Ctrl-C in a console of Windows ends as well


def _is_in_receive(thread: int) -> bool:
    # Whoever runs Python has the interpreter's lock: a thread that is at the call has let go of it.
    frame = sys._current_frames().get(thread)
    return (
        frame is not None
        and frame.f_code is receive.__code__
        and frame.f_lineno == receive.__code__.co_firstlineno + 1
    )


def wait_in_receive(
    executor: ThreadPoolExecutor, count: int, action: Callable[[], object]
) -> list["Future[None]"]:
    """Run an action in threads and come back when each waits in a receive()."""
    threads: SimpleQueue[int] = SimpleQueue()

    def run() -> None:
        threads.put(threading.get_ident())
        action()

    futures = [executor.submit(run) for _ in range(count)]
    for thread in [threads.get(timeout=PATIENCE) for _ in futures]:
        deadline = time.monotonic() + PATIENCE
        while not _is_in_receive(thread):
            assert time.monotonic() < deadline, "the thread does not come to its receive()"
            time.sleep(0.01)
    time.sleep(0.05)  # now for the system: it is not seen from here whether they sleep already
    return futures
