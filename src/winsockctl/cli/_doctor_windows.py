"""What ``winsockctl doctor`` looks at on Windows only."""

from __future__ import annotations

import ctypes
import secrets
import socket
import struct
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from winsockctl import (
    Capture,
    ControlCode,
    Interface,
    RawSocket,
    RcvAll,
    WinsockError,
    interfaces,
    ioctl,
    set_rcvall_igmpmcast,
    set_rcvall_mcast,
)
from winsockctl.cli import firewall, firewall_registry
from winsockctl.cli.checks import NO, OK, Check, Outcome
from winsockctl.cli.control_trials import Trial, connection, issue, start, tcp, udp
from winsockctl.cli.errors import CommandError
from winsockctl.cli.summary import summarize

assert sys.platform == "win32"

_WSAEWOULDBLOCK = 10035
_LONGEST_PATH = 32768  # characters
_LISTENING = 3.0  # seconds for something to come in


def program() -> str:
    """Return the executable of this process: not the one that a virtual environment starts it by.

    https://learn.microsoft.com/windows/win32/api/libloaderapi/nf-libloaderapi-getmodulefilenamew
    """
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    path = ctypes.create_unicode_buffer(_LONGEST_PATH)
    if not kernel.GetModuleFileNameW(None, path, len(path)):
        raise ctypes.WinError(ctypes.get_last_error())
    return path.value


def _administrator() -> Outcome:
    # https://learn.microsoft.com/windows/win32/api/shlobj_core/nf-shlobj_core-isuseranadmin
    if ctypes.WinDLL("shell32").IsUserAnAdmin():
        return OK, "this process has them"
    return NO, "open the console with 'Run as administrator'"


def _raw_socket(family: int, address: str) -> Outcome:
    with RawSocket(family) as raw:
        raw.bind(address)
        return OK, f"opened and bound to {address}, {raw.buffer_size / 2**20:g} MiB of buffer"


def _rule() -> Outcome:
    return firewall.judge(firewall_registry.read(), program())


def _incoming() -> Outcome:
    watched = [item for item in interfaces() if item.up and item.addresses and not item.loopback]
    if not watched:
        raise CommandError("no interface but the loopback is up: nothing can come in")
    local = {address for item in interfaces() for address in item.addresses}
    ends: list[tuple[str, str]] = []
    with ExitStack() as stack:
        captures = [stack.enter_context(Capture(item.name)) for item in watched]
        marks = [_send_to_itself(item) for item in watched]
        deadline = time.monotonic() + _LISTENING
        while time.monotonic() < deadline and not any(source not in local for source, _ in ends):
            for capture in captures:
                for datagram in capture.read(0.1).datagrams():
                    seen = next((mark for mark in marks if mark in bytes(datagram.data)), None)
                    if seen is not None:
                        marks.remove(seen)
                    summary = summarize(datagram)
                    ends.append((summary.source, summary.destination))
    outcome = firewall.judge_traffic(ends, local, _LISTENING)
    if outcome[0] != OK and len(marks) == len(watched):
        return NO, "not even datagrams that this machine sends to itself were seen"
    return outcome


def _send_to_itself(interface: Interface) -> bytes:
    mark = secrets.token_bytes(16)
    address = interface.addresses[0]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    scope = (0, interface.index) if address.startswith("fe80:") else ()
    with socket.socket(family, socket.SOCK_DGRAM) as end:
        end.bind((address, 0, *scope))
        end.sendto(mark, end.getsockname())
    return mark


FIRST_CHECKS: Sequence[tuple[str, Check]] = [
    ("administrator rights", _administrator),
    ("raw socket IPv4", partial(_raw_socket, socket.AF_INET, "127.0.0.1")),
    ("raw socket IPv6", partial(_raw_socket, socket.AF_INET6, "::1")),
]
LAST_CHECKS: Sequence[tuple[str, Check]] = [
    ("firewall", _rule),
    ("incoming datagrams", _incoming),
]


@contextmanager
def _multicast(protocol: int) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


def _reserve_port(sock: socket.socket) -> bytes:
    """Reserve a port for as long as the socket is open; return the token.

    https://learn.microsoft.com/windows/win32/winsock/sio-acquire-port-reservation
    """
    port_range = struct.pack("=2H", 0, 1)
    return ioctl(sock, ControlCode.SIO_ACQUIRE_PORT_RESERVATION, port_range, 16)[8:]


def _use_reservation(sock: socket.socket) -> None:
    with udp() as other:
        ioctl(other, ControlCode.SIO_ASSOCIATE_PORT_RESERVATION, _reserve_port(sock))


def _release_reservation(sock: socket.socket) -> None:
    ioctl(sock, ControlCode.SIO_RELEASE_PORT_RESERVATION, _reserve_port(sock))


def _ask_for_stamp(sock: socket.socket) -> None:
    # No datagram was sent that could have one.
    try:
        ioctl(sock, ControlCode.SIO_GET_TX_TIMESTAMP, struct.pack("=I", 0), 8)
    except WinsockError as error:
        if error.code != _WSAEWOULDBLOCK:
            raise


_WSARECVMSG = uuid.UUID("f689d7c8-6f1f-436b-8a53-e54fe351c322").bytes_le

# Inputs as docs/control-codes.md names them, such that they set what is the default anyway.
_INPUTS: Sequence[tuple[ControlCode, Callable[[], Any], bytes, int]] = [
    (ControlCode.SIO_UDP_CONNRESET, udp, struct.pack("=I", 1), 0),
    (ControlCode.SIO_UDP_NETRESET, udp, struct.pack("=I", 1), 0),
    # TCP_INITIAL_RTO_UNSPECIFIED_RTT and TCP_INITIAL_RTO_DEFAULT_MAX_SYN_RETRANSMISSIONS
    (ControlCode.SIO_TCP_INITIAL_RTO, tcp, struct.pack("=HBx", 0xFFFF, 0), 0),
    (ControlCode.SIO_CPU_AFFINITY, udp, struct.pack("=H", 0), 0),
    (ControlCode.SIO_SET_PRIORITY_HINT, tcp, struct.pack("=I", 2), 0),
    (ControlCode.SIO_ACQUIRE_PORT_RESERVATION, udp, struct.pack("=2H", 0, 1), 16),
    (ControlCode.SIO_TIMESTAMPING, udp, struct.pack("=IHxx", 0, 0), 0),
    (ControlCode.SIO_GET_EXTENSION_FUNCTION_POINTER, udp, _WSARECVMSG, struct.calcsize("P")),
    (ControlCode.SIO_QUERY_RSS_PROCESSOR_INFO, connection, b"", 16),
    (ControlCode.SIO_IDEAL_SEND_BACKLOG_QUERY, connection, b"", 4),
]

TRIALS: Mapping[ControlCode, Trial] = {
    **{code: (open_, issue(code, given, size)) for code, open_, given, size in _INPUTS},
    ControlCode.SIO_RCVALL_MCAST: (
        partial(_multicast, socket.IPPROTO_UDP),
        lambda sock: set_rcvall_mcast(sock, RcvAll.ON),
    ),
    ControlCode.SIO_RCVALL_IGMPMCAST: (
        partial(_multicast, socket.IPPROTO_IGMP),
        lambda sock: set_rcvall_igmpmcast(sock, RcvAll.ON),
    ),
    ControlCode.SIO_RELEASE_PORT_RESERVATION: (udp, _release_reservation),
    ControlCode.SIO_ASSOCIATE_PORT_RESERVATION: (udp, _use_reservation),
    ControlCode.SIO_GET_TX_TIMESTAMP: (udp, _ask_for_stamp),
    ControlCode.SIO_IDEAL_SEND_BACKLOG_CHANGE: (
        connection,
        start(ControlCode.SIO_IDEAL_SEND_BACKLOG_CHANGE),
    ),
}
NOT_TRIED: Mapping[ControlCode, str] = {
    ControlCode.SIO_RCVALL_IF: "undocumented",
    ControlCode.SIO_SET_COMPATIBILITY_MODE: "takes a version of Windows to imitate",
}
