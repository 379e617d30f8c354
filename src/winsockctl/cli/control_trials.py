"""One harmless trial for each control code that works in the same way on every system."""

from __future__ import annotations

import platform
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias

import winsockctl
from winsockctl import ControlCode, RawSocket, RcvAll, WinsockError
from winsockctl.cli.checks import OK, UNKNOWN, UNSUPPORTED, Outcome
from winsockctl.cli.demo import loopback
from winsockctl.cli.errors import CommandError

Trial: TypeAlias = tuple[Callable[[], AbstractContextManager[Any]], Callable[[Any], object]]
"""What opens a socket that the code is for, and what issues the code on it."""

_WSAEOPNOTSUPP = 10045
_PATIENCE = 2.0  # seconds for a connection over loopback


def udp() -> socket.socket:
    """Return a UDP socket."""
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def tcp() -> socket.socket:
    """Return a TCP socket that is not connected."""
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM)


@contextmanager
def connection() -> Iterator[socket.socket]:
    """Open a TCP connection over loopback; gives one end of it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        try:
            client = socket.create_connection(server.getsockname(), _PATIENCE)
        except OSError as error:
            raise CommandError(f"no TCP connection over loopback: {error}") from error
        with client:
            yield client


@contextmanager
def _raw() -> Iterator[RawSocket]:
    with RawSocket(socket.AF_UNSPEC) as raw:
        raw.bind(loopback())
        yield raw


def issue(code: ControlCode, in_buffer: bytes = b"", out_size: int = 0) -> Callable[[Any], object]:
    """Return what issues a code on a socket."""
    return lambda sock: winsockctl.ioctl(sock, code, in_buffer, out_size)


def start(code: ControlCode) -> Callable[[Any], object]:
    """Return what starts a code that stays pending, and cancels it."""
    return lambda sock: winsockctl.start_ioctl(sock, code).cancel()


_COMMON: Mapping[ControlCode, Trial] = {
    ControlCode.FIONREAD: (udp, issue(ControlCode.FIONREAD, b"", 4)),
    ControlCode.SIO_RCVALL: (_raw, lambda sock: winsockctl.set_rcvall(sock, RcvAll.IPLEVEL)),
    ControlCode.SIO_KEEPALIVE_VALS: (tcp, lambda sock: winsockctl.set_keepalive(sock, True)),
    ControlCode.SIO_LOOPBACK_FAST_PATH: (tcp, winsockctl.set_loopback_fast_path),
    ControlCode.SIO_TCP_INFO: (connection, winsockctl.tcp_info),
    ControlCode.SIO_ROUTING_INTERFACE_QUERY: (
        udp,
        lambda sock: winsockctl.routing_interface(sock, "127.0.0.1"),
    ),
    ControlCode.SIO_ADDRESS_LIST_QUERY: (udp, winsockctl.address_list),
    ControlCode.SIO_ADDRESS_LIST_CHANGE: (udp, start(ControlCode.SIO_ADDRESS_LIST_CHANGE)),
    ControlCode.SIO_BASE_HANDLE: (udp, winsockctl.base_handle),
    ControlCode.SIO_GET_INTERFACE_LIST: (udp, winsockctl.interface_list),
}


def try_code(
    code: ControlCode, further: Mapping[ControlCode, Trial], not_tried: Mapping[ControlCode, str]
) -> Outcome:
    """Try a control code.

    Args:
        code: one that has no trial here is issued on a UDP socket without input and output.
        further: the trials of this system.
        not_tried: the codes that are left alone on this system, and why.
    """
    if code in not_tried:
        return UNKNOWN, f"not tried: {not_tried[code]}"
    trials = {**_COMMON, **further}
    open_socket, use = trials.get(code, (udp, issue(code)))
    try:
        with open_socket() as sock:
            use(sock)
    except WinsockError as error:
        if error.code != _WSAEOPNOTSUPP:
            raise
        return UNSUPPORTED, f"not carried by {platform.system()} ({error.symbol})"
    return OK, ""
