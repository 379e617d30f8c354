"""What Wine 8 does not do as Windows does, and Python under it would fail over."""

import _winapi
import sys
from typing import Any

if sys.version_info >= (3, 12):
    sys.modules["_wmi"] = None  # type: ignore[assignment]  # propsys.VariantToString is missing
    del _winapi.CopyFile2  # kernel32.CopyFile2 is missing

ERROR_INTERNAL_ERROR = 1359
TRIES = 3

_create_process = _winapi.CreateProcess


def _create_process_again(*arguments: Any) -> Any:
    """Start a process, though one in some thousands dies under Wine before it has begun."""
    for rest in reversed(range(TRIES)):
        try:
            return _create_process(*arguments)
        except OSError as error:
            if error.winerror != ERROR_INTERNAL_ERROR or rest == 0:
                raise
    raise AssertionError


_winapi.CreateProcess = _create_process_again
