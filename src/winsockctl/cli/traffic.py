"""The demo's own traffic: a little UDP, TCP and ICMP over loopback."""

from __future__ import annotations

import contextlib
import re
import secrets
import socket
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import dpkt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from winsockctl.cli.summary import Summary

FAMILY_NAMES = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}
_LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
_ROUNDS = 4
_PAUSE = 0.04  # seconds, so that the datagrams can be seen to come one by one
_PATIENCE = 2.0  # seconds for anything that is sent over loopback to arrive
_MARK = re.compile(rb"winsockctl-demo-[0-9a-f]{16}")


class Traffic(threading.Thread):
    """Sends marked messages and remembers what it sent.

    ``sent`` counts the messages by mark, ``error`` tells what went wrong and ``omitted`` what could
    not be tried; all are settled when the thread has ended.

    Args:
        families: ``socket.AF_INET``, ``socket.AF_INET6`` or both.
    """

    def __init__(self, families: Sequence[int]) -> None:
        super().__init__(daemon=True)
        self._families = families
        self._endpoints: set[tuple[int, int]] = set()
        self._descriptions: dict[bytes, str] = {}
        self.sent: Counter[bytes] = Counter()
        self.error = ""
        self.omitted: list[str] = []

    def run(self) -> None:
        """Send everything, one after the other."""
        for family in self._families:
            for name, talk in (("UDP", self._udp), ("TCP", self._tcp), ("ICMP", self._icmp)):
                over = f"{name} over {FAMILY_NAMES[socket.AddressFamily(family)]}"
                try:
                    talk(family, over)
                except OSError as error:
                    self.error = f"{over} does not get through on loopback: {error}"
                    return

    def owns(self, summary: Summary) -> bool:
        """Tell whether a datagram belongs to this traffic, not to some other program's."""
        if summary.protocol is None:
            return False
        keys = (summary.identifier,) if summary.ports is None else summary.ports
        return any((summary.protocol, key) in self._endpoints for key in keys)

    def describe(self, mark: bytes) -> str:
        """Return what a message is, in words."""
        return self._descriptions[mark]

    def _message(self, description: str) -> bytes:
        message = b"winsockctl-demo-" + secrets.token_hex(8).encode()
        self._descriptions[message] = description
        return message

    def _udp(self, family: int, over: str) -> None:
        address = (_LOOPBACK[socket.AddressFamily(family)], 0)
        with (
            socket.socket(family, socket.SOCK_DGRAM) as server,
            socket.socket(family, socket.SOCK_DGRAM) as client,
        ):
            for end in (server, client):
                end.settimeout(_PATIENCE)
                end.bind(address)
                self._endpoints.add((dpkt.ip.IP_PROTO_UDP, end.getsockname()[1]))
            client.connect(server.getsockname())
            server.connect(client.getsockname())
            self._converse(client, server, over)

    def _tcp(self, family: int, over: str) -> None:
        address = (_LOOPBACK[socket.AddressFamily(family)], 0)
        with socket.create_server(address, family=family) as listener:
            listener.settimeout(_PATIENCE)
            self._endpoints.add((dpkt.ip.IP_PROTO_TCP, listener.getsockname()[1]))
            with socket.create_connection(listener.getsockname()[:2], _PATIENCE) as client:
                server, _ = listener.accept()
                with server:
                    server.settimeout(_PATIENCE)
                    self._converse(client, server, over)

    def _converse(self, client: socket.socket, server: socket.socket, over: str) -> None:
        for _ in range(_ROUNDS):
            for sender, receiver, kind in (
                (client, server, "request"),
                (server, client, "reply"),
            ):
                message = self._message(f"{over} {kind}")
                sender.send(message)
                self.sent[message] += 1
                receiver.recv(len(message))
            time.sleep(_PAUSE)

    def _icmp(self, family: int, over: str) -> None:
        identifier = secrets.randbelow(2**16)
        if family == socket.AF_INET:
            protocol, request, reply = dpkt.ip.IP_PROTO_ICMP, dpkt.icmp.ICMP_ECHO, 0
            kind = dpkt.icmp.ICMP
        else:
            protocol, request, reply = dpkt.ip.IP_PROTO_ICMP6, 128, 129
            kind = dpkt.icmp6.ICMP6
        self._endpoints.add((protocol, identifier))
        try:
            raw = socket.socket(family, socket.SOCK_RAW, protocol)
        except OSError as error:
            self.omitted.append(f"{over} ({error.strerror})")
            return
        with raw:
            raw.connect((_LOOPBACK[socket.AddressFamily(family)], 0))
            for sequence in range(1, _ROUNDS + 1):
                message = self._message(f"{over} echo")
                echo = kind.Echo(id=identifier, seq=sequence, data=message)
                raw.send(_with_checksum(family, kind(type=request, data=echo)))
                self.sent[message] += 1
                self._await_echo(raw, family, reply, message)
                self.sent[message] += 1
                time.sleep(_PAUSE)

    def _await_echo(self, raw: socket.socket, family: int, reply: int, message: bytes) -> None:
        deadline = time.monotonic() + _PATIENCE
        while (left := deadline - time.monotonic()) > 0:
            raw.settimeout(left)
            with contextlib.suppress(TimeoutError):
                data = raw.recv(2048)
                # A raw socket gets the IPv4 header too, but not the IPv6 header.
                start = (data[0] & 0x0F) * 4 if family == socket.AF_INET else 0
                if data[start] == reply and message in data:
                    return
        raise TimeoutError("no echo reply")


def _with_checksum(family: int, message: dpkt.Packet) -> bytes:
    """Return the bytes of an ICMP or ICMPv6 message; Linux would do the sum of ICMPv6, Windows not.

    Microsoft's page on raw sockets does not tell; its own ping for IPv6 does the sum itself.
    """
    if family == socket.AF_INET:
        return bytes(message)
    # The sum covers a pseudo header, which dpkt makes of the header around the message.
    address = socket.inet_pton(family, _LOOPBACK[socket.AF_INET6])
    header = dpkt.ip6.IP6(
        src=address, dst=address, nxt=dpkt.ip.IP_PROTO_ICMP6, plen=len(message), data=message
    )
    return bytes(header)[len(header) - len(message) :]


def marks_in(data: bytes) -> list[bytes]:
    """Return the marks of the messages that a datagram carries."""
    return _MARK.findall(data)
