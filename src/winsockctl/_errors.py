"""WinsockError raised from Python, with the fields that the extension gives it (contract C7)."""

from __future__ import annotations

import errno
from enum import IntEnum
from typing import TYPE_CHECKING

from winsockctl._winsockctl import WinsockError, WinsockPermissionError

if TYPE_CHECKING:
    from winsockctl._constants import ControlCode


class ErrorNumber(IntEnum):
    """The Winsock numbers that Python code of the package meets.

    https://learn.microsoft.com/windows/win32/winsock/windows-sockets-error-codes-2
    """

    WSAEACCES = 10013
    WSAEFAULT = 10014
    WSAEINVAL = 10022
    WSAEMFILE = 10024
    WSAENOTSOCK = 10038
    WSAENOPROTOOPT = 10042
    WSAEOPNOTSUPP = 10045
    WSAEAFNOSUPPORT = 10047
    WSAEADDRNOTAVAIL = 10049
    WSAENETDOWN = 10050
    WSAENETUNREACH = 10051
    WSAENOBUFS = 10055
    WSAEHOSTUNREACH = 10065


def control_error(
    code: ControlCode, number: ErrorNumber, hint: str = "", *, system_error: int | None = None
) -> WinsockError:
    """Return the error of a control operation.

    Args:
        code: the control code that failed.
        number: what went wrong.
        hint: one sentence that says what to do.
        system_error: the system's own number; by default the POSIX number of the same name.
    """
    call = f"WSAIoctl({code.name})"
    message = f"{call} failed with {number.name} ({number})"
    if hint:
        message += f": {hint}"
    if system_error is None:
        system_error = getattr(errno, number.name.removeprefix("WSA"))
    kind = WinsockPermissionError if number is ErrorNumber.WSAEACCES else WinsockError
    error = kind(system_error, message)
    error.code = int(number)
    error.symbol = number.name
    error.call = call
    error.hint = hint
    return error
