"""What Wine lacks of Windows, by name: a test of it is skipped there.

``WINSOCKCTL_REQUIRE_RCVALL=1`` says that the tests run on a real Windows, as administrator, where
nothing of this may be missing: the same tests fail then. It is not for what other systems or other
programs have: a test of those is skipped with ``pytest.skip`` and ``pytest.mark.skipif``.
"""

import ctypes
import os
import sys
from collections.abc import Callable
from typing import NoReturn, TypeVar

import pytest

from winsockctl import WinsockError

T = TypeVar("T")

WINE = sys.platform == "win32" and hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")
REQUIRED = os.environ.get("WINSOCKCTL_REQUIRE_RCVALL") == "1"


def missing(what: str) -> NoReturn:
    """Skip the test because ``what`` is missing, or fail it where that must not be.

    Where it is known before the test begins, ``@pytest.mark.needs(what, present)`` does the same.
    """
    __tracebackhide__ = True
    if REQUIRED:
        pytest.fail(f"{what} is missing, and WINSOCKCTL_REQUIRE_RCVALL is set")
    pytest.skip(f"{what} is missing")


def carried(call: Callable[[], T]) -> T:
    """What ``call`` gives; its control code is missing if a Windows answers WSAEOPNOTSUPP."""
    try:
        return call()
    except WinsockError as error:
        if sys.platform == "linux" or error.symbol != "WSAEOPNOTSUPP":
            raise
        missing(error.call)
