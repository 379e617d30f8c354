"""``winsockctl demo``: own traffic on loopback, captured live and checked."""

from __future__ import annotations

import socket
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

from winsockctl import Capture, WinsockError, interfaces
from winsockctl.cli.errors import CommandError
from winsockctl.cli.output import say
from winsockctl.cli.summary import line, protocol_name, summarize
from winsockctl.cli.traffic import FAMILY_NAMES, Traffic, marks_in

if sys.platform == "linux":
    from winsockctl.cli import namespace

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

_GRACE = 5.0  # seconds for the last datagrams to be seen on a busy machine
_INTERVAL = 0.1  # seconds


def run(arguments: argparse.Namespace) -> int:
    """Run the demo here, or in a private namespace if it cannot be done here."""
    if sys.platform == "linux" and arguments.in_namespace:
        namespace.bring_up_loopback()
    try:
        capture = Capture(loopback())
    except WinsockError as error:
        if sys.platform == "linux":
            return namespace.run_demo_instead(error, inside=arguments.in_namespace)
        raise
    with capture:
        return _show(capture)


def loopback() -> str:
    """Return the name of the loopback interface."""
    for interface in interfaces():
        if interface.loopback:
            return interface.name
    raise CommandError("this machine has no loopback interface; see 'winsockctl interfaces'")


def has_ipv6() -> bool:
    """Tell whether IPv6 works on loopback."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def _show(capture: Capture) -> int:
    families = [socket.AF_INET]
    if has_ipv6():
        families.append(socket.AF_INET6)
    else:
        say("This machine has no IPv6 on loopback: IPv4 only.")
    names = " and ".join(FAMILY_NAMES[family] for family in families)
    say(f"Capturing on {capture.interface} ({capture.backend}): UDP, TCP and ICMP over {names}.\n")
    traffic = Traffic(families)
    traffic.start()
    watch = _Watch(traffic)
    deadline = None
    while deadline is None or time.monotonic() < deadline:
        all_sent = not traffic.is_alive()
        if all_sent and deadline is None:
            deadline = time.monotonic() + _GRACE
        news = watch.look(capture)
        if all_sent and not news and not watch.missing():
            break
    dropped = capture.statistics.dropped
    say("\n" + watch.report(families, "unknown" if dropped is None else str(dropped)))
    if traffic.omitted:
        say(f"Not sent, because this system does not let it: {'; '.join(traffic.omitted)}.")
    if traffic.error:
        raise CommandError(f"{traffic.error}; is a firewall in the way?")
    if missing := watch.missing():
        kinds = Counter(traffic.describe(mark) for mark in missing.elements())
        what = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        raise CommandError(
            f"{missing.total()} of {traffic.sent.total()} messages were sent but not captured "
            f"({what}); see 'winsockctl doctor'"
        )
    say(f"All {traffic.sent.total()} messages that were sent were captured.")
    return 0


class _Watch:
    """Shows the datagrams of the demo's traffic and counts them."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._counts: Counter[tuple[str, int]] = Counter()
        self._seen: Counter[bytes] = Counter()
        self._times: list[int] = []
        self._bytes = 0
        self._foreign = 0

    def look(self, capture: Capture) -> bool:
        """Show what came next; return whether there was anything of the demo's traffic."""
        lines = []
        for datagram in capture.read(_INTERVAL).datagrams():
            summary, marks = summarize(datagram), marks_in(bytes(datagram.data))
            if not self._traffic.owns(summary) and not marks:
                self._foreign += 1
                continue
            lines.append(line(datagram))
            # ICMPv6 is the ICMP of IPv6: one row for both.
            protocol = protocol_name(summary.protocol).removesuffix("v6")
            self._counts[protocol, summary.version] += 1
            self._seen.update(marks)
            self._times.append(datagram.timestamp_ns)
            self._bytes += datagram.original_length
        if lines:
            say("\n".join(lines))
        return bool(lines)

    def missing(self) -> Counter[bytes]:
        """Return the messages that were sent and not seen."""
        return self._traffic.sent - self._seen

    def report(self, families: Sequence[int], dropped: str) -> str:
        """Return the counts by protocol and family, and the rate."""
        names = [FAMILY_NAMES[socket.AddressFamily(family)] for family in families]
        lines = ["".join(["        ", *(f"{name:>6}" for name in names)])]
        for protocol in ("UDP", "TCP", "ICMP"):
            counts = [self._counts[protocol, int(name[-1])] for name in names]
            lines.append("".join([f"{protocol:<8}", *(f"{count:>6}" for count in counts)]))
        total = self._counts.total()
        seconds = (max(self._times) - min(self._times)) / 1e9 if self._times else 0.0
        rate = f", {total / seconds:.0f} datagrams/s" if seconds else ""
        lines.append(
            f"\n{total} datagrams, {self._bytes} bytes in {seconds:.2f} s{rate}; {dropped} dropped"
        )
        if self._foreign:
            lines.append(f"{self._foreign} datagrams of other programs passed meanwhile.")
        return "\n".join(lines)
