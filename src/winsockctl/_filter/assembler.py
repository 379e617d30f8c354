"""From instructions with labels to instructions with distances."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Final, NewType

from winsockctl._filter.bpf import ALU, JA, JMP, LD, LDX, MISC, RET, TAX, TXA, Instruction

Label = NewType("Label", int)

_FURTHEST_BRANCH: Final = 255
"""jt and jf are one byte; the k of an unconditional jump is four."""


@dataclass(frozen=True, slots=True)
class _Line:
    code: int
    k: int
    targets: tuple[Label, ...] = ()
    """Where a jump goes; of a conditional one: if true, if false."""


class Assembler:
    """Collects a program; every jump in it goes forward.

    Lines that nothing leads to are left out.

    Attributes:
        accumulator: what A is known to hold at this point, in the user's terms; else ``None``.
        index: the same for X.
    """

    def __init__(self) -> None:
        self.accumulator: object = None
        self.index: object = None
        self._lines: list[_Line] = []
        self._places: dict[Label, int] = {}
        self._registers: dict[Label, tuple[object, object]] = {}
        self._labels = 0
        self._reachable = True

    def label(self) -> Label:
        """Return a label that has no place yet."""
        self._labels += 1
        return Label(self._labels)

    def place(self, label: Label) -> None:
        """Let the label stand for the next instruction; no jump to it may follow."""
        self._places[label] = len(self._lines)
        if self._reachable:
            self._remember(label)
        if label in self._registers:
            self.accumulator, self.index = self._registers[label]
            self._reachable = True

    def emit(self, code: int, k: int = 0) -> None:
        """Append an instruction that does not jump."""
        self._append(_Line(code, k))
        if code & 7 in (LD, ALU) or code == MISC | TXA:
            self.accumulator = None
        if code & 7 == LDX or code == MISC | TAX:
            self.index = None
        if code & 7 == RET:
            self._reachable = False

    def branch(self, code: int, k: int, yes: Label, no: Label) -> None:
        """Append a conditional jump."""
        self._append(_Line(code, k, (yes, no)))
        self._reachable = False

    def jump(self, target: Label) -> None:
        """Append an unconditional jump."""
        self._append(_Line(JMP | JA, 0, (target,)))
        self._reachable = False

    def assemble(self) -> tuple[Instruction, ...]:
        """Return the program; a branch that reaches too far goes by way of a jump behind it."""
        sizes = [0 if self._is_idle(number) else 1 for number in range(len(self._lines))]
        while True:
            starts = list(accumulate(sizes, initial=0))
            parts = [self._encode(number, starts) for number in range(len(sizes))]
            # Distances only grow, and with them the sizes: this comes to an end.
            sizes, previous = [len(part) for part in parts], sizes
            if sizes == previous:
                return tuple(chain.from_iterable(parts))

    def _is_idle(self, number: int) -> bool:
        line = self._lines[number]
        return line.code == JMP | JA and self._places[line.targets[0]] == number + 1

    def _encode(self, number: int, starts: list[int]) -> list[Instruction]:
        line = self._lines[number]
        if self._is_idle(number):
            return []
        if not line.targets:
            return [(line.code, 0, 0, line.k)]
        goals = [starts[self._places[target]] for target in line.targets]
        here = starts[number]
        if line.code == JMP | JA:
            return [(line.code, 0, 0, goals[0] - here - 1)]
        distances = []
        jumps: list[Instruction] = []
        for goal in goals:
            if goal - here - 1 > _FURTHEST_BRANCH:
                distances.append(len(jumps))
                jumps.append((JMP | JA, 0, 0, goal - (here + 1 + len(jumps)) - 1))
            else:
                distances.append(goal - here - 1)
        return [(line.code, distances[0], distances[1], line.k), *jumps]

    def _append(self, line: _Line) -> None:
        if self._reachable:
            self._lines.append(line)
            for target in line.targets:
                self._remember(target)

    def _remember(self, label: Label) -> None:
        accumulator, index = self._registers.get(label, (self.accumulator, self.index))
        self._registers[label] = (
            accumulator if accumulator == self.accumulator else None,
            index if index == self.index else None,
        )
