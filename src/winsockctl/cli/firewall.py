r"""Windows Firewall, as far as it hides incoming datagrams from a program's raw sockets.

The rules are strings such as ``v2.31|Action=Allow|Active=TRUE|Dir=In|App=C:\python.exe|``. Their
grammar is public:
https://learn.microsoft.com/openspecs/windows_protocols/ms-gpfas/2efe0b76-7b4a-41ff-9050-1023f8196d16
"""

from __future__ import annotations

import ipaddress
import ntpath
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from winsockctl.cli.checks import NO, OK, UNKNOWN, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

PROFILES = ("Domain", "Private", "Public")
"""The kinds of network that Windows tells apart, each with settings of its own."""

_PROTOCOLS = {1: "ICMP", socket.IPPROTO_TCP: "TCP", socket.IPPROTO_UDP: "UDP", 58: "ICMPv6"}
_ANY_PROTOCOL = 256
# What does not narrow down which datagrams a rule is about.
_NOT_NARROWING = {
    *("Action", "Active", "App", "Defer", "Desc", "Dir", "Edge", "EmbedCtxt"),
    *("LSM", "Name", "Profile", "Protocol"),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule for what comes in."""

    allows: bool
    """Whether it lets datagrams through; otherwise it blocks them, whatever others allow."""
    program: str | None
    """The path of the program that it is for; ``None`` for any."""
    profiles: frozenset[str]
    protocol: int | None
    """``None`` for any."""
    narrow: bool
    """Whether it is for some ports, addresses, services or users only."""

    def concerns(self, program: str, profile: str, protocol: int) -> bool:
        """Tell whether it decides about every incoming datagram of a protocol."""
        return (
            not self.narrow
            and profile in self.profiles
            and self.protocol in (None, protocol)
            and (self.program is None or _same_path(self.program, program))
        )


@dataclass(frozen=True, slots=True)
class Profile:
    """The settings for one kind of network."""

    on: bool = True
    blocks: bool = True
    """Whether what no rule allows is blocked."""
    ignores_rules: bool = False
    """Whether everything is blocked, even what a rule allows."""
    local_rules: bool = True
    """Whether rules count that did not come by group policy."""


@dataclass(frozen=True, slots=True)
class Firewall:
    """The settings, and the rules for what comes in."""

    profiles: Mapping[str, Profile]
    rules: Sequence[Rule]
    policy_rules: Sequence[Rule] = ()
    """Those that came by group policy."""

    def lets_in(self, program: str, profile: str) -> frozenset[int]:
        """Return the protocols of which a program gets every datagram that comes in."""
        settings = self.profiles[profile]
        if not settings.on:
            return frozenset(_PROTOCOLS)
        if settings.ignores_rules:
            return frozenset()
        rules = [*(self.rules if settings.local_rules else ()), *self.policy_rules]
        return frozenset(
            protocol
            for protocol in _PROTOCOLS
            if _decide(
                [rule.allows for rule in rules if rule.concerns(program, profile, protocol)],
                default=not settings.blocks,
            )
        )

    def blocks_by_rule(self, program: str) -> bool:
        """Tell whether a rule of its own blocks a program: then no other rule helps."""
        return any(
            not rule.allows and rule.program is not None and _same_path(rule.program, program)
            for rule in (*self.rules, *self.policy_rules)
        )


def _decide(allows: Sequence[bool], *, default: bool) -> bool:
    return all(allows) if allows else default


def _same_path(one: str, other: str) -> bool:
    return ntpath.normcase(ntpath.normpath(one)) == ntpath.normcase(ntpath.normpath(other))


def parse_rule(text: str) -> Rule | None:
    """Return the rule that a string of the registry says.

    ``None`` for one that is switched off, that is for what goes out, or that cannot be read.
    """
    fields: dict[str, list[str]] = {}
    for field in text.split("|")[1:]:
        key, equals, value = field.partition("=")
        if equals:
            fields.setdefault(key, []).append(value)

    def one(key: str, default: str = "") -> str:
        return fields.get(key, [default])[-1]

    action = one("Action").lower()
    if (
        one("Active").lower() != "true"
        or one("Dir").lower() != "in"
        or action not in ("allow", "block")
    ):
        return None
    number = one("Protocol")
    protocol = int(number) if number.isdecimal() else _ANY_PROTOCOL
    return Rule(
        allows=action == "allow",
        program=ntpath.expandvars(one("App")) or None,
        profiles=frozenset(fields.get("Profile", PROFILES)),
        protocol=None if protocol == _ANY_PROTOCOL else protocol,
        narrow=not fields.keys() <= _NOT_NARROWING,
    )


def judge(firewall: Firewall | None, program: str) -> Outcome:
    """Say whether incoming datagrams reach the raw sockets of a program, and how to let them."""
    if firewall is None:
        return OK, "this system has no Windows Firewall"
    hidden = []
    for profile in PROFILES:
        missing = _PROTOCOLS.keys() - firewall.lets_in(program, profile)
        if missing == _PROTOCOLS.keys():
            hidden.append(f"in {profile} networks")
        elif missing:
            names = ", ".join(_PROTOCOLS[protocol] for protocol in sorted(missing))
            hidden.append(f"in {profile} networks those of {names}")
    if not hidden:
        return OK, f"lets incoming datagrams through to {program}"
    return NO, (
        f"hides incoming datagrams from {program}, {', '.join(hidden)}: only sent ones will be "
        f"seen. {_remedy(firewall, program)}"
    )


def _remedy(firewall: Firewall, program: str) -> str:
    commands = []
    if firewall.blocks_by_rule(program):
        commands.append(
            f'netsh advfirewall firewall delete rule name=all dir=in program="{program}"'
        )
    commands.append(
        'netsh advfirewall firewall add rule name="winsockctl capture" dir=in action=allow '
        f'program="{program}" enable=yes profile=any'
    )
    commands += [
        f"netsh advfirewall set {profile.lower()}profile firewallpolicy blockinbound,allowoutbound"
        for profile in PROFILES
        if firewall.profiles[profile].on and firewall.profiles[profile].ignores_rules
    ]
    text = (
        f"To allow it, as administrator: {'; then '.join(commands)} (beware: that opens every "
        "script that this interpreter runs; undo it with: netsh advfirewall firewall delete rule "
        'name="winsockctl capture")'
    )
    if any(profile.on and not profile.local_rules for profile in firewall.profiles.values()):
        text += "; group policy ignores such rules here: ask whoever administers this machine"
    return text


def judge_traffic(ends: Iterable[tuple[str, str]], local: Iterable[str], seconds: float) -> Outcome:
    """Say what captured datagrams tell about those that come in.

    Args:
        ends: source and destination address of each.
        local: the addresses of this machine.
        seconds: how long the capture took.
    """
    own = set(local)
    sent = received = 0
    for source, destination in ends:
        sent += source in own and destination not in own and _has_one_host(destination)
        received += source not in own
    if received:
        return OK, f"{received} datagrams from elsewhere were seen"
    if sent:
        return NO, (
            f"only sent datagrams were seen, {sent} in {seconds:g} seconds: that is how it looks "
            "when a firewall hides those that come in; see the line firewall"
        )
    return UNKNOWN, (
        f"nothing came in {seconds:g} seconds, and nothing went that is answered; see the line "
        "firewall, or try again with some traffic"
    )


def _has_one_host(address: str) -> bool:
    """Tell whether one host is behind an address: what is sent to a group may stay unanswered."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return not parsed.is_multicast and address != "255.255.255.255"
