"""The syntax tree: tests that hold or do not hold for a datagram, and numbers computed from it."""

from __future__ import annotations

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
