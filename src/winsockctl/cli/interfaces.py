"""``winsockctl interfaces``: a table of what can be captured."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from winsockctl import interfaces
from winsockctl.cli.output import say

if TYPE_CHECKING:
    import argparse


def run(arguments: argparse.Namespace) -> int:
    """List the interfaces; the last column is there only if something is to be said in it."""
    found = interfaces()
    rows = [("NAME", "INDEX", "STATE", "LOOPBACK", "ADDRESSES", "DESCRIPTION")]
    rows += [
        (
            interface.name,
            str(interface.index),
            "up" if interface.up else "down",
            "yes" if interface.loopback else "no",
            ", ".join(interface.addresses) or "-",
            interface.description,
        )
        for interface in found
    ]
    if not any(interface.description for interface in found):
        rows = [(*row[:-1], "") for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        say("  ".join(cells).rstrip())
    if sys.stdout is not None and sys.stdout.isatty():
        up = [interface for interface in found if interface.up]
        # The loopback is the last resort: what a newcomer wants to see is on the others.
        up.sort(key=lambda interface: (interface.loopback, interface.index))
        if up:
            name = f'"{up[0].name}"' if " " in up[0].name else up[0].name
            say(f"\nNext: winsockctl capture {name}")
        else:
            say(
                "\nNone is up: switch one on (Linux: sudo ip link set NAME up; "
                "Windows: netsh interface set interface NAME enabled)."
            )
    return 0
