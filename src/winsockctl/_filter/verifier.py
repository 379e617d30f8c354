"""What every kernel asks of a program before it runs it."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Final

from winsockctl._filter.bpf import (
    ABS,
    ADD,
    ALU,
    AND,
    DIV,
    IMM,
    IND,
    JA,
    JEQ,
    JGE,
    JGT,
    JMP,
    JSET,
    LD,
    LDX,
    LEN,
    LSH,
    MAXIMUM_INSTRUCTIONS,
    MEM,
    MISC,
    MOD,
    MSH,
    MUL,
    NEG,
    OR,
    RET,
    RSH,
    SCRATCH_WORDS,
    ST,
    STX,
    SUB,
    TAX,
    TXA,
    XOR,
    A,
    B,
    H,
    Instruction,
    K,
    W,
    X,
)

_BRANCHES: Final = frozenset(JMP | op | source for op in (JEQ, JGT, JGE, JSET) for source in (K, X))
_CODES: Final = (
    _BRANCHES
    | {LD | mode | size for mode in (ABS, IND) for size in (W, H, B)}
    | {LD | IMM, LD | MEM, LD | W | LEN, LDX | IMM, LDX | MEM, LDX | W | LEN, LDX | B | MSH}
    | {ST, STX, ALU | NEG, JMP | JA, RET | K, RET | A, MISC | TAX, MISC | TXA}
    | {
        ALU | op | source
        for op in (ADD, SUB, MUL, DIV, MOD, AND, OR, XOR, LSH, RSH)
        for source in (K, X)
    }
)
_LARGEST: Final = (0xFFFF, 0xFF, 0xFF, 0xFFFFFFFF)
_READS_SCRATCH: Final = (LD | MEM, LDX | MEM)
_ALL_WORDS: Final = (1 << SCRATCH_WORDS) - 1


def parse_listing(text: str) -> list[Instruction]:
    """Return the program that ``tcpdump -ddd`` printed: a count, then code, jt, jf and k a line.

    Raises:
        ValueError: naming the line that is not so.
    """
    rows: list[list[int]] = []
    for number, line in enumerate(text.strip().splitlines(), 1):
        try:
            rows.append([int(word) for word in line.split()])
        except ValueError:
            raise ValueError(f"line {number}: expected decimal numbers, got {line!r}") from None
        if len(rows[-1]) != (1 if number == 1 else 4):
            expected = "the count of instructions" if number == 1 else "code, jt, jf and k"
            raise ValueError(f"line {number}: expected {expected}, got {line!r}")
    if not rows or rows[0][0] != len(rows) - 1:
        announced = rows[0][0] if rows else "no count"
        raise ValueError(f"line 1 announces {announced}, but {len(rows[1:])} instructions follow")
    return [(code, jt, jf, k) for code, jt, jf, k in rows[1:]]


def verify(instructions: Iterable[Iterable[int]]) -> tuple[Instruction, ...]:
    """Return the program as tuples of plain numbers.

    The rules are those of Linux, except that its extensions (loads at negative offsets, such as
    the packet type) are refused: they mean nothing elsewhere.

    Raises:
        ValueError: naming the first instruction that breaks a rule, counted from 0.
        TypeError: if an instruction does not consist of four integers.
    """
    program = tuple(_numbers(number, row) for number, row in enumerate(instructions))
    if not 1 <= len(program) <= MAXIMUM_INSTRUCTIONS:
        raise ValueError(
            f"a program has 1 to {MAXIMUM_INSTRUCTIONS} instructions, not {len(program)}"
        )
    for number, instruction in enumerate(program):
        problem = _problem(instruction, len(program) - number - 1)
        if problem:
            _fail(program, number, problem)
    if program[-1][0] not in (RET | K, RET | A):
        _fail(program, len(program) - 1, "the last instruction has to return")
    _verify_scratch(program)
    return program


def _numbers(number: int, row: Iterable[int]) -> Instruction:
    values = tuple(operator.index(value) for value in row)
    if len(values) != 4:
        raise ValueError(f"instruction {number} {values}: expected code, jt, jf and k")
    for value, largest in zip(values, _LARGEST, strict=True):
        if not 0 <= value <= largest:
            raise ValueError(f"instruction {number} {values}: {value} is not from 0 to {largest}")
    code, jt, jf, k = values
    return code, jt, jf, k


def _problem(instruction: Instruction, following: int) -> str | None:
    code, jt, jf, k = instruction
    if code not in _CODES:
        return f"there is no operation {code:#x}"
    if code in (ALU | DIV | K, ALU | MOD | K) and k == 0:
        return "divides by zero"
    if code in (ALU | LSH | K, ALU | RSH | K) and k > 31:
        return "shifts by more than 31 bits"
    if code in (ST, STX, *_READS_SCRATCH) and k >= SCRATCH_WORDS:
        return f"there are only {SCRATCH_WORDS} words of scratch memory"
    furthest = k if code == JMP | JA else max(jt, jf) if code in _BRANCHES else 0
    if furthest and furthest >= following:
        return "jumps beyond the end"
    if code in (LD | ABS | W, LD | ABS | H, LD | ABS | B) and k >= 0x80000000:
        return "loads at a negative offset, which only Linux gives a meaning"
    return None


def _verify_scratch(program: tuple[Instruction, ...]) -> None:
    """Make sure that no path reads a word that it has not written."""
    written_at = [_ALL_WORDS] * (len(program) + 1)
    written_at[0] = 0
    for number, (code, jt, jf, k) in enumerate(program):
        written = written_at[number]
        if code in _READS_SCRATCH and not written >> k & 1:
            _fail(program, number, f"reads word {k} of scratch memory, and nothing wrote it")
        if code in (ST, STX):
            written |= 1 << k
        distances: tuple[int, ...] = (0,)
        if code == JMP | JA:
            distances = (k,)
        elif code in _BRANCHES:
            distances = (jt, jf)
        elif code in (RET | K, RET | A):
            distances = ()
        for distance in distances:
            written_at[number + 1 + distance] &= written


def _fail(program: tuple[Instruction, ...], number: int, problem: str) -> None:
    raise ValueError(f"instruction {number} {program[number]}: {problem}")
