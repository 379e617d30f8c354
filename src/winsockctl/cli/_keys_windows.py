"""What is typed at the console, key by key: Windows."""

from __future__ import annotations

import msvcrt
import sys
from typing import Self

assert sys.platform == "win32"


class Keys:
    """Takes keys as they are typed while it is entered, without showing them."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def typed(self) -> str:
        """Return what was typed since; does not wait."""
        keys = ""
        while msvcrt.kbhit():
            keys += msvcrt.getwch()
        return keys
