"""``winsockctl doctor``: what works on this machine, and why not."""

from __future__ import annotations

import platform
import secrets
import socket
import struct
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import dpkt

import winsockctl
from winsockctl import Capture, ControlCode, RawSocket, RcvAll, WinsockError
from winsockctl.cli import namespace
from winsockctl.cli.demo import has_ipv6, loopback
from winsockctl.cli.errors import CommandError, explain
from winsockctl.cli.output import say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

_OK, _NO, _UNSUPPORTED = "ok", "no", "unsupported"
_WSAEOPNOTSUPP = 10045
_PATIENCE = 2.0  # seconds for a datagram over loopback

# What a control code wants: the kind of socket, the input bytes, the room for output bytes.
# A code that is not here is tried on a UDP socket without either.
_TRIALS: dict[ControlCode, tuple[str, bytes, int]] = {
    ControlCode.FIONREAD: ("udp", b"", 4),
    ControlCode.SIO_RCVALL: ("raw", struct.pack("=I", RcvAll.IPLEVEL), 0),
    ControlCode.SIO_KEEPALIVE_VALS: ("tcp", struct.pack("=3I", 1, 7_200_000, 1_000), 0),
    ControlCode.SIO_LOOPBACK_FAST_PATH: ("tcp", struct.pack("=I", 1), 0),
}


def run(arguments: argparse.Namespace) -> int:
    """Try everything and print a line for each."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    versions = f"winsockctl {winsockctl.__version__}, dpkt {dpkt.__version__}"
    _tell("platform", _OK, f"{system}, {python}, {versions}")
    checks = _Checks()
    checks.make("privilege", _privilege)
    for backend in winsockctl.backends():
        if backend != "replay":
            checks.make(f"backend {backend}", partial(_backend, backend))
    checks.make("promiscuous mode", _promiscuous)
    checks.make("IPv6", _ipv6)
    works = checks.make("live capture", _live_capture)
    checks.make("demo without privilege", _private_namespace)
    with ExitStack() as stack:
        sockets: dict[str, socket.socket | RawSocket] = {}
        for name, kind in (("udp", socket.SOCK_DGRAM), ("tcp", socket.SOCK_STREAM)):
            sockets[name] = stack.enter_context(socket.socket(socket.AF_INET, kind))
        for code in ControlCode:
            checks.make(code.name, partial(_control_code, code, sockets))
    if not works:
        raise CommandError("capturing does not work here; the first 'no' above says what to do")
    return 0


class _Checks:
    """Makes checks, prints a line for each, and gives every remedy once."""

    def __init__(self) -> None:
        self._failures: dict[str, str] = {}

    def make(self, name: str, trial: Callable[[], tuple[str, str]]) -> bool:
        try:
            state, detail = trial()
        except (OSError, CommandError) as error:
            state, detail = _NO, explain(error)
        first = self._failures.setdefault(detail, name) if state == _NO else name
        _tell(name, state, detail if first == name else f"for the same reason as {first}")
        return state == _OK


def _tell(name: str, state: str, detail: str) -> None:
    say(f"{name:<36}{state:<13}{detail}".rstrip())


def _privilege() -> tuple[str, str]:
    RawSocket(socket.AF_UNSPEC).close()
    return _OK, "a raw socket can be opened"


def _backend(backend: str) -> tuple[str, str]:
    with RawSocket(socket.AF_UNSPEC, backend=backend) as raw:
        raw.bind(loopback())
        winsockctl.set_rcvall(raw, RcvAll.IPLEVEL)
        return _OK, f"opened on {loopback()} with {raw.buffer_size / 2**20:g} MiB of buffer"


def _promiscuous() -> tuple[str, str]:
    with RawSocket(socket.AF_UNSPEC) as raw:
        raw.bind(loopback())
        for mode in (RcvAll.ON, RcvAll.OFF):
            winsockctl.set_rcvall(raw, mode)
    return _OK, f"switched on and off on {loopback()}"


def _ipv6() -> tuple[str, str]:
    if has_ipv6():
        return _OK, "::1 is there"
    return _NO, "no ::1 on loopback; IPv6 is disabled (Linux: net.ipv6.conf.lo.disable_ipv6)"


def _live_capture() -> tuple[str, str]:
    mark = secrets.token_bytes(16)
    with (
        Capture(loopback()) as capture,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end,
    ):
        end.bind(("127.0.0.1", 0))
        end.sendto(mark, end.getsockname())
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            if any(bytes(view[-len(mark) :]) == mark for view in capture.read(0.1)):
                return _OK, f"a UDP datagram sent over {loopback()} was captured"
    return _NO, f"a UDP datagram sent over {loopback()} was not captured; is a firewall in the way?"


def _private_namespace() -> tuple[str, str]:
    if obstacle := namespace.obstacle():
        return _NO, f"{obstacle}; {'; or '.join(namespace.namespace_remedies())}"
    return _OK, "a private user and network namespace can be made"


def _control_code(
    code: ControlCode, sockets: dict[str, socket.socket | RawSocket]
) -> tuple[str, str]:
    kind, in_buffer, out_size = _TRIALS.get(code, ("udp", b"", 0))
    try:
        if kind == "raw":
            with RawSocket(socket.AF_UNSPEC) as raw:
                raw.bind(loopback())
                winsockctl.ioctl(raw, code, in_buffer, out_size)
        else:
            winsockctl.ioctl(sockets[kind], code, in_buffer, out_size)
    except WinsockError as error:
        if error.code != _WSAEOPNOTSUPP:
            raise
        return _UNSUPPORTED, f"not carried by {platform.system()} ({error.symbol})"
    return _OK, ""
