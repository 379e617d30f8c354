"""Sniff with scapy through winsockctl: ``pip install 'winsockctl[scapy]'``.

>>> import winsockctl.scapy
>>> from scapy.all import sniff
>>> with winsockctl.scapy.use():
...     packets = sniff(iface="eth0", filter="udp and port 53", count=10)

No driver is needed on Windows, and on Linux no libpcap or tcpdump for the filter. What is sniffed
begins at ``IP`` or ``IPv6``: there is no link layer, so neither ARP nor Ethernet addresses.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, cast

try:
    from scapy.config import conf
except ModuleNotFoundError as error:
    raise ImportError("it needs scapy: pip install 'winsockctl[scapy]'") from error
from scapy.automaton import select_objects
from scapy.data import ETH_P_ALL, ETH_P_IP, ETH_P_IPV6
from scapy.error import Scapy_Exception
from scapy.interfaces import resolve_iface
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.supersocket import SuperSocket
from scapy.utils import EDecimal

from winsockctl import Capture, Datagram, Direction, Filter, RcvAll, WinsockError

if TYPE_CHECKING:
    from scapy.interfaces import NetworkInterface
    from scapy.packet import Packet

__all__ = ["CaptureSocket", "use"]

_LARGEST = 40 + 65535  # bytes: an IPv6 header and what can be behind it
_FAMILIES = {ETH_P_ALL: None, ETH_P_IP: socket.AF_INET, ETH_P_IPV6: socket.AF_INET6}
# As scapy reads them from pcapng: epb_flags,
# https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html#section-4.3.1
_DIRECTIONS = {Direction.INCOMING: 1, Direction.OTHER: 1, Direction.OUTGOING: 2}


class CaptureSocket(SuperSocket):
    """A listening socket for scapy that reads from a ``Capture``.

    Packets are ``IP`` or ``IPv6`` by the version in their header. ``time`` has the nanoseconds of
    the capture, ``wirelen`` the length before ``snaplen`` cut the datagram, ``direction`` is 1 for
    what came in, 2 for what went out and ``None`` where the system does not tell.

    Args:
        iface: an interface of scapy, or what ``Capture`` takes: a name or a local address;
            ``None`` for ``conf.iface``.
        type: ``ETH_P_ALL`` for both families, ``ETH_P_IP`` or ``ETH_P_IPV6`` for one.
        promisc: whether to put the adapter into promiscuous mode; ``None`` for
            ``conf.sniff_promisc``.
        filter: a ``Filter`` or an expression of the pcap-filter language; ``conf.except_filter``
            is left out besides.
        nofilter: leaves ``filter`` and ``conf.except_filter`` aside.
        monitor: monitor mode of wireless adapters, which cannot be had: it must not be true.
        snaplen, buffer_size, latency: as of ``Capture``.

    Raises:
        Scapy_Exception: for another ``type``, or for monitor mode.
        TypeError, ValueError, WinsockError: as ``Capture`` does.

    The interface is that of https://scapy.readthedocs.io/en/stable/api/scapy.supersocket.html
    """

    desc = "read IPv4 and IPv6 datagrams with winsockctl"
    # select() returns within conf.recv_poll_rate: that is how often sniff() looks whether to stop.
    nonblocking_socket = True
    outs = None
    closed = True  # until there is something to close

    def __init__(
        self,
        iface: NetworkInterface | str | None = None,
        type: int = ETH_P_ALL,
        promisc: bool | None = None,
        filter: Filter | str | None = None,
        nofilter: bool | int = False,
        monitor: bool | None = None,
        *,
        snaplen: int | None = None,
        buffer_size: int = 64 * 2**20,
        latency: float = 0.01,
    ) -> None:
        if type not in _FAMILIES:
            raise Scapy_Exception(
                f"winsockctl captures IPv4 and IPv6 only, not Ethernet type {type:#06x}"
            )
        if monitor:
            raise Scapy_Exception(
                "there is no monitor mode: winsockctl captures above the link layer"
            )
        self.iface = iface or conf.iface
        self.type = type
        self.promisc = bool(conf.sniff_promisc if promisc is None else promisc)
        self.capture = Capture(
            _name_of(self.iface),
            family=_FAMILIES[type],
            mode=RcvAll.ON if self.promisc else RcvAll.IPLEVEL,
            filter=None if nofilter else _without_excepted(filter),
            snaplen=snaplen,
            buffer_size=buffer_size,
            latency=latency,
        )
        self.closed = False
        self._waiting: Iterator[Datagram] = iter(())
        self._next: Datagram | None = None
        self._error: WinsockError | None = None

    def send(self, x: Packet) -> NoReturn:
        """Refuse: it only listens."""
        raise Scapy_Exception("winsockctl only listens: send with conf.L3socket")

    def recv(self, x: int = _LARGEST, **kwargs: Any) -> Packet | None:
        """Wait for the next packet.

        Raises:
            EOFError: if the socket is closed.
            WinsockError: WSAENETDOWN if the interface went away (contract R14).
        """
        packet = super().recv(x, **kwargs)
        if packet is not None:
            packet.wirelen, packet.direction = self._facts
        return packet

    def recv_raw(self, x: int = _LARGEST) -> tuple[type[Packet], bytes, Any]:
        """Wait for the next datagram: its class, its first ``x`` bytes, its time in seconds."""
        while not self._ready(None):
            pass
        if self._error is not None:
            raise self._error
        if self._next is None:
            raise EOFError("the socket is closed")
        datagram, self._next = self._next, None
        self._facts = datagram.original_length, _DIRECTIONS.get(datagram.direction)
        data = bytes(datagram.data[:x])
        kind = IP if datagram.family == socket.AF_INET else IPv6
        return kind, data, EDecimal(datagram.timestamp_ns) / 10**9

    def fileno(self) -> int:
        """Return the descriptor of the capture; wait with ``select`` instead of on it."""
        return self.capture.fileno()

    def close(self) -> None:
        """End the capture; any thread may do so, at any time."""
        if not self.closed:
            self.closed = True
            self.capture.close()

    @staticmethod
    def select(
        sockets: list[SuperSocket], remain: float | None = conf.recv_poll_rate
    ) -> list[SuperSocket]:
        """Return the sockets that have a packet, or have ended.

        Args:
            sockets: those of this class, and others, which have to be selectable.
            remain: seconds to wait, ``conf.recv_poll_rate`` at most.
        """
        ours = [each for each in sockets if isinstance(each, CaptureSocket)]
        others = [each for each in sockets if not isinstance(each, CaptureSocket)]
        ready = select_objects(others, 0) if others else []
        ready += [each for each in ours if each._ready(0)]
        if ready:
            return ready
        wait = conf.recv_poll_rate if remain is None else min(remain, conf.recv_poll_rate)
        # They take turns to be waited for: Windows has nothing to wait for all of them at once.
        return [each for each in ours if each._ready(wait / len(ours))]

    def _ready(self, timeout: float | None) -> bool:
        """Whether ``recv`` need not wait, after ``timeout`` seconds at most."""
        if self._next is None and self._error is None and not self.closed:
            self._next = next(self._waiting, None)
            if self._next is None:
                try:
                    self._waiting = self.capture.read(timeout).datagrams()
                except WinsockError as error:
                    self._error = None if self.closed else error
                self._next = next(self._waiting, None)
        return self._next is not None or self._error is not None or self.closed


def use(**options: Any) -> ExitStack:
    """Let ``sniff`` and ``AsyncSniffer`` of scapy capture through winsockctl from now on.

    It puts ``CaptureSocket`` into ``conf.L2listen``; sending, and ``sr`` and its like, stay with
    scapy's own sockets.

    Args:
        **options: ``snaplen``, ``buffer_size`` and ``latency`` of every socket, as of ``Capture``.

    Returns:
        The way back, which puts the former class into ``conf.L2listen`` again: a context manager,
        or call its ``close()``.
    """
    way_back = ExitStack()
    way_back.callback(setattr, conf, "L2listen", conf.L2listen)
    conf.L2listen = cast("type[SuperSocket]", partial(CaptureSocket, **options))
    return way_back


def _name_of(iface: NetworkInterface | str) -> str:
    try:
        return str(resolve_iface(iface).name)
    except ValueError:
        return str(iface)


def _without_excepted(wanted: Filter | str | None) -> Filter | str | None:
    excepted = conf.except_filter
    if not excepted:
        return wanted
    expression = wanted.expression if isinstance(wanted, Filter) else wanted or ""
    if expression is None:
        raise ValueError(
            "conf.except_filter cannot be joined to a filter made of instructions: "
            "give an expression, or nofilter=True"
        )
    return f"({expression}) and not ({excepted})" if expression else f"not ({excepted})"
