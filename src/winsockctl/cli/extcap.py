"""``winsockctl extcap``: an interface of Wireshark for each of ours.

https://www.wireshark.org/docs/wsdg_html_chunked/ChCaptureExtcap.html
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import sys
from typing import TYPE_CHECKING

import winsockctl
from winsockctl import Capture, Filter, FilterSyntaxError, RcvAll, Recorder, interfaces
from winsockctl.cli import main as command
from winsockctl.cli.errors import CommandError, UsageError, naming
from winsockctl.cli.extcap_folder import install, uninstall
from winsockctl.cli.output import say
from winsockctl.cli.signals import LOOK_INTERVAL, StopSignals

if TYPE_CHECKING:
    import argparse

    from winsockctl import Interface

_PREFIX = "winsockctl-"
_FAMILIES = {"any": None, "ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
# https://www.tcpdump.org/linktypes.html
_DLT = "dlt {number=12}{name=RAW}{display=Raw IP}"
_CONFIG = """\
arg {number=0}{call=--filter}{display=Filter}{type=string}{group=Capture}\
{tooltip=Which datagrams, in the language of pcap-filter: udp and port 53}
arg {number=1}{call=--family}{display=IP version}{type=selector}{group=Capture}\
{tooltip=An address of that version is needed on the interface}
value {arg=1}{value=any}{display=IPv4 and IPv6}{default=true}
value {arg=1}{value=ipv4}{display=IPv4}{default=false}
value {arg=1}{value=ipv6}{display=IPv6}{default=false}
arg {number=2}{call=--promiscuous}{display=Promiscuous mode}{type=boolflag}{default=false}\
{group=Capture}{tooltip=Ask the adapter for datagrams of other stations too}
arg {number=3}{call=--snaplen}{display=Bytes to keep of each datagram}{type=unsigned}\
{range=0,65575}{default=0}{group=Capture}{tooltip=0 keeps all of them}
arg {number=4}{call=--buffer-size}{display=Buffer (MiB)}{type=unsigned}{range=1,4096}\
{default=64}{group=Capture}{tooltip=Room for datagrams not yet read: more drops less}"""


def main() -> int:
    """Run as the program that Wireshark calls."""
    return command(["extcap", *sys.argv[1:]])


def run(arguments: argparse.Namespace) -> int:
    """Answer what is asked for, or capture."""
    if arguments.install:
        install(arguments.folder, for_all=arguments.all_users)
    elif arguments.uninstall:
        uninstall(arguments.folder, for_all=arguments.all_users)
    elif arguments.extcap_interfaces:
        say(f"extcap {{version={winsockctl.__version__}}}{{display=winsockctl}}")
        for interface in interfaces():
            if interface.up:
                display = _escape(f"{interface.name} with winsockctl")
                say(f"interface {{value={_value(interface)}}}{{display={display}}}")
    elif arguments.extcap_dlts:
        _find(arguments.extcap_interface)
        say(_DLT)
    elif arguments.extcap_config:
        _find(arguments.extcap_interface)
        say(_CONFIG)
    elif arguments.capture:
        _capture(arguments)
    elif arguments.extcap_capture_filter is not None:
        _check(arguments.extcap_capture_filter)
    else:
        raise UsageError(
            "Wireshark calls this command: 'winsockctl extcap --install' makes it known there; "
            "see 'winsockctl extcap -h'"
        )
    return 0


def _capture(arguments: argparse.Namespace) -> None:
    if not arguments.fifo:
        raise UsageError("--capture needs --fifo PATH; see 'winsockctl extcap -h'")
    interface = _find(arguments.extcap_interface)
    expressions = [text for text in (arguments.expression, arguments.extcap_capture_filter) if text]
    wanted = " and ".join(f"({text})" for text in expressions)
    # First the pipe: whoever waits at its other end is told of a failure by its end. That comes
    # with that of the process, when the message is written: nobody would read it later.
    fifo = os.open(arguments.fifo, os.O_WRONLY | getattr(os, "O_BINARY", 0))
    with StopSignals() as signals:
        with naming(interface.name):
            for text in expressions:
                Filter(text)  # each has to be whole by itself
            capture = Capture(
                interface.name,
                family=_FAMILIES[arguments.family],
                filter=wanted or None,
                mode=RcvAll.ON if arguments.promiscuous else RcvAll.IPLEVEL,
                snaplen=arguments.snaplen or None,
                buffer_size=arguments.buffer_size * 2**20,
            )
        # Wireshark ends a capture also by no longer reading it.
        with capture, contextlib.suppress(BrokenPipeError), naming(arguments.fifo):
            recorder = Recorder(
                fifo,
                snaplen=arguments.snaplen or None,
                interface=interface.name,
                filter=wanted,
                flush=True,
            )
            _record(capture, recorder, fifo, signals)
    os.close(fifo)


def _record(capture: Capture, recorder: Recorder, fifo: int, signals: StopSignals) -> None:
    with recorder:
        while not signals.came and not _is_abandoned(fifo):
            recorder.record(capture, seconds=LOOK_INTERVAL)
        capture.mode = RcvAll.OFF
        while recorder.record(capture, seconds=LOOK_INTERVAL):
            pass


def _is_abandoned(fifo: int) -> bool:
    """Whether nobody reads it any more; on Windows Wireshark ends this process instead."""
    if sys.platform == "win32":
        return False
    poll = select.poll()
    poll.register(fifo, 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))


def _check(expression: str) -> None:
    """Say what is wrong with a filter; nothing if it is right."""
    try:
        Filter(expression)
    except FilterSyntaxError as error:
        say(f"column {error.position + 1}: {error.reason}")


def _value(interface: Interface) -> str:
    """The name in Wireshark: it has to be a word that no other extcap has."""
    plain = re.fullmatch(r"[\w.-]+", interface.name, re.ASCII)
    return _PREFIX + (interface.name if plain else str(interface.index))


def _find(value: str | None) -> Interface:
    for interface in interfaces():
        if _value(interface) == value:
            return interface
    raise CommandError(
        f"{value}: no such interface; 'winsockctl extcap --extcap-interfaces' lists them"
        if value
        else "which interface? add --extcap-interface NAME"
    )


def _escape(text: str) -> str:
    return text.replace("{", "(").replace("}", ")")
