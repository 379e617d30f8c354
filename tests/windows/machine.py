"""The Windows machine that the tests run on, in the place of the hosts that network.py makes."""

import os
import socket
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self

from hook import Hook
from missing import missing
from network import PATIENCE, Port

from winsockctl import interfaces

OWN_NETWORK = "WINSOCKCTL_OWN_NETWORK"


class LoopbackPort(Port):
    """The loopback: what is sent on it comes back on it."""

    def send_datagrams(self, receiver: Port, datagrams: Iterable[bytes]) -> None:
        """Send UDP datagrams, those of IPv4 byte by byte as they are."""
        raw4 = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        raw6 = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_UDP)
        with raw4, raw6:
            raw4.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
            for datagram in datagrams:
                if datagram[0] >> 4 == 4:
                    raw4.sendto(datagram, (receiver.ipv4, 0))
                else:
                    raw6.sendto(datagram[40:], (receiver.ipv6, 0))


class Machine:
    """``with machine:`` does nothing: there is no other host to be on."""

    def __init__(self) -> None:
        self.hook: Hook | None = None
        self._undo: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def loopback(self) -> Port:
        (found,) = (interface for interface in interfaces() if interface.loopback)
        return LoopbackPort(self, found.name, found.index, bytes(6), "127.0.0.1", "::1")

    @contextmanager
    def changeable(self) -> Iterator[Port]:
        """The adapter that the rig made for the purpose, in a network of its own."""
        name = os.environ.get(OWN_NETWORK)
        if name is None:
            missing(f"an adapter whose addresses the test may change ({OWN_NETWORK})")
        (found,) = (interface for interface in interfaces() if interface.name == name)
        ipv4, ipv6 = (
            next(address for address in found.addresses if mark in address) for mark in (".", ":")
        )
        with ExitStack() as stack:
            stack.callback(self._undo_changes)
            yield Port(self, found.name, found.index, bytes(6), ipv4, ipv6)

    def ip(self, *commands: str) -> None:
        """Run commands of ip(8), as they are known to Linux below Wine."""
        for command in commands:
            self._run_ip(command, check=True)
            if command.startswith("addr add ") and f"addr del {command[9:]}" not in commands:
                self._undo.append(command.replace("addr add", "addr del", 1))

    def _undo_changes(self) -> None:
        while self._undo:
            self._run_ip(self._undo.pop(), check=False)  # the test may have done it itself

    def _run_ip(self, command: str, *, check: bool) -> None:
        # Through `start`, because no program of Linux can be started from here by itself.
        subprocess.run(
            ["start", "/wait", "/unix", "/usr/sbin/ip", *command.split()],
            check=check,
            capture_output=True,
            timeout=PATIENCE,
        )

    def promiscuity(self, name: str) -> int:
        """How many captures of IPv4 ask for promiscuous mode."""
        if self.hook is None:
            missing("a count of those who ask for promiscuous mode")
        return self.hook.promiscuous
