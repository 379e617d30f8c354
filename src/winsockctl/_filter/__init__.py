"""Filters: which datagrams to deliver, in the language of pcap-filter(7)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self, final

from winsockctl._filter.bpf import MAXIMUM_INSTRUCTIONS, Instruction
from winsockctl._filter.compiler import compile_test
from winsockctl._filter.errors import FilterSyntaxError
from winsockctl._filter.parser import parse
from winsockctl._filter.verifier import parse_listing, verify

__all__ = ["Filter", "FilterSyntaxError"]


@final
class Filter:
    r"""A test of IP datagrams, compiled to classic BPF; it never changes.

    The language is that of tcpdump, as far as it speaks about IP datagrams:
    https://www.tcpdump.org/manpages/pcap-filter.7.html. Protocols (``udp``, ``ip6 proto 44``),
    addresses (``src host 192.0.2.1``, ``net 10.0.0.0/8``), ports (``dst port 53``,
    ``tcp portrange 6000-6008``), lengths (``less 100``, ``len > 1400``), bytes
    (``tcp[tcpflags] & tcp-syn != 0``, ``ip[8] < 5``), ``and``, ``or``, ``not`` and parentheses.
    Verdicts are those of libpcap for LINKTYPE_RAW:

    - A field beyond the end of a truncated datagram refuses the datagram, whatever ``not`` says.
    - Ports are looked for in first fragments only, and over IPv6 only right behind the fixed
      header; ``tcp[...]`` and its like are about IPv4.
    - ``ip broadcast`` knows 255.255.255.255 and 0.0.0.0, but no netmask.

    Host names are not resolved, and words about the link layer are errors.

    >>> Filter("udp and port 53")
    Filter('udp and port 53')

    Args:
        expression: the filter; the empty one accepts every datagram.

    Raises:
        FilterSyntaxError: if the expression cannot be compiled; it points at the place.
    """

    __slots__ = ("_expression", "_instructions")

    _expression: str | None
    _instructions: tuple[Instruction, ...]

    def __init__(self, expression: str) -> None:
        if not isinstance(expression, str):
            raise TypeError(f"expected an expression as str, not {type(expression).__name__}")
        self._expression = expression
        self._instructions = _compile(expression)

    @classmethod
    def from_instructions(cls, instructions: Iterable[Iterable[int]] | str) -> Self:
        """Return the filter that is given as a program of classic BPF.

        It runs on datagrams that begin with their IP header (LINKTYPE_RAW), and accepts those for
        which it returns anything but 0.

        Args:
            instructions: one ``(code, jt, jf, k)`` for each instruction, or the text that
                ``tcpdump -ddd -y RAW`` prints.

        Raises:
            ValueError: if Linux would refuse the program or if it uses extensions that only Linux
                knows; the message names the instruction, counted from 0.
        """
        if isinstance(instructions, str):
            instructions = parse_listing(instructions)
        made = cls.__new__(cls)
        made._expression = None
        made._instructions = verify(instructions)
        return made

    @property
    def expression(self) -> str | None:
        """What was compiled; ``None`` if the program was given."""
        return self._expression

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        """The program: ``(code, jt, jf, k)`` of each instruction."""
        return self._instructions

    def __eq__(self, other: object) -> bool:
        """Whether both are the same program, however written."""
        if not isinstance(other, Filter):
            return NotImplemented
        return self._instructions == other._instructions

    def __hash__(self) -> int:
        return hash(self._instructions)

    def __repr__(self) -> str:
        if self._expression is not None:
            return f"Filter({self._expression!r})"
        return f"Filter.from_instructions({self._instructions!r})"

    def __str__(self) -> str:
        """The expression, or else the program as ``tcpdump -ddd`` prints it."""
        if self._expression is not None:
            return self._expression
        rows = [(len(self._instructions),), *self._instructions]
        return "\n".join(" ".join(map(str, row)) for row in rows)


def _compile(expression: str) -> tuple[Instruction, ...]:
    try:
        program = compile_test(parse(expression))
    except FilterSyntaxError:
        raise
    except RecursionError:
        raise FilterSyntaxError(expression, 0, "nested too deeply") from None
    except ValueError as error:
        raise FilterSyntaxError(expression, 0, str(error)) from None
    if len(program) > MAXIMUM_INSTRUCTIONS:
        reason = (
            f"too long: it takes {len(program)} instructions, and no kernel runs more than "
            f"{MAXIMUM_INSTRUCTIONS}"
        )
        raise FilterSyntaxError(expression, 0, reason)
    return program
