"""The table of ``winsockctl top`` on a terminal, redrawn in place by rich."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from winsockctl.cli.conversations import HISTORY
from winsockctl.cli.figures import rest, short, sparkline

if sys.platform == "win32":
    from winsockctl.cli._keys_windows import Keys
else:
    from winsockctl.cli._keys_linux import Keys

if TYPE_CHECKING:
    from rich.console import RenderableType

    from winsockctl.cli.conversations import Conversations

# What is beside the conversations: title, headings, the line below.
_OTHER_LINES = 3
# Columns of a conversation, of the numbers, and of the gaps; the history takes what is left.
_FIXED = 40 + 9 + 9 + 7 + 4
_LEAST_HISTORY = 8  # columns


class Screen:
    """Takes the terminal while it is entered; what was shown last stays when it is left."""

    def __init__(self, rows: int | None) -> None:
        self._rows = rows
        self._keys: Keys | None = None
        self._way_back = ExitStack()
        self._console = Console(highlight=False)
        self._last: RenderableType | None = None
        self._live = Live(
            Text("waiting for the first interval to end; q quits"),
            console=self._console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        if sys.stdin is not None and sys.stdin.isatty():
            self._keys = self._way_back.enter_context(Keys())
        self._way_back.callback(self._live.stop)
        self._live.start(refresh=True)
        return self

    def __exit__(self, *exception: object) -> None:
        self._way_back.close()
        if self._last is not None:
            self._console.print(self._last)

    def show(self, title: str, conversations: Conversations) -> None:
        """Draw the table."""
        width, height = self._console.size
        rows = self._rows or max(height - _OTHER_LINES, 1)
        history = min(max(width - _FIXED, _LEAST_HISTORY), HISTORY)
        table = Table(box=None, padding=(0, 1, 0, 0), expand=True, header_style="reverse")
        table.add_column("conversation", ratio=1, overflow="fold")
        table.add_column("history", width=history, no_wrap=True)
        for heading, columns in (("rate", 9), ("datagrams", 9), ("bytes", 7)):
            table.add_column(heading, min_width=columns, justify="right", no_wrap=True)
        for each in conversations.busiest()[:rows]:
            table.add_row(
                each.name,
                sparkline(tuple(each.rates), history, ascii=self._console.options.ascii_only),
                f"{short(each.rate)}B/s",
                str(each.total.datagrams),
                f"{short(each.total.bytes)}B",
            )
        title_line = Text(f"{title}  q quits", no_wrap=True, overflow="ellipsis")
        self._last = Group(title_line, table, Text(rest(conversations, rows)))
        self._live.update(self._last, refresh=True)

    def asked_to_end(self) -> bool:
        """Whether q was typed."""
        return self._keys is not None and "q" in self._keys.typed().lower()
