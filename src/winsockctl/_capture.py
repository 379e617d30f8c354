"""Capture: the datagrams that pass a network interface."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING

from winsockctl._constants import RcvAll
from winsockctl._control import set_rcvall
from winsockctl._options import instructions, parse_filter
from winsockctl._reader import Reader
from winsockctl._winsockctl import RawSocket

if TYPE_CHECKING:
    from winsockctl._filter import Filter


class Capture(Reader):
    """Capture the IPv4 and IPv6 datagrams that pass a network interface.

    Opening makes the three calls of the contract, in this order: a raw socket, ``bind``,
    ``WSAIoctl(SIO_RCVALL)``.

    Args:
        interface: a local address, or the name or index of an interface (contract R3).
        family: ``socket.AF_INET`` or ``socket.AF_INET6`` for only that family. By default an
            address means its own family, and a name or an index means both.
        mode: ``RcvAll.IPLEVEL`` for what the adapter receives and sends anyway, ``RcvAll.ON``
            to put it into promiscuous mode, ``RcvAll.OFF`` to begin later (R4, R5, R7).
        filter: which datagrams are wanted: a ``Filter`` or an expression such as
            ``"udp and port 53"``. The others are refused in the kernel (Windows: in C, before
            they are copied). ``None`` wants all of them.
        snaplen: bytes to keep of each datagram, from 1; ``None`` keeps it whole. A longer
            datagram is marked as truncated and its original length is told (R11).
        buffer_size: bytes of buffer between the system and the program, at least 1 MiB;
            ``Reader.buffer_size`` tells what was really got.
        latency: seconds, 0.001 to 60, until datagrams are handed over although the block that
            they are in is not full. Under load they may wait four times as long, 0.05 at most,
            for others to come with them.
        fanout: the number, 0 to 65535, of a group of captures on this interface that share the
            load, one a thread or process: both directions of a flow go to the same member
            (Linux: PACKET_FANOUT_HASH, packet(7)). Members belong to one network namespace,
            and each has its share whether its mode is on or not. ``None`` sees everything.

    Raises:
        TypeError, ValueError: for an argument of the wrong type or out of range.
        FilterSyntaxError: for a filter expression that cannot be compiled.
        WinsockPermissionError: WSAEACCES without the privilege to capture (R12).
        WinsockError: WSAEINVAL or WSAEADDRNOTAVAIL for an interface that cannot be captured,
            WSAENETDOWN for one that is down; WSAEINVAL for a fan-out group that is on another
            interface, WSAEOPNOTSUPP for ``fanout`` on Windows.
    """

    _socket: RawSocket

    def __init__(
        self,
        interface: str | int,
        *,
        family: int | None = None,
        mode: RcvAll = RcvAll.IPLEVEL,
        filter: Filter | str | None = None,
        snaplen: int | None = None,
        buffer_size: int = 64 * 2**20,
        latency: float = 0.01,
        fanout: int | None = None,
    ) -> None:
        if isinstance(interface, bool) or not isinstance(interface, str | int):
            raise TypeError(
                "interface must be an address, an interface name or an index, "
                f"not {type(interface).__name__}"
            )
        mode = RcvAll(mode)
        wanted = parse_filter(filter)
        raw = RawSocket(
            _family_of(interface) if family is None else family,
            filter=instructions(wanted),
            snaplen=snaplen,
            buffer_size=buffer_size,
            latency=latency,
            fanout=fanout,
        )
        super().__init__(raw, filter=wanted)
        self._interface = interface
        try:
            raw.bind(interface)
            set_rcvall(raw, mode)
        except BaseException:
            raw.close()
            raise

    @property
    def interface(self) -> str | int:
        """The interface as it was given."""
        return self._interface

    @property
    def family(self) -> int:
        """``socket.AF_INET``, ``AF_INET6``, or ``AF_UNSPEC`` for both."""
        return self._socket.family

    @property
    def mode(self) -> RcvAll:
        """What SIO_RCVALL is set to; setting it issues the control code again (R7)."""
        return RcvAll(self._socket.mode)

    @mode.setter
    def mode(self, mode: RcvAll) -> None:
        set_rcvall(self._socket, RcvAll(mode))

    def __repr__(self) -> str:
        state = "closed" if self.closed else self.mode.name
        return f"<Capture {self._interface!r} {self.backend} {state}>"


def _family_of(interface: str | int) -> int:
    if isinstance(interface, int):
        return socket.AF_UNSPEC
    try:
        version = ipaddress.ip_address(interface).version
    except ValueError:
        return socket.AF_UNSPEC
    return socket.AF_INET if version == 4 else socket.AF_INET6
