"""The arguments of the command and its help texts."""

from __future__ import annotations

import argparse
import sys
import threading
from typing import TYPE_CHECKING, NoReturn

import winsockctl
from winsockctl.cli.errors import OUTPUT, UsageError, writing

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import SupportsWrite


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see '{self.prog} -h'")

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        # argparse's own says nothing when the help text cannot be written.
        with writing(OUTPUT):
            (file or sys.stderr).write(message)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; it raises ``UsageError`` for what it does not understand."""
    parser = _Parser(
        prog="winsockctl",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Capture the IPv4 and IPv6 datagrams that pass a network interface,\n"
        "without a driver, and read savefiles.",
        epilog="""\
examples:
  winsockctl demo                           see it work, nothing to prepare
  winsockctl interfaces                     what can be captured
  winsockctl capture eth0                   one line a datagram until Ctrl-C
  winsockctl capture eth0 -w out.pcapng     record to a file for tshark or Wireshark
  winsockctl top eth0                       who talks to whom, live
  winsockctl extcap --install               let Wireshark capture through it
  winsockctl read out.pcapng udp port 53    what a savefile has, filtered
  winsockctl info out.pcapng                how much of what a savefile has
  winsockctl doctor                         what works on this machine, and why not

'winsockctl COMMAND -h' explains a command and its options.
exit status: 0 done, 1 failed, 2 wrong usage""",
    )
    parser.add_argument(
        "--version", action="version", version=f"winsockctl {winsockctl.__version__}"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, summary: str, description: str, epilog: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=summary,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            description=description,
            epilog=epilog,
        )

    command(
        "interfaces",
        "list what can be captured",
        "List the network interfaces: name, index, state, loopback, addresses.",
        """\
The name, the index and every address of an interface that is up can be given to
'winsockctl capture'. Listing needs no privilege.

example:
  winsockctl interfaces""",
    )
    _add_capture(
        command(
            "capture",
            "show or record the datagrams that pass an interface",
            """\
Show the IPv4 and IPv6 datagrams that pass an interface, one line each, until Ctrl-C.

A line has the local time, source > destination with ports, the protocol with the
flags or the type that matter, and the length of the whole IP datagram in bytes.
A closing line on standard error counts what was received, dropped and truncated.""",
            """\
examples:
  winsockctl capture eth0                       everything that eth0 receives and sends
  winsockctl capture 192.0.2.10 -c 20           20 IPv4 datagrams of the interface with it
  winsockctl capture 2 -6 -s 10                 IPv6 on interface number 2, for 10 seconds
  winsockctl capture eth0 udp port 53           only DNS over UDP
  winsockctl capture eth0 -x --snaplen 64       the first 64 bytes of each, as a hex dump
  winsockctl capture eth0 -w out.pcapng         to a file, for tshark or Wireshark
  winsockctl capture eth0 -U -w - | tshark -r - to another program, at once
  winsockctl capture eth0 -w out.pcapng --rotate-size 100M --files 10
                                                the newest 10 files of 100 MiB, named as
                                                out_00001_20261121120000.pcapng
  winsockctl capture eth0 --process firefox     what the processes of that name say and hear

--process goes by the sockets that the process has when its datagrams come: TCP and UDP
between their addresses and ports, and anything to a port that it is bound to. Not found
are datagrams without ports (ICMP, fragments behind the first), those of its children,
and those of a socket that is open for less than some hundredths of a second. To look at
another user's process takes root.

Needs the privilege to capture (Linux: root or CAP_NET_RAW); 'winsockctl doctor'
tells whether you have it. 'winsockctl interfaces' lists the interfaces.""",
        )
    )
    _add_top(
        command(
            "top",
            "watch who talks to whom, and how much",
            """\
Watch the conversations that pass an interface: the busiest first, with the rate of the
last interval, its history, and how much it was altogether. q or Ctrl-C ends.

On a terminal the table is redrawn in place (needs rich: pip install 'winsockctl[cli]'),
elsewhere it is printed anew each time. Bytes are those of whole IP datagrams. The latest
rate is at the right of a history; each is drawn to the scale of its own greatest.""",
            """\
examples:
  winsockctl top eth0                           who talks to whom
  winsockctl top eth0 --ports tcp               connections of TCP
  winsockctl top eth0 -i 10 -s 60 > table.txt   six tables, ten seconds apart

Needs the privilege to capture, as 'winsockctl capture' does.""",
        )
    )
    _add_read(
        command(
            "read",
            "show, convert or cut the datagrams of a savefile",
            """\
Show the IPv4 and IPv6 datagrams of a pcap or pcapng file, one line each as 'winsockctl
capture' does, or write those that are wanted to another file.

The link layer is cut off: Ethernet with VLAN tags, RAW, IPV4, IPV6, NULL, LOOP, PPP,
LINUX_SLL and LINUX_SLL2 are read. The file may be compressed with gzip or zstd. Of a
damaged file everything before the damage is shown or written, then the command fails.
A closing line on standard error counts what was read, passed over and truncated.""",
            """\
examples:
  winsockctl read trace.pcapng                  every datagram
  winsockctl read trace.pcap.gz udp port 53     only DNS over UDP
  winsockctl read trace.pcapng -c 3 -x          the first three, with a hex dump
  winsockctl read trace.pcapng tcp -w tcp.pcap  only TCP, to another file
  dumpcap -w - | winsockctl read -              what another program captures

Needs no privilege.""",
        )
    )
    info = command(
        "info",
        "tell what a savefile has in it",
        """\
Tell of a pcap or pcapng file: format, link types, interfaces, how many packets and
bytes, when, of which protocols, and between whom most of them went.""",
        """\
examples:
  winsockctl info trace.pcapng
  winsockctl info - < trace.pcap.gz""",
    )
    _add_file(info)
    demo = command(
        "demo",
        "see it work: make traffic on loopback and capture it",
        """\
Make a little traffic on loopback (UDP, TCP and ICMP over IPv4 and IPv6), capture it
live, show it, and check that everything that was sent was captured. Takes a second
or two and needs no preparation.

Without the privilege to capture it does the same in a private user and network
namespace (Linux), which is gone when it ends; on Windows it says what to do.""",
        """\
example:
  winsockctl demo

exit status: 0 everything was captured, 1 something was not or capturing is impossible""",
    )
    demo.add_argument("--in-namespace", action="store_true", help=argparse.SUPPRESS)
    _add_extcap(
        command(
            "extcap",
            "capture with Wireshark and tshark through winsockctl",
            """\
Give Wireshark and tshark an interface winsockctl-NAME for each of this machine, which
captures with winsockctl: on Windows without a driver.

Wireshark calls this command by itself once it is installed in its extcap folder, and
shows filter, IP version, promiscuous mode, snaplen and buffer as options there.""",
            """\
examples:
  winsockctl extcap --install             into the folder where Wireshark looks
  tshark -D                               lists winsockctl-eth0
  tshark -i winsockctl-eth0 -f "udp"      captures through winsockctl
  winsockctl extcap --uninstall

https://www.wireshark.org/docs/wsdg_html_chunked/ChCaptureExtcap.html""",
        )
    )
    command(
        "doctor",
        "tell what works on this machine, and why not",
        """\
Try everything that capturing needs and say of each: ok, no (with the remedy),
unsupported, or unknown. Nothing that it tries lasts.

On Windows it also tells whether the firewall hides incoming datagrams: it reads the
rules and looks, for a few seconds, at what passes the interfaces that are up.""",
        """\
example:
  winsockctl doctor

exit status: 0 capturing works, 1 it does not""",
    )
    return parser


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "interface",
        metavar="INTERFACE",
        help="its name, its index, or one of its addresses (then only that address's family)",
    )
    _add_filter(parser)
    family = parser.add_mutually_exclusive_group()
    family.add_argument("-4", dest="ipv4", action="store_true", help="only IPv4")
    family.add_argument("-6", dest="ipv6", action="store_true", help="only IPv6")
    parser.add_argument(
        "-s",
        "--seconds",
        metavar="S",
        type=_number(float, 0.001, threading.TIMEOUT_MAX),
        help="end after S seconds",
    )
    parser.add_argument(
        "--promiscuous",
        action="store_true",
        help="ask the adapter for datagrams of other stations too (default: what it receives "
        "and sends anyway)",
    )
    parser.add_argument(
        "--buffer-size",
        metavar="MIB",
        type=_number(int, 1),
        default=64,
        help="room for datagrams not yet read, in MiB (default: %(default)s); more drops less",
    )


def _add_capture(parser: argparse.ArgumentParser) -> None:
    _add_source(parser)
    parser.add_argument(
        "-c",
        "--count",
        metavar="N",
        type=_number(int, 1),
        help="end after exactly N datagrams",
    )
    parser.add_argument(
        "--process",
        metavar="NAME|PID",
        help="only what the sockets of a process, or of all of a name, send and receive "
        "(needs psutil: pip install 'winsockctl[cli]')",
    )
    _add_snaplen(parser)
    _add_output(parser)
    parser.add_argument(
        "--latency",
        metavar="S",
        type=_number(float, 0.001, 60),
        default=0.01,
        help="seconds until datagrams are handed over although their block is not full, "
        "0.001 to 60 (default: %(default)s); more costs less",
    )


def _add_top(parser: argparse.ArgumentParser) -> None:
    _add_source(parser)
    parser.add_argument(
        "-p",
        "--ports",
        action="store_true",
        help="conversations between ports, by protocol (default: between addresses)",
    )
    parser.add_argument(
        "-i",
        "--interval",
        metavar="S",
        type=_number(float, 0.1, 3600),
        default=1.0,
        help="seconds between two tables (default: %(default)s)",
    )
    parser.add_argument(
        "-n",
        "--rows",
        metavar="N",
        type=_number(int, 1),
        help="conversations to show (default: as many as the terminal has room for, else 10)",
    )


def _add_extcap(parser: argparse.ArgumentParser) -> None:
    places = parser.add_argument_group("for you")
    action = places.add_mutually_exclusive_group()
    action.add_argument("--install", action="store_true", help="make it known to Wireshark")
    action.add_argument("--uninstall", action="store_true", help="undo that")
    place = places.add_mutually_exclusive_group()
    place.add_argument(
        "--all-users",
        action="store_true",
        help="in the folder for all users (default: in yours, if Wireshark has one)",
    )
    place.add_argument("--folder", metavar="DIR", help="in another extcap folder")
    calls = parser.add_argument_group("for Wireshark")
    calls.add_argument("--extcap-interfaces", action="store_true", help="list the interfaces")
    calls.add_argument("--extcap-version", metavar="V", help="the version of Wireshark")
    calls.add_argument("--extcap-interface", metavar="NAME", help="one of them")
    calls.add_argument("--extcap-dlts", action="store_true", help="tell its link type")
    calls.add_argument("--extcap-config", action="store_true", help="tell its options")
    calls.add_argument(
        "--extcap-capture-filter",
        metavar="FILTER",
        help="which datagrams; without --capture: say what is wrong with the filter, if anything",
    )
    calls.add_argument("--capture", action="store_true", help="capture until SIGTERM")
    calls.add_argument("--fifo", metavar="PATH", help="the pipe for the datagrams (pcapng)")
    calls.add_argument("--filter", metavar="FILTER", dest="expression", help="which, besides")
    calls.add_argument("--family", choices=("any", "ipv4", "ipv6"), default="any")
    calls.add_argument("--promiscuous", action="store_true")
    calls.add_argument("--snaplen", metavar="BYTES", type=_number(int, 0), default=0)
    calls.add_argument("--buffer-size", metavar="MIB", type=_number(int, 1), default=64)


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the savefile; - is standard input")


def _add_read(parser: argparse.ArgumentParser) -> None:
    _add_file(parser)
    _add_filter(parser)
    parser.add_argument(
        "-c",
        "--count",
        metavar="N",
        type=_number(int, 1),
        help="end after N datagrams",
    )
    _add_snaplen(parser)
    _add_output(parser)


def _add_filter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "filter",
        metavar="FILTER",
        nargs="*",
        help="which datagrams, in the language of pcap-filter(7): udp and port 53",
    )


def _add_snaplen(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--snaplen",
        metavar="BYTES",
        type=_number(int, 1),
        help="keep the first BYTES of each datagram (default: all)",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    output = parser.add_mutually_exclusive_group()
    output.add_argument(
        "-x", "--hex", action="store_true", help="after each line the bytes, as a hex dump"
    )
    output.add_argument(
        "-w",
        "--write",
        metavar="FILE",
        help="write a savefile instead of lines; - is standard output",
    )
    _add_savefile(parser)


def _add_savefile(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("savefiles (with -w)")
    group.add_argument(
        "--format",
        choices=("pcapng", "pcap"),
        help="default: pcap if the name ends in .pcap, else pcapng",
    )
    group.add_argument(
        "-U",
        "--flush",
        action="store_true",
        help="write each batch at once, for a program that reads along",
    )
    group.add_argument(
        "--bytes", metavar="N", type=_size, help="end before more than N bytes are written"
    )
    group.add_argument(
        "--rotate-size", metavar="N", type=_size, help="go on in a new file after N bytes"
    )
    group.add_argument(
        "--rotate-seconds",
        metavar="S",
        type=_number(float, 0.001),
        help="go on in a new file after S seconds, with the next datagram",
    )
    group.add_argument(
        "--rotate-count",
        metavar="N",
        type=_number(int, 1),
        help="go on in a new file after N datagrams",
    )
    group.add_argument(
        "--files",
        metavar="N",
        type=_number(int, 1),
        help="keep the newest N files and remove the oldest (default: keep all)",
    )
    group.add_argument("--comment", metavar="TEXT", help="a comment in the file (pcapng)")


_UNITS = {"k": 10, "M": 20, "G": 30}  # powers of two


def _size(text: str) -> int:
    digits, shift = (text[:-1], _UNITS[text[-1]]) if text[-1:] in _UNITS else (text, 0)
    if not (digits.isascii() and digits.isdecimal() and int(digits) > 0):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of bytes such as 1000000, 500k, 100M or 2G"
        )
    return int(digits) << shift


def _number(
    kind: type[int] | type[float], least: float, most: float | None = None
) -> Callable[[str], int | float]:
    """Return a converter for argparse that admits numbers from ``least`` to ``most``."""
    what = "a whole number" if kind is int else "a number"
    span = f"from {least:g}" + (f" to {most:g}" if most is not None else "")

    def convert(text: str) -> int | float:
        try:
            number = kind(text)
        except ValueError:
            number = None
        # Written so that not-a-number fails it.
        if number is not None and number >= least and (most is None or number <= most):
            return number
        raise argparse.ArgumentTypeError(f"{text!r} is not {what} {span}")

    return convert
