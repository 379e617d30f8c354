"""``winsockctl doctor``: what works on this machine, and why not."""

from __future__ import annotations

import platform
import secrets
import socket
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

import dpkt

import winsockctl
from winsockctl import Capture, ControlCode, RawSocket, RcvAll
from winsockctl.cli.checks import NO, OK, Checks, Outcome, tell
from winsockctl.cli.control_trials import try_code
from winsockctl.cli.demo import has_ipv6, loopback
from winsockctl.cli.errors import CommandError

if sys.platform == "win32":
    from winsockctl.cli import _doctor_windows as _system
else:
    from winsockctl.cli import _doctor_linux as _system

if TYPE_CHECKING:
    import argparse

_PATIENCE = 2.0  # seconds for a datagram over loopback


def run(arguments: argparse.Namespace) -> int:
    """Try everything and print a line for each."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    versions = f"winsockctl {winsockctl.__version__}, dpkt {dpkt.__version__}"
    tell("platform", OK, f"{system}, {python}, {versions}")
    checks = Checks()
    for name, check in _system.FIRST_CHECKS:
        checks.make(name, check)
    for backend in winsockctl.backends():
        if backend != "replay":
            checks.make(f"backend {backend}", partial(_backend, backend))
    checks.make("promiscuous mode", _promiscuous)
    checks.make("IPv6", _ipv6)
    works = checks.make("live capture", _live_capture)
    for name, check in _system.LAST_CHECKS:
        checks.make(name, check)
    for code in ControlCode:
        checks.make(code.name, partial(try_code, code, _system.TRIALS, _system.NOT_TRIED))
    if not works:
        raise CommandError("capturing does not work here; the first 'no' above says what to do")
    return 0


def _backend(backend: str) -> Outcome:
    with RawSocket(socket.AF_UNSPEC, backend=backend) as raw:
        raw.bind(loopback())
        winsockctl.set_rcvall(raw, RcvAll.IPLEVEL)
        return OK, f"opened on {loopback()} with {raw.buffer_size / 2**20:g} MiB of buffer"


def _promiscuous() -> Outcome:
    with RawSocket(socket.AF_UNSPEC) as raw:
        raw.bind(loopback())
        for mode in (RcvAll.ON, RcvAll.OFF):
            winsockctl.set_rcvall(raw, mode)
    return OK, f"switched on and off on {loopback()}"


def _ipv6() -> Outcome:
    if has_ipv6():
        return OK, "::1 is there"
    return NO, "no ::1 on loopback; IPv6 is disabled (Linux: net.ipv6.conf.lo.disable_ipv6)"


def _live_capture() -> Outcome:
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
                return OK, f"a UDP datagram sent over {loopback()} was captured"
    return NO, f"a UDP datagram sent over {loopback()} was not captured; is a firewall in the way?"
