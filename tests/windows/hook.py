"""The Python side of hook.c: what a module asks of Winsock, and what it gets, under control."""

import ctypes
import os
import socket
from ctypes import wintypes
from dataclasses import dataclass
from enum import IntFlag
from functools import cache
from types import ModuleType, TracebackType
from typing import Any, Self

CALL_LIMIT = 1 << 14  # calls that are remembered
INPUT_LIMIT = 60  # bytes of a call's input that are remembered

OPEN = {"WSASocketW", "WSACreateEvent", "CreateEventW"}
CLOSE = {"closesocket", "WSACloseEvent", "CloseHandle"}


class Note(IntFlag):
    """What else there is to say about a call."""

    ENDED = 1
    FAULT = 2
    STOOD_IN = 4
    OVERLAPPED = 8
    COMPLETION_ROUTINE = 16


class _Call(ctypes.Structure):
    _fields_ = (
        ("number", ctypes.c_uint64),
        ("socket", ctypes.c_uint64),
        ("result", ctypes.c_int64),
        ("function", ctypes.c_uint32),
        ("notes", ctypes.c_uint32),
        ("error", ctypes.c_int32),
        ("thread", ctypes.c_uint32),
        ("arguments", ctypes.c_uint32 * 4),
        ("input_size", ctypes.c_uint32),
        ("input", ctypes.c_uint8 * INPUT_LIMIT),
    )


@dataclass(frozen=True)
class Call:
    """A call as the module made it; ``result`` and ``error`` count once it has ended.

    ``arguments`` are up to four numbers: family, type, protocol and flags of WSASocketW; level and
    name of setsockopt; code and output size of WSAIoctl; size and flags of recv.
    """

    function: str
    socket: int
    arguments: tuple[int, int, int, int]
    input: bytes  # at most INPUT_LIMIT of input_size bytes
    input_size: int
    result: int
    error: int
    notes: Note
    thread: int


@cache
def _library() -> Any:
    library = ctypes.CDLL(os.environ["WINSOCKCTL_HOOK"])
    for name, result, *arguments in (
        ("name", ctypes.c_char_p, ctypes.c_uint32),
        ("address", ctypes.c_void_p, ctypes.c_uint32),
        ("patch", ctypes.c_uint64, ctypes.c_void_p, ctypes.c_int),
        ("forget", None),
        ("count", ctypes.c_uint32, ctypes.c_uint32),
        ("count_mode", ctypes.c_uint32, ctypes.c_int, ctypes.c_uint32),
        ("calls", ctypes.c_uint64, ctypes.POINTER(_Call), ctypes.c_uint64),
        ("fail", ctypes.c_int, *[ctypes.c_uint32] * 4, ctypes.c_int32),
        ("pend", None, ctypes.c_uint32),
        ("hold", None, ctypes.c_uint32, ctypes.c_uint32),
        ("complete", ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32, ctypes.c_uint32),
        ("held", ctypes.c_uint32),
        ("lost", ctypes.c_uint32),
        ("answer", ctypes.c_int, ctypes.c_uint32, ctypes.c_char_p, ctypes.c_uint32),
        ("heap_size", ctypes.c_uint64, ctypes.c_void_p),
        ("set_raw_protocol", None, ctypes.c_int),
        ("reset", None),
    ):
        function = getattr(library, f"hook_{name}")
        function.restype = result
        function.argtypes = arguments
    return library


def heap_size(heap: int) -> int:
    """How many bytes a heap of this process has handed out."""
    return int(_library().hook_heap_size(heap))


@cache
def _functions() -> dict[str, int]:
    names: dict[str, int] = {}
    while name := _library().hook_name(len(names)):
        names[name.decode()] = len(names)
    return names


def _loaded(module: ModuleType) -> int:
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.GetModuleHandleW.restype = ctypes.c_void_p
    kernel.GetModuleHandleW.argtypes = [wintypes.LPCWSTR]
    handle = kernel.GetModuleHandleW(module.__file__)
    if not handle:
        raise ctypes.WinError(ctypes.get_last_error())
    return int(handle)


class Hook:
    """``with Hook(_winsockctl) as hook:`` the module's calls are recorded and can be made to fail.

    There is one hook in a process, so there can be one of these at a time.
    """

    def __init__(self, *modules: ModuleType) -> None:
        self._handles = [_loaded(module) for module in modules]
        self.patched: frozenset[str] = frozenset()  # what the modules import, of what is recorded

    def __enter__(self) -> Self:
        _library().hook_reset()
        _library().hook_forget()
        mask = 0
        for handle in self._handles:
            mask |= _library().hook_patch(handle, True)
        self.patched = frozenset(
            name for name, position in _functions().items() if mask >> position & 1
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            _library().hook_patch(handle, False)
        _library().hook_reset()

    @property
    def calls(self) -> list[Call]:
        """The last calls by order of beginning; those without Note.ENDED go on."""
        copies = (_Call * CALL_LIMIT)()
        names = list(_functions())
        return [
            Call(
                function=names[copy.function],
                socket=copy.socket,
                arguments=tuple(copy.arguments),
                input=bytes(copy.input[: min(copy.input_size, INPUT_LIMIT)]),
                input_size=copy.input_size,
                result=copy.result,
                error=copy.error,
                notes=Note(copy.notes),
                thread=copy.thread,
            )
            for copy in copies[: _library().hook_calls(copies, CALL_LIMIT)]
        ]

    @property
    def names(self) -> list[str]:
        """The names of the functions called so far."""
        return [call.function for call in self.calls]

    @property
    def open_handles(self) -> dict[int, str]:
        """The handles that the calls so far left open, and what opened each."""
        handles: dict[int, str] = {}
        for call in self.calls:
            if call.function in OPEN and call.error == 0:
                handles[call.result] = call.function
            elif call.function in CLOSE and call.error == 0:
                handles.pop(call.socket, None)
        return handles

    @property
    def promiscuous(self) -> int:
        """How many raw sockets of IPv4 are under SIO_RCVALL with RCVALL_ON."""
        return int(_library().hook_count_mode(socket.AF_INET, socket.RCVALL_ON))

    def count(self, function: str) -> int:
        """How often a function was called."""
        return int(_library().hook_count(_functions()[function]))

    def forget(self) -> None:
        """Forget the calls so far."""
        _library().hook_forget()

    def fail(
        self, function: str, error: int, *, code: int = 0, nth: int = 1, times: int = 1
    ) -> None:
        """From now on let the nth call of a function fail, and as many after it as told.

        It fails with a Winsock error number (or the system's, for what is not Winsock) without
        being carried out; WSAGetOverlappedResult alone is carried out all the same, because what it
        waits for must be over. With ``code`` only calls of WSAIoctl with that code count.
        """
        if not _library().hook_fail(_functions()[function], code, nth - 1, times, error):
            raise OverflowError("too many faults")

    def pend(self, code: int) -> None:
        """Let a control code stay pending.

        Overlapped until it is cancelled, its socket is closed, its thread ends or an address of the
        machine changes; otherwise until release().
        """
        _library().hook_pend(code)

    def release(self) -> None:
        """Let no control code stay pending, and calls that wait go on."""
        _library().hook_pend(0)

    def hold(self, code: int, *, delay: float = 0) -> None:
        """Let overlapped calls of a control code stay pending until complete() ends them.

        One that is cancelled, or whose socket is closed by a patched module, ends ``delay`` seconds
        later. Until an operation ends the system may write into its output: it does so here.
        """
        _library().hook_hold(code, round(delay * 1000))

    def complete(self, output: bytes = b"", status: int = 0) -> bool:
        """End the first of them with a status of Windows (NTSTATUS); whether it was still there."""
        return bool(_library().hook_complete(output, len(output), status))

    @property
    def held(self) -> int:
        """How many of them are pending."""
        return int(_library().hook_held())

    @property
    def lost(self) -> int:
        """How many of them ended after the module had given their memory away."""
        return int(_library().hook_lost())

    def answer(self, code: int, output: bytes) -> None:
        """Give the output of one control code where it is not overlapped."""
        if not _library().hook_answer(code, output, len(output)):
            raise OverflowError("too long an answer")

    def set_raw_protocol(self, protocol: int) -> None:
        """Set what raw sockets of IPPROTO_IP and IPPROTO_IPV6 receive; IPPROTO_UDP at first."""
        _library().hook_set_raw_protocol(protocol)

    def function(self, prototype: Any, name: str) -> Any:
        """What a patched module calls: for tests of the hook itself."""
        return prototype(_library().hook_address(_functions()[name]))
