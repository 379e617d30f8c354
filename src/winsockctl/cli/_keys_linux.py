"""What is typed at the terminal, key by key: Linux."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from typing import Any, Self

assert sys.platform != "win32"


class Keys:
    """Takes keys as they are typed while it is entered, without showing them."""

    def __enter__(self) -> Self:
        self._descriptor = sys.stdin.fileno()
        self._before: list[Any] = termios.tcgetattr(self._descriptor)
        tty.setcbreak(self._descriptor, termios.TCSANOW)
        return self

    def __exit__(self, *exception: object) -> None:
        termios.tcsetattr(self._descriptor, termios.TCSANOW, self._before)

    def typed(self) -> str:
        """Return what was typed since; does not wait."""
        if not select.select([self._descriptor], [], [], 0)[0]:
            return ""
        return os.read(self._descriptor, 1024).decode(errors="ignore")
