"""The syntax tree: tests that hold or do not hold for a datagram, and numbers computed from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Size: TypeAlias = Literal[1, 2, 4]
Comparator: TypeAlias = Literal["=", "!=", "<", "<=", ">", ">="]
Operator: TypeAlias = Literal["+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>"]


@dataclass(frozen=True, slots=True)
class Field:
    """A field at a fixed place of a header."""

    offset: int
    """In bytes, from the start of the datagram or of the IPv4 payload."""
    size: Size
    """In bytes."""
    mask: int = 0xFFFFFFFF
    """The bits that count."""
    in_ipv4_payload: bool = False
    """Whether the offset counts from the end of the IPv4 header, options included."""


@dataclass(frozen=True, slots=True)
class Match:
    """The field lies in one of the ranges."""

    field: Field
    ranges: tuple[tuple[int, int], ...]
    """Each from its first to its last number, both included; at least one."""

    def covers(self, other: Match) -> bool:
        """Whether this holds wherever the other does."""
        return self.field == other.field and all(
            any(low <= first and last <= high for low, high in self.ranges)
            for first, last in other.ranges
        )

    def excludes(self, other: Match) -> bool:
        """Whether the two never hold together."""
        return self.field == other.field and all(
            last < low or high < first for low, high in self.ranges for first, last in other.ranges
        )


@dataclass(frozen=True, slots=True)
class Header:
    """A header whose bytes can be taken by offset, and what makes sure that it is there."""

    required_first: tuple[Match, ...]
    """What has to hold before anything that the offset itself requires."""
    required: tuple[Match, ...]
    offset: int
    """Where the header begins: in bytes, as in ``Field``."""
    in_ipv4_payload: bool


@dataclass(frozen=True, slots=True)
class Constant:
    """A number from 0 to 2**32 - 1."""

    value: int


@dataclass(frozen=True, slots=True)
class Length:
    """The length of the datagram in bytes."""


@dataclass(frozen=True, slots=True)
class Load:
    """Bytes of a header, as a number in network byte order."""

    header: Header
    index: Number
    size: Size


@dataclass(frozen=True, slots=True)
class Negation:
    """The two's complement."""

    operand: Number


@dataclass(frozen=True, slots=True)
class Calculation:
    """Two numbers joined by an operator, modulo 2**32."""

    operator: Operator
    left: Number
    right: Number


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two numbers compared without sign."""

    comparator: Comparator
    left: Number
    right: Number


@dataclass(frozen=True, slots=True)
class Not:
    """The test does not hold."""

    test: Test


@dataclass(frozen=True, slots=True)
class And:
    """All of the tests hold; with none of them, that is always."""

    tests: tuple[Test, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of the tests holds."""

    tests: tuple[Test, ...]


Number: TypeAlias = Constant | Length | Load | Negation | Calculation
Test: TypeAlias = Match | Comparison | Not | And | Or


def all_of(tests: Sequence[Test]) -> Test:
    """Return a test that holds if all of the tests do."""
    return tests[0] if len(tests) == 1 else And(tuple(tests))


def any_of(tests: Iterable[Test]) -> Test:
    """Return a test that holds if one of the tests does; what several ask first is asked once."""
    groups: list[tuple[Test | None, list[Test]]] = []
    for test in tests:
        for alternative in test.tests if isinstance(test, Or) else (test,):
            match alternative:
                case And((head, *rest)):
                    _alternatives_behind(head, groups).append(all_of(rest))
                case _:
                    groups.append((None, [alternative]))
    joined = []
    for first, behind in groups:
        then = behind[0] if len(behind) == 1 else any_of(behind)
        if first is not None:
            then = And((first, *(then.tests if isinstance(then, And) else (then,))))
        joined.append(then)
    return joined[0] if len(joined) == 1 else Or(tuple(joined))


def _alternatives_behind(head: Test, groups: list[tuple[Test | None, list[Test]]]) -> list[Test]:
    for other, alternatives in reversed(groups):
        if other == head:
            return alternatives
        # An alternative may come earlier than those that never hold together with it.
        if not (isinstance(head, Match) and isinstance(other, Match) and head.excludes(other)):
            break
    groups.append((head, []))
    return groups[-1][1]
