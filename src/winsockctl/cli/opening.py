"""The capture that a command was asked for, opened."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from winsockctl import Capture, RcvAll, interfaces
from winsockctl.cli.errors import naming

if TYPE_CHECKING:
    import argparse


def open_capture(arguments: argparse.Namespace, *, snaplen: int | None, latency: float) -> Capture:
    """Open the interface with the filter, family, mode and buffer of the arguments."""
    family = {(True, False): socket.AF_INET, (False, True): socket.AF_INET6}
    with naming(arguments.interface):
        return Capture(
            _interface(arguments.interface),
            family=family.get((arguments.ipv4, arguments.ipv6)),
            filter=" ".join(arguments.filter) or None,
            mode=RcvAll.ON if arguments.promiscuous else RcvAll.IPLEVEL,
            snaplen=snaplen,
            buffer_size=arguments.buffer_size * 2**20,
            latency=latency,
        )


def interface_name(text: str) -> str:
    """Return the name of the interface that a name, an index or an address stands for."""
    known = interfaces()
    if text not in {entry.name for entry in known}:
        for entry in known:
            if text == str(entry.index) or text in entry.addresses:
                return entry.name
    return text


def _interface(text: str) -> str | int:
    """Return an index for a number, unless an interface has that number as its name."""
    if text.isascii() and text.isdecimal() and text not in {entry.name for entry in interfaces()}:
        return int(text)
    return text
