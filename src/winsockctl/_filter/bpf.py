"""The instruction set of classic BPF.

https://www.kernel.org/doc/html/latest/networking/filter.html and bpf(4) define it.
"""

from typing import Final, TypeAlias

Instruction: TypeAlias = tuple[int, int, int, int]
"""``(code, jt, jf, k)``: what to do, how many instructions to skip if true, if false, operand."""

# Classes.
LD: Final = 0x00
LDX: Final = 0x01
ST: Final = 0x02
STX: Final = 0x03
ALU: Final = 0x04
JMP: Final = 0x05
RET: Final = 0x06
MISC: Final = 0x07

# Sizes of a load, in bytes 4, 2, 1.
W: Final = 0x00
H: Final = 0x08
B: Final = 0x10

# Where a load takes its value from.
IMM: Final = 0x00
ABS: Final = 0x20
IND: Final = 0x40
MEM: Final = 0x60
LEN: Final = 0x80
MSH: Final = 0xA0

# The second operand of a calculation or jump, and of a return.
K: Final = 0x00
X: Final = 0x08
A: Final = 0x10

ADD: Final = 0x00
SUB: Final = 0x10
MUL: Final = 0x20
DIV: Final = 0x30
OR: Final = 0x40
AND: Final = 0x50
LSH: Final = 0x60
RSH: Final = 0x70
NEG: Final = 0x80
MOD: Final = 0x90
XOR: Final = 0xA0

JA: Final = 0x00
JEQ: Final = 0x10
JGT: Final = 0x20
JGE: Final = 0x30
JSET: Final = 0x40

TAX: Final = 0x00
TXA: Final = 0x80

MAXIMUM_INSTRUCTIONS: Final = 4096
SCRATCH_WORDS: Final = 16
ACCEPT: Final = 262144
"""How many bytes of an accepted datagram to keep: libpcap's largest snapshot, so all of them."""
