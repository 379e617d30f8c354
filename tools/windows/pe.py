"""What a Windows DLL says about itself: its machine, what it imports and what it exports.

https://learn.microsoft.com/en-us/windows/win32/debug/pe-format
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

MACHINES = {0x014C: "i386", 0x8664: "amd64", 0xAA64: "arm64"}
PE32_PLUS = 0x20B
SCN_MEM_EXECUTE = 0x20000000


@dataclass(frozen=True)
class Section:
    """Where a piece of the file lies in memory, relative to the image's base."""

    address: int
    size: int
    offset: int
    executable: bool


@dataclass(frozen=True)
class Image:
    """A DLL's tables; ``data`` are the exports that are no functions."""

    machine: str
    imports: frozenset[str]  # names of DLLs, lower case
    functions: frozenset[str]
    data: frozenset[str]

    @classmethod
    def parse(cls, file: bytes) -> "Image":
        """Read the tables of the DLL whose bytes these are."""
        return _Reader(file).image()


class _Reader:
    def __init__(self, file: bytes) -> None:
        self._file = file
        (header,) = struct.unpack_from("<I", file, 0x3C)
        if file[header : header + 4] != b"PE\0\0":
            raise ValueError("no PE file")
        machine, section_count, optional_size = struct.unpack_from("<HH12xH", file, header + 4)
        self._machine = MACHINES[machine]
        optional = header + 24
        (magic,) = struct.unpack_from("<H", file, optional)
        directories = optional + (112 if magic == PE32_PLUS else 96)
        self._exports, _, self._imports = struct.unpack_from("<3I", file, directories)
        self._sections = []
        for position in range(section_count):
            size, address, raw_size, offset, flags = struct.unpack_from(
                "<8x4I12xI", file, optional + optional_size + 40 * position
            )
            executable = bool(flags & SCN_MEM_EXECUTE)
            self._sections.append(Section(address, max(size, raw_size), offset, executable))

    def _section(self, address: int) -> Section:
        for section in self._sections:
            if 0 <= address - section.address < section.size:
                return section
        raise ValueError(f"address {address:#x} lies in no section")

    def _offset(self, address: int) -> int:
        section = self._section(address)
        return section.offset + address - section.address

    def _text(self, address: int) -> str:
        start = self._offset(address)
        return self._file[start : self._file.index(0, start)].decode()

    def _numbers(self, address: int, count: int, kind: str) -> tuple[int, ...]:
        return struct.unpack_from(f"<{count}{kind}", self._file, self._offset(address))

    def _imported(self) -> Iterator[str]:
        position = self._imports
        while position:
            *_, name, table = self._numbers(position, 5, "I")
            if table == 0:
                return
            yield self._text(name).lower()
            position += 20

    def _exported(self) -> Iterator[tuple[str, int]]:
        if self._exports == 0:
            return
        _, function_count, name_count, functions, names, ordinals = struct.unpack_from(
            "<16x6I", self._file, self._offset(self._exports)
        )
        addresses = self._numbers(functions, function_count, "I")
        for name, ordinal in zip(
            self._numbers(names, name_count, "I"),
            self._numbers(ordinals, name_count, "H"),
            strict=True,
        ):
            yield self._text(name), addresses[ordinal]

    def image(self) -> Image:
        exports = dict(self._exported())
        functions = {name for name, where in exports.items() if self._section(where).executable}
        return Image(
            machine=self._machine,
            imports=frozenset(self._imported()),
            functions=frozenset(functions),
            data=frozenset(exports.keys() - functions),
        )
