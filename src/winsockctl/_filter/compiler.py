"""From the syntax tree to classic BPF."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, TypeAlias, assert_never

from winsockctl._filter.assembler import Assembler, Label
from winsockctl._filter.bpf import (
    ABS,
    ACCEPT,
    ADD,
    ALU,
    AND,
    DIV,
    IMM,
    IND,
    JEQ,
    JGE,
    JGT,
    JMP,
    JSET,
    LD,
    LDX,
    LEN,
    LSH,
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
    SUB,
    TAX,
    XOR,
    B,
    H,
    Instruction,
    K,
    W,
    X,
)
from winsockctl._filter.tree import (
    And,
    Calculation,
    Comparison,
    Constant,
    Field,
    Length,
    Load,
    Match,
    Negation,
    Not,
    Number,
    Or,
    Size,
    Test,
)

_Facts: TypeAlias = frozenset[Match]
"""Tests that hold, because the way here leads through them."""

_SIZES: Final[dict[Size, int]] = {1: B, 2: H, 4: W}
_OPERATIONS: Final = {
    "+": ADD,
    "-": SUB,
    "*": MUL,
    "/": DIV,
    "%": MOD,
    "&": AND,
    "|": OR,
    "^": XOR,
    "<<": LSH,
    ">>": RSH,
}
# The jump, and whether it has to be taken when the comparison does not hold.
_JUMPS: Final = {
    "=": (JEQ, False),
    "!=": (JEQ, True),
    ">": (JGT, False),
    "<=": (JGT, True),
    ">=": (JGE, False),
    "<": (JGE, True),
}
_SIGN_BIT: Final = 0x80000000
_IPV4_HEADER_LENGTH: Final = "length of the IPv4 header"
_REGISTER_BITS: Final = 32


def compile_test(test: Test) -> tuple[Instruction, ...]:
    """Return a program that accepts the datagrams for which the test holds.

    Raises:
        ValueError: if a number in it needs more scratch memory than there is.
    """
    return _Compiler().compile(test)


class _Compiler:
    def __init__(self) -> None:
        self._code = Assembler()
        self._refused = self._code.label()
        self._scratch_used = 0

    def compile(self, test: Test) -> tuple[Instruction, ...]:
        accepted = self._code.label()
        self._test(test, accepted, self._refused, frozenset())
        self._code.place(accepted)
        self._code.emit(RET | K, ACCEPT)
        self._code.place(self._refused)
        self._code.emit(RET | K, 0)
        return self._code.assemble()

    def _test(self, test: Test, yes: Label, no: Label, known: _Facts) -> tuple[_Facts, _Facts]:
        """Go to ``yes`` or ``no``; return what is known there."""
        match test:
            case Match():
                return self._match(test, yes, no, known)
            case Comparison():
                self._comparison(test, yes, no)
                return known, known
            case Not(inner):
                if_false, if_true = self._test(inner, no, yes, known)
                return if_true, if_false
            case And(tests):
                return self._all(tests, yes, no, known)
            case Or(tests):
                none_holds = tuple(Not(inner) for inner in tests)
                if_false, if_true = self._all(none_holds, no, yes, known)
                return if_true, if_false
            case _:
                assert_never(test)

    def _all(
        self, tests: tuple[Test, ...], yes: Label, no: Label, known: _Facts
    ) -> tuple[_Facts, _Facts]:
        if not tests:
            self._code.jump(yes)
            return known, known
        if_false: list[_Facts] = []
        for test in tests[:-1]:
            following = self._code.label()
            known, otherwise = self._test(test, following, no, known)
            if_false.append(otherwise)
            self._code.place(following)
        known, otherwise = self._test(tests[-1], yes, no, known)
        return known, otherwise.intersection(*if_false)

    def _match(self, test: Match, yes: Label, no: Label, known: _Facts) -> tuple[_Facts, _Facts]:
        code = self._code
        verdict = _decide(test, known)
        if verdict is not None:
            code.jump(yes if verdict else no)
            return known, known
        field = test.field
        largest = (1 << 8 * field.size) - 1
        if test.ranges == ((0, 0),) and field.mask < largest:
            self._load_field(replace(field, mask=largest))
            code.branch(JMP | JSET | K, field.mask, no, yes)
        else:
            self._load_field(field)
            for number, (first, last) in enumerate(test.ranges, 1):
                following = no if number == len(test.ranges) else code.label()
                self._branch_on_range(first, last, largest, yes, following)
                if following is not no:
                    code.place(following)
        return known | {test}, known

    def _branch_on_range(self, first: int, last: int, largest: int, yes: Label, no: Label) -> None:
        code = self._code
        if first == last:
            code.branch(JMP | JEQ | K, first, yes, no)
        elif last >= largest:
            code.branch(JMP | JGE | K, first, yes, no)
        else:
            high_enough = code.label()
            code.branch(JMP | JGE | K, first, high_enough, no)
            code.place(high_enough)
            code.branch(JMP | JGT | K, last, no, yes)

    def _load_field(self, field: Field) -> None:
        code = self._code
        largest = (1 << 8 * field.size) - 1
        if code.accumulator == field:
            return
        whole = replace(field, mask=largest)
        if code.accumulator != whole:
            if field.in_ipv4_payload:
                self._load_header_length()
            mode = IND if field.in_ipv4_payload else ABS
            code.emit(LD | mode | _SIZES[field.size], field.offset)
            code.accumulator = whole
        if field.mask & largest != largest:
            code.emit(ALU | AND | K, field.mask)
            code.accumulator = field

    def _load_header_length(self) -> None:
        if self._code.index != _IPV4_HEADER_LENGTH:
            self._code.emit(LDX | B | MSH, 0)
            self._code.index = _IPV4_HEADER_LENGTH

    def _comparison(self, test: Comparison, yes: Label, no: Label) -> None:
        jump, swapped = _JUMPS[test.comparator]
        if swapped:
            yes, no = no, yes
        if isinstance(test.right, Constant):
            self._number(test.left)
            self._code.branch(JMP | jump | K, test.right.value, yes, no)
        else:
            self._numbers(test.left, test.right)
            self._code.branch(JMP | jump | X, 0, yes, no)

    def _number(self, number: Number) -> None:
        """Compute into A; X is lost."""
        code = self._code
        match number:
            case Constant(value):
                code.emit(LD | IMM, value)
            case Length():
                code.emit(LD | W | LEN)
            case Negation(operand):
                self._number(operand)
                code.emit(ALU | NEG)
            case Calculation("<<" | ">>", left, right) if not isinstance(right, Constant):
                self._shift(_OPERATIONS[number.operator], left, right)
            case Calculation(operator, left, Constant(value)):
                self._number(left)
                code.emit(ALU | _OPERATIONS[operator] | K, value)
            case Calculation(operator, left, right):
                self._numbers(left, right)
                code.emit(ALU | _OPERATIONS[operator] | X)
            case Load():
                self._load(number)
            case _:
                assert_never(number)

    def _numbers(self, left: Number, right: Number) -> None:
        """Compute the left number into A and the right one into X."""
        word = self._keep(left)
        self._number(right)
        self._code.emit(MISC | TAX)
        self._restore(word)

    def _keep(self, number: Number) -> int:
        self._number(number)
        word = self._scratch_used
        if word == SCRATCH_WORDS:
            raise ValueError("a number in it needs more than 16 intermediate results")
        self._scratch_used += 1
        self._code.emit(ST, word)
        return word

    def _restore(self, word: int) -> None:
        self._code.emit(LD | MEM, word)
        self._scratch_used -= 1

    def _shift(self, operation: int, left: Number, right: Number) -> None:
        # Machines differ in what a shift by 32 or more leaves; libpcap's leaves 0.
        code = self._code
        within, beyond, done = code.label(), code.label(), code.label()
        word = self._keep(left)
        self._number(right)
        code.branch(JMP | JGE | K, _REGISTER_BITS, beyond, within)
        code.place(within)
        code.emit(MISC | TAX)
        self._restore(word)
        code.emit(ALU | operation | X)
        code.jump(done)
        code.place(beyond)
        code.emit(LD | IMM, 0)
        code.place(done)

    def _load(self, load: Load) -> None:
        code, header = self._code, load.header
        if isinstance(load.index, Constant):
            offset = header.offset + load.index.value
            if offset < _SIGN_BIT:
                field = Field(offset, load.size, in_ipv4_payload=header.in_ipv4_payload)
                self._load_field(field)
                return
        self._number(load.index)
        if header.in_ipv4_payload:
            self._load_header_length()
            code.emit(ALU | ADD | X)
        # No datagram is this long, and to Linux such offsets may mean other things than its bytes.
        near_enough = code.label()
        code.branch(JMP | JGE | K, _SIGN_BIT, self._refused, near_enough)
        code.place(near_enough)
        code.emit(MISC | TAX)
        code.emit(LD | IND | _SIZES[load.size], header.offset)


def _decide(test: Match, known: _Facts) -> bool | None:
    """Whether the test holds, if what is known tells."""
    if any(test.covers(fact) for fact in known):
        return True
    if any(test.excludes(fact) for fact in known):
        return False
    return None
