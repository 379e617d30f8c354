"""A program that waits until Ctrl-C is pressed at its console: ``interrupted.py WAIT``.

It presses the keys by itself, and prints what ended the wait.
"""

import ctypes
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext

from hook import Hook

from winsockctl import (
    Capture,
    ControlCode,
    RawSocket,
    RcvAll,
    Replay,
    _winsockctl,
    set_rcvall,
    start_ioctl,
)

CTRL_C_EVENT = 0
ERROR_INVALID_HANDLE = 6
PATIENCE = 20.0  # seconds

Wait = Callable[[], object]


def capture(stack: ExitStack) -> Capture:
    return stack.enter_context(Capture("127.0.0.1", filter="udp port 1"))


def capture_read(stack: ExitStack) -> Wait:
    return capture(stack).read


def capture_iteration(stack: ExitStack) -> Wait:
    return lambda: list(capture(stack))


def raw_socket_receive(stack: ExitStack) -> Wait:
    raw = stack.enter_context(RawSocket(socket.AF_INET))
    raw.bind("127.0.0.1")
    set_rcvall(raw, RcvAll.IPLEVEL)

    def receive_for_ever() -> None:
        while True:
            raw.receive()

    return receive_for_ever


def replay_read(stack: ExitStack) -> Wait:
    return stack.enter_context(Replay([], wait=True)).read


def operation_wait(stack: ExitStack) -> Wait:
    udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    return start_ioctl(udp, ControlCode.SIO_ADDRESS_LIST_CHANGE).wait


WAITS = {
    wait.__name__: wait
    for wait in (capture_read, capture_iteration, raw_socket_receive, replay_read, operation_wait)
}


def main(wait: str) -> None:
    ended = threading.Event()

    def press() -> None:
        time.sleep(0.5)  # until the main thread waits
        kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
        generate = kernel32.GenerateConsoleCtrlEvent
        pressed = generate(CTRL_C_EVENT, 0)
        if not pressed and ctypes.get_last_error() == ERROR_INVALID_HANDLE:
            # A busy Wine may start a program without the console that it was to have.
            pressed = kernel32.AllocConsole() and generate(CTRL_C_EVENT, 0)
        if not pressed:
            print(f"GenerateConsoleCtrlEvent failed with {ctypes.get_last_error()}", flush=True)
            os._exit(1)
        if not ended.wait(PATIENCE):
            print("nothing ended the wait", flush=True)
            os._exit(1)

    hooked = "WINSOCKCTL_HOOK" in os.environ
    with Hook(_winsockctl) if hooked else nullcontext(), ExitStack() as stack:
        waiting = WAITS[wait](stack)
        pressing = threading.Thread(target=press)
        pressing.start()
        try:
            print(waiting())
        except KeyboardInterrupt:
            print("KeyboardInterrupt")
        ended.set()
        pressing.join()


if __name__ == "__main__":
    main(sys.argv[1])
