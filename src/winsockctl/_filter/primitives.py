"""What each primitive of the language asks of a datagram.

The order of the questions follows libpcap, because a truncated datagram is refused by the first
question that reaches beyond its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from winsockctl._filter.names import IP_PROTOCOLS
from winsockctl._filter.tree import (
    And,
    Calculation,
    Comparator,
    Comparison,
    Field,
    Header,
    Load,
    Match,
    Negation,
    Number,
    Or,
    Test,
    all_of,
)

Direction: TypeAlias = Literal["src", "dst", "or", "and"]
Version: TypeAlias = Literal[4, 6]


def _equals(field: Field, *values: int) -> Match:
    return Match(field, tuple((value, value) for value in values))


IPV4: Final = _equals(Field(0, 1, 0xF0), 0x40)
IPV6: Final = _equals(Field(0, 1, 0xF0), 0x60)
_IPV4_PROTOCOL: Final = Field(9, 1)
_IPV6_NEXT_HEADER: Final = Field(6, 1)
_IPV6_PAYLOAD: Final = 40
_FRAGMENT_HEADER: Final = 44
# Only the first fragment has the header of the protocol above.
_FIRST_FRAGMENT: Final = _equals(Field(6, 2, 0x1FFF), 0)

# Which interface has which directed broadcast address is not known here: only the limited one, and
# the all-zeroes one of old. Multicast is class D, RFC 1112 (libpcap: from 1.10.5 on).
CASTS: Final = {
    ("ip", "broadcast"): And((IPV4, _equals(Field(16, 4), 0, 0xFFFFFFFF))),
    ("ip", "multicast"): And((IPV4, Match(Field(16, 1), ((224, 239),)))),
    ("ip6", "multicast"): And((IPV6, _equals(Field(24, 1), 0xFF))),
}


def _payload_header(protocol: str) -> Header:
    return Header(
        (IPV4,), (_equals(_IPV4_PROTOCOL, IP_PROTOCOLS[protocol]), _FIRST_FRAGMENT), 0, True
    )


HEADERS: Final = {
    "ip": Header((), (IPV4,), 0, False),
    "ip6": Header((), (IPV6,), 0, False),
    # Behind extension headers libpcap does not look, and over IPv6 not for the others.
    "icmp6": Header((), (IPV6, _equals(_IPV6_NEXT_HEADER, 58)), _IPV6_PAYLOAD, False),
} | {
    name: _payload_header(name)
    for name in ("tcp", "udp", "sctp", "icmp", "igmp", "igrp", "pim", "vrrp", "carp")
}


def protocol(number: int, version: Version | None) -> Test:
    """The datagram carries this protocol, directly or (IPv6) behind one fragment header."""
    over_ipv4 = And((IPV4, _equals(_IPV4_PROTOCOL, number)))
    over_ipv6 = And(
        (
            IPV6,
            Or(
                (
                    _equals(_IPV6_NEXT_HEADER, number),
                    And(
                        (
                            _equals(_IPV6_NEXT_HEADER, _FRAGMENT_HEADER),
                            _equals(Field(_IPV6_PAYLOAD, 1), number),
                        )
                    ),
                )
            ),
        )
    )
    match version:
        case 4:
            return over_ipv4
        case 6:
            return over_ipv6
        case None:
            return Or((over_ipv4, over_ipv6))


ABBREVIATIONS: Final[dict[str, Test]] = (
    {"ip": IPV4, "ip6": IPV6, "icmp6": protocol(58, 6)}
    | {name: protocol(IP_PROTOCOLS[name], 4) for name in ("icmp", "igmp", "igrp", "vrrp", "carp")}
    | {
        name: protocol(IP_PROTOCOLS[name], None)
        for name in ("tcp", "udp", "sctp", "ah", "esp", "pim")
    }
)


def network(version: Version, address: int, mask: int, direction: Direction) -> Test:
    """Source and/or destination have the address where the mask has ones."""
    is_version, words, source, destination = (IPV4, 1, 12, 16) if version == 4 else (IPV6, 4, 8, 24)

    def matches(offset: int) -> Test:
        tests = []
        for word in range(words):
            shift = 32 * (words - 1 - word)
            word_mask = mask >> shift & 0xFFFFFFFF
            # The whole address has to be there, even if its end does not count.
            if word_mask or word == words - 1:
                field = Field(offset + 4 * word, 4, word_mask)
                tests.append(_equals(field, address >> shift & word_mask))
        return all_of(tests)

    return And((is_version, _directed(direction, matches(source), matches(destination))))


def ports(first: int, last: int, protocols: Sequence[int], direction: Direction) -> Test:
    """Source and/or destination port lies in the range, under one of the IP protocols."""

    def matches(offset: int, in_ipv4_payload: bool) -> Test:
        source = Field(offset, 2, in_ipv4_payload=in_ipv4_payload)
        destination = Field(offset + 2, 2, in_ipv4_payload=in_ipv4_payload)
        span = ((first, last),)
        return _directed(direction, Match(source, span), Match(destination, span))

    over_ipv4 = _equals(_IPV4_PROTOCOL, *protocols)
    over_ipv6 = _equals(_IPV6_NEXT_HEADER, *protocols)
    return Or(
        (
            And((IPV4, over_ipv4, _FIRST_FRAGMENT, matches(0, True))),
            And((IPV6, over_ipv6, matches(_IPV6_PAYLOAD, False))),
        )
    )


def comparison(comparator: Comparator, left: Number, right: Number) -> Test:
    """Compare, if every header that the numbers are taken from is there."""
    test = Comparison(comparator, left, right)
    required = dict.fromkeys([*_required(left), *_required(right)])
    return all_of([*required, test])


def _required(number: Number) -> list[Match]:
    match number:
        case Load(header, index):
            return [*header.required_first, *_required(index), *header.required]
        case Calculation(_, left):
            # As libpcap: bytes on the right of an operator are taken without asking.
            return _required(left)
        case Negation(operand):
            return _required(operand)
        case _:
            return []


def _directed(direction: Direction, source: Test, destination: Test) -> Test:
    match direction:
        case "src":
            return source
        case "dst":
            return destination
        case "or":
            return Or((source, destination))
        case "and":
            return And((source, destination))
