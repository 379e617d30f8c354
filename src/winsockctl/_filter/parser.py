"""From an expression to its syntax tree.

The grammar is libpcap's: "not" binds tightest; "and" and "or" bind alike, from the left; an id
without qualifiers takes those of the primitive before it. "%" and "^" have no precedence there:
their right side reaches as far as it can.
"""

from __future__ import annotations

import ipaddress
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, cast

from winsockctl._filter import primitives
from winsockctl._filter.errors import FilterSyntaxError
from winsockctl._filter.lexer import Kind, Token, tokenize
from winsockctl._filter.names import (
    IP_PROTOCOLS,
    PORT_PROTOCOLS,
    PORTS,
    PROTOCOL_WORDS,
    REFUSED,
)
from winsockctl._filter.primitives import Direction, Version
from winsockctl._filter.tree import (
    And,
    Calculation,
    Comparator,
    Constant,
    Length,
    Load,
    Negation,
    Not,
    Number,
    Operator,
    Size,
    Test,
    all_of,
    any_of,
)

_What: TypeAlias = Literal["host", "net", "port", "portrange", "proto"]

_COMPARATORS: Final = ("=", "!=", "<", "<=", ">", ">=")
_GREEDY: Final = ("%", "^")
_PRECEDENCE: Final = {"|": 1, "&": 2, "<<": 3, ">>": 3, "+": 4, "-": 4, "*": 5, "/": 5}
_UNARY_PRECEDENCE: Final = 6
_OPERATORS: Final = (*_COMPARATORS, *_GREEDY, *_PRECEDENCE)
_ALL_ONES: Final = 0xFFFFFFFF

_TWO_PORTS: Final = re.compile(r"[0-9]+-[0-9]+")
_VERSIONS: Final[dict[str | None, Version | None]] = {"ip": 4, "ip6": 6, None: None}
_QUALIFYING_PROTOCOLS: Final[dict[_What, tuple[str, ...]]] = {
    "host": ("ip", "ip6"),
    "net": ("ip", "ip6"),
    "port": PORT_PROTOCOLS,
    "portrange": PORT_PROTOCOLS,
    "proto": ("ip", "ip6"),
}
_IDS: Final[dict[_What, str]] = {
    "host": "an IPv4 or IPv6 address",
    "net": "a network such as '10.0.0.0/8' or 'fe80::/10'",
    "port": "a port number or the name of a common port",
    "portrange": "two ports and a hyphen such as '6000-6008'",
    "proto": r"a protocol number or an escaped name such as '\tcp'",
}


@dataclass(frozen=True, slots=True)
class _Qualifiers:
    """What is said before an id, and what later ids inherit."""

    protocol: str | None
    direction: Direction
    what: _What


def parse(expression: str) -> Test:
    """Return what the expression asks of a datagram; an empty one asks nothing.

    Raises:
        FilterSyntaxError: if it is not an expression of the language.
    """
    return _Parser(expression).parse()


class _Parser:
    def __init__(self, expression: str) -> None:
        self._text = expression
        self._tokens = tokenize(expression)
        self._at = 0
        self._arithmetic_groups = self._find_arithmetic_groups()

    def parse(self) -> Test:
        if self._tokens[0].kind is Kind.END:
            return And(())
        test, _ = self._expression(None)
        if self._token.kind is not Kind.END:
            raise self._unexpected("'and', 'or' or the end")
        return test

    # Tokens.

    @property
    def _token(self) -> Token:
        return self._tokens[self._at]

    def _take(self, *texts: str) -> Token | None:
        token = self._token
        if not token.is_(*texts):
            return None
        self._at += 1
        return token

    def _take_kind(self, kind: Kind) -> bool:
        if self._token.kind is not kind:
            return False
        self._at += 1
        return True

    def _require(self, text: str, why: str) -> None:
        if not self._take(text):
            raise self._unexpected(f"'{text}' {why}")

    def _take_number(self, largest: int, what: str) -> int:
        token = self._token
        if token.kind is not Kind.NUMBER or token.value > largest:
            raise self._unexpected(what)
        self._at += 1
        return token.value

    def _unexpected(self, expected: str) -> FilterSyntaxError:
        token = self._token
        if token.kind is Kind.KEYWORD and token.text in REFUSED:
            return self._error(token, REFUSED[token.text])
        found = "the expression ends" if token.kind is Kind.END else f"found '{token.text}'"
        return self._error(token, f"expected {expected}, but {found}")

    def _error(self, token: Token, reason: str) -> FilterSyntaxError:
        return FilterSyntaxError(self._text, token.position, reason)

    def _find_arithmetic_groups(self) -> frozenset[int]:
        """The opening parentheses of those pairs that hold a number, not a test."""
        groups = []
        opened = []
        for at, token in enumerate(self._tokens):
            if token.is_("("):
                opened.append(at)
            elif token.is_(")") and opened:
                start = opened.pop()
                if self._tokens[at + 1].is_(*_OPERATORS):
                    groups.append(start)
        return frozenset(groups)

    # Tests. Those with two results return also what the ids that follow inherit.

    def _expression(self, inherited: _Qualifiers | None) -> tuple[Test, _Qualifiers | None]:
        test, qualifiers = self._term(inherited)
        while joint := self._take("and", "or"):
            tests = [test]
            while True:
                if self._id_begins():
                    tests.append(self._id(qualifiers))
                else:
                    operand, qualifiers = self._term(qualifiers)
                    tests.append(operand)
                if not self._take(joint.text):
                    break
            test = _join(joint, tests)
        return test, qualifiers

    def _term(self, inherited: _Qualifiers | None) -> tuple[Test, _Qualifiers | None]:
        if self._take("not"):
            test, qualifiers = self._term(inherited)
            return Not(test), qualifiers
        if self._number_begins():
            return self._comparison(), None
        if parenthesis := self._take("("):
            test, _ = self._expression(inherited)
            self._require(")", f"for the '(' at offset {parenthesis.position}")
            return test, inherited
        return self._primitive()

    def _primitive(self) -> tuple[Test, _Qualifiers | None]:
        if limit := self._take("less", "greater"):
            length = Constant(self._take_number(_ALL_ONES, "a length in bytes"))
            comparator: Comparator = "<=" if limit.text == "less" else ">="
            return primitives.comparison(comparator, Length(), length), None
        protocol = self._take(*PROTOCOL_WORDS)
        if cast_ := self._take("broadcast", "multicast"):
            return self._cast(protocol, cast_), None
        qualifiers = self._qualifiers(protocol)
        if qualifiers:
            return self._id(qualifiers), qualifiers
        if protocol:
            return primitives.ABBREVIATIONS[protocol.text], None
        token = self._token
        if token.kind in (Kind.NUMBER, Kind.IPV4, Kind.IPV6, Kind.NAME):
            raise self._error(
                token, f"'{token.text}' needs a word before it such as 'host' or 'port'"
            )
        raise self._unexpected("a primitive such as 'udp', 'host 192.0.2.1' or 'port 53'")

    def _cast(self, protocol: Token | None, cast_: Token) -> Test:
        name = protocol.text if protocol else ""
        test = primitives.CASTS.get((name, cast_.text))
        if test is None:
            known = " or ".join(f"'{p} {c}'" for p, c in primitives.CASTS if c == cast_.text)
            raise self._error(
                protocol or cast_, f"a datagram has no link-layer address: say {known}"
            )
        return test

    def _qualifiers(self, protocol: Token | None) -> _Qualifiers | None:
        direction = self._direction()
        word = self._token
        if direction:
            self._take("host", "net", "port", "portrange")
        elif not self._take("host", "net", "port", "portrange", "proto"):
            return None
        what = cast(_What, word.text) if word is not self._token else "host"
        if protocol and protocol.text not in _QUALIFYING_PROTOCOLS[what]:
            known = ", ".join(_QUALIFYING_PROTOCOLS[what])
            raise self._error(
                protocol, f"'{protocol.text}' cannot qualify '{what}', only {known} can"
            )
        return _Qualifiers(protocol.text if protocol else None, direction or "or", what)

    def _direction(self) -> Direction | None:
        first = self._take("src", "dst")
        if not first:
            return None
        joint = self._take("or", "and")
        if joint:
            other = "dst" if first.text == "src" else "src"
            self._require(other, f"after '{first.text} {joint.text}'")
        return cast(Direction, (joint or first).text)

    # Ids.

    def _id_begins(self) -> bool:
        at = self._at
        while self._tokens[at].is_("not", "(") and at not in self._arithmetic_groups:
            at += 1
        token = self._tokens[at]
        if token.kind is Kind.NUMBER:
            return not self._tokens[at + 1].is_(*_OPERATORS)
        return token.kind in (Kind.NAME, Kind.IPV4, Kind.IPV6)

    def _id(self, qualifiers: _Qualifiers | None) -> Test:
        if self._take("not"):
            return Not(self._id(qualifiers))
        if parenthesis := self._take("("):
            test = self._id(qualifiers)
            while joint := self._take("and", "or"):
                tests = [test, self._id(qualifiers)]
                while self._take(joint.text):
                    tests.append(self._id(qualifiers))
                test = _join(joint, tests)
            self._require(")", f"for the '(' at offset {parenthesis.position}")
            return test
        token = self._token
        if qualifiers is None:
            reason = f"'{token.text}' has no qualifier to inherit: say 'host', 'port' or such"
            raise self._error(token, reason)
        match qualifiers.what:
            case "host" | "net":
                return self._address(qualifiers)
            case "port" | "portrange":
                return self._ports(qualifiers)
            case "proto":
                return self._protocol(qualifiers)

    def _address(self, qualifiers: _Qualifiers) -> Test:
        token = self._token
        if self._take_kind(Kind.NUMBER):
            if self._token.is_("/"):
                raise self._error(
                    self._token, "a prefix length needs a dotted network: '10.0.0.0/8'"
                )
            return self._network(4, qualifiers, token, *_promote(token.value, qualifiers.what))
        if self._take_kind(Kind.IPV4):
            address, mask = _left_justify(self._octets(token))
            if self._token.is_("/", "mask"):
                self._require_net(qualifiers, self._token)
                mask = self._ipv4_mask()
            return self._network(4, qualifiers, token, address, mask)
        if self._take_kind(Kind.IPV6):
            length = 128
            slash = self._token
            if self._take("/"):
                length = self._take_number(128, "a prefix length from 0 to 128")
                if length < 128:
                    self._require_net(qualifiers, slash)
            mask = ~((1 << 128 - length) - 1) & (1 << 128) - 1
            address = int(ipaddress.IPv6Address(token.text))
            return self._network(6, qualifiers, token, address, mask)
        if token.kind is Kind.NAME:
            problem = (
                "a datagram has no such address" if ":" in token.text else "names are not resolved"
            )
            raise self._error(token, f"{problem}: give {_IDS[qualifiers.what]}")
        raise self._unexpected(_IDS[qualifiers.what])

    def _network(
        self, version: Version, qualifiers: _Qualifiers, token: Token, address: int, mask: int
    ) -> Test:
        other = "ip6" if version == 4 else "ip"
        if qualifiers.protocol == other:
            raise self._error(
                token, f"'{token.text}' is an IPv{version} address, and '{other}' has none"
            )
        if address & ~mask:
            raise self._error(token, f"'{token.text}' has bits set that the mask leaves out")
        return primitives.network(version, address, mask, qualifiers.direction)

    def _require_net(self, qualifiers: _Qualifiers, token: Token) -> None:
        if qualifiers.what != "net":
            raise self._error(token, f"'{token.text}' goes with 'net', not with 'host'")

    def _octets(self, token: Token) -> list[int]:
        octets = [int(part) for part in token.text.split(".")]
        if max(octets) > 255:
            raise self._error(
                token, f"'{token.text}' is no IPv4 address: each part is from 0 to 255"
            )
        return octets

    def _ipv4_mask(self) -> int:
        if self._take("/"):
            length = self._take_number(32, "a prefix length from 0 to 32")
            return _ALL_ONES << 32 - length & _ALL_ONES
        self._take("mask")
        token = self._token
        if not self._take_kind(Kind.IPV4):
            raise self._unexpected("a mask such as '255.255.0.0'")
        mask, _ = _left_justify(self._octets(token))
        return mask

    def _ports(self, qualifiers: _Qualifiers) -> Test:
        token = self._token
        if token.kind is Kind.NUMBER:
            first = last = self._take_number(65535, "a port from 0 to 65535")
            named = None
        elif self._take_kind(Kind.NAME):
            first, last, named = self._named_ports(token, qualifiers)
        else:
            raise self._unexpected(_IDS[qualifiers.what])
        asked = qualifiers.protocol
        if asked and named and asked != named:
            raise self._error(token, f"'{token.text}' is a port of {named}, not of {asked}")
        one = asked or named
        protocols = [IP_PROTOCOLS[name] for name in ((one,) if one else PORT_PROTOCOLS)]
        return primitives.ports(first, last, protocols, qualifiers.direction)

    def _named_ports(self, token: Token, qualifiers: _Qualifiers) -> tuple[int, int, str | None]:
        if qualifiers.what == "port":
            port, protocol = self._port(token, token.text)
            return port, port, protocol
        begin, hyphen, end = token.text.partition("-")
        if not hyphen:
            self._at -= 1
            raise self._unexpected(_IDS["portrange"])
        (first, named), (last, also_named) = self._port(token, begin), self._port(token, end)
        return min(first, last), max(first, last), named if named == also_named else None

    def _port(self, token: Token, text: str) -> tuple[int, str | None]:
        if text.isdecimal() and (port := int(text)) <= 65535:
            return port, None
        if text not in PORTS:
            hint = f"; say 'portrange {text}'" if _TWO_PORTS.fullmatch(text) else ""
            raise self._error(token, f"expected {_IDS['port']}, but '{text}' is none{hint}")
        return PORTS[text]

    def _protocol(self, qualifiers: _Qualifiers) -> Test:
        token = self._token
        if token.kind is Kind.NUMBER:
            number = self._take_number(255, "a protocol number from 0 to 255")
        elif token.kind is Kind.NAME and token.text.lower() in IP_PROTOCOLS:
            self._at += 1
            number = IP_PROTOCOLS[token.text.lower()]
        else:
            raise self._unexpected(_IDS["proto"])
        version = _VERSIONS[qualifiers.protocol]
        return primitives.protocol(number, version)

    # Numbers.

    def _number_begins(self) -> bool:
        token = self._token
        if token.kind is Kind.NUMBER:
            return self._tokens[self._at + 1].is_(*_OPERATORS)
        if token.is_(*PROTOCOL_WORDS):
            return self._tokens[self._at + 1].is_("[")
        return token.is_("-", "len", "length") or self._at in self._arithmetic_groups

    def _comparison(self) -> Test:
        left = self._number()
        token = self._take(*_COMPARATORS)
        if not token:
            raise self._unexpected("a comparison such as '=' or '>'")
        return primitives.comparison(cast(Comparator, token.text), left, self._number())

    def _number(self, binding: int = 0) -> Number:
        """Parse a number up to the first operator that binds less than ``binding``."""
        left = self._operand()
        while True:
            token = self._token
            if self._take(*_GREEDY):
                right = self._number()
            elif token.is_(*_PRECEDENCE) and _PRECEDENCE[token.text] >= binding:
                self._at += 1
                right = self._number(_PRECEDENCE[token.text] + 1)
            else:
                return left
            left = self._calculation(token, left, right)

    def _operand(self) -> Number:
        token = self._token
        if self._take("-"):
            operand = self._number(_UNARY_PRECEDENCE)
            if isinstance(operand, Constant):
                return Constant(-operand.value & _ALL_ONES)
            return Negation(operand)
        if self._take("("):
            number = self._number()
            self._require(")", f"for the '(' at offset {token.position}")
            return number
        if self._take_kind(Kind.NUMBER):
            return Constant(token.value)
        if self._take("len", "length"):
            return Length()
        if self._take(*PROTOCOL_WORDS):
            return self._load(token)
        hint = " with spaces around '-'" if "-" in token.text else ""
        raise self._unexpected(f"a number, 'len' or bytes such as 'ip[8]'{hint}")

    def _load(self, protocol: Token) -> Load:
        header = primitives.HEADERS.get(protocol.text)
        if header is None:
            raise self._error(protocol, f"the bytes of '{protocol.text}' cannot be taken by offset")
        self._require("[", f"after '{protocol.text}'")
        index = self._number()
        size: Size = 1
        if self._take(":"):
            token = self._token
            if token.kind is not Kind.NUMBER or token.value not in (1, 2, 4):
                raise self._unexpected("a size of 1, 2 or 4 bytes")
            self._at += 1
            size = cast(Size, token.value)
        self._require("]", "after the offset")
        return Load(header, index, size)

    def _calculation(self, token: Token, left: Number, right: Number) -> Number:
        symbol = cast(Operator, token.text)
        if isinstance(right, Constant):
            if symbol in ("/", "%") and right.value == 0:
                raise self._error(token, "a division by zero")
            if symbol in ("<<", ">>") and right.value > 31:
                raise self._error(token, "a shift is by 31 bits at most")
            if isinstance(left, Constant):
                return Constant(_FOLD[symbol](left.value, right.value) & _ALL_ONES)
        return Calculation(symbol, left, right)


_FOLD: Final[dict[Operator, Callable[[int, int], int]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.floordiv,
    "%": operator.mod,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "<<": operator.lshift,
    ">>": operator.rshift,
}


def _join(joint: Token, tests: list[Test]) -> Test:
    return all_of(tests) if joint.text == "and" else any_of(tests)


def _left_justify(octets: list[int]) -> tuple[int, int]:
    """The IPv4 address and mask of a network of which only the first octets are written."""
    bits = 32 - 8 * len(octets)
    return int.from_bytes(bytes(octets)) << bits, _ALL_ONES << bits & _ALL_ONES


def _promote(number: int, what: _What) -> tuple[int, int]:
    """The IPv4 address and mask of a single number: a whole address, or the front of a network."""
    bits = 0
    if what == "net" and number:
        bits = (32 - number.bit_length()) // 8 * 8
    return number << bits, _ALL_ONES << bits & _ALL_ONES
