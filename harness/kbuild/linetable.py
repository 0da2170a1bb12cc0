# SPDX-License-Identifier: GPL-2.0-only
"""Which line each instruction of an ELF file comes from: its DWARF line table, versions 2 to 5.

``readelf --debug-dump=decodedline`` prints the same, but not to which section of an object file a
row belongs, and for a whole vmlinux it prints gigabytes.

The compiler marks in the table where a statement begins (``is_stmt``).  Code that it has moved away
from there keeps its line, without the mark.
"""

from __future__ import annotations

import posixpath
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from harness.errors import MachineError

_RELA, _COMPRESSED, _ZLIB = 4, 0x800, 1
_MAGIC = b"\x7fELF\x02\x01"
"""An ELF file of 64 bits, least byte first."""
_TABLE, _STRINGS, _LINE_STRINGS = ".debug_line", ".debug_str", ".debug_line_str"
_PATH, _DIRECTORY = 1, 2


class Row(msgspec.Struct, frozen=True):
    """Instructions that come from one line.

    In an object file addresses count from the beginning of ``section``; in a linked one they are
    those of the running program, and ``section`` is empty.
    """

    section: str
    start: int
    end: int
    """Behind the last byte; the same as ``start`` where the line has no code of its own here."""
    file: str
    line: int
    statement: bool
    """Whether a statement of the line begins here."""


def read_rows(path: Path, wanted: Callable[[str], bool]) -> list[Row]:
    """Return the rows of the ELF file *path* for the source files that are *wanted*.

    *wanted* gets a file's name as the compiler was given it, with ``..`` resolved.  Raises
    MachineError where the file is of another kind, or damaged.
    """
    try:
        elf = _Elf(path.read_bytes())
        table = elf.content(_TABLE)
        if table is None:
            raise MachineError("an object has no line numbers", where=str(path))
        strings = {name: elf.content(name) or b"" for name in (_STRINGS, _LINE_STRINGS)}
        targets = elf.relocate(table, _TABLE)
        rows: list[Row] = []
        at = 0
        while at < len(table):
            unit = _Unit(table, at, strings, targets)
            names = {number: name for number, name in unit.files.items() if wanted(name)}
            if names:
                rows += unit.rows(names, elf.section_name)
            at = unit.end
    except (struct.error, IndexError, ValueError, KeyError, zlib.error) as error:
        why = f"{type(error).__name__}: {error}"
        raise MachineError("line numbers cannot be read", where=str(path), why=why) from error
    return rows


class _Elf:
    """The sections of an ELF file."""

    def __init__(self, data: bytes) -> None:
        if data[: len(_MAGIC)] != _MAGIC:
            raise ValueError("it is no ELF file of 64 bits")
        self._data = data
        offset: int = struct.unpack_from("<Q", data, 40)[0]
        size, count, names = struct.unpack_from("<HHH", data, 58)
        self._sections = [
            struct.unpack_from("<IIQQQQIIQQ", data, offset + number * size)
            for number in range(count)
        ]
        strings = self._bytes(names)
        self._names = [_text(strings, section[0])[0] for section in self._sections]

    def _bytes(self, index: int) -> bytes:
        _, _, flags, _, offset, size, *_ = self._sections[index]
        content = self._data[offset : offset + size]
        if flags & _COMPRESSED:
            kind = struct.unpack_from("<I", content)[0]
            if kind != _ZLIB:
                raise ValueError(f"debug information is compressed in an unknown way, {kind}")
            return zlib.decompress(content[24:])
        return content

    def content(self, name: str) -> bytearray | None:
        """Return what section *name* holds, None if there is none."""
        return bytearray(self._bytes(self._names.index(name))) if name in self._names else None

    def section_name(self, index: int) -> str:
        """Return the name of a section; empty for index 0, that of addresses in a linked file."""
        return self._names[index]

    def relocate(self, table: bytearray, name: str) -> dict[int, int]:
        """Fill in the addends that *table* of an object file lacks.

        Returns for each offset in it the index of the section that the value there counts from.
        """
        if f".rela{name}" not in self._names:
            return {}
        number = self._names.index(f".rela{name}")
        symbols = self._bytes(self._sections[number][6])
        targets: dict[int, int] = {}
        for offset, info, addend in struct.iter_unpack("<QQq", self._bytes(number)):
            symbol = 24 * (info >> 32)
            section = struct.unpack_from("<H", symbols, symbol + 6)[0]
            value = struct.unpack_from("<Q", symbols, symbol + 8)[0] + addend
            # Addresses are the only ones of 8 bytes; offsets into strings have 4.
            wide = self._names[section] not in (_STRINGS, _LINE_STRINGS)
            struct.pack_into("<Q" if wide else "<I", table, offset, value)
            targets[offset] = section
        return targets


def _text(data: bytes | bytearray, at: int) -> tuple[str, int]:
    """Return the string that begins at *at*, and what is behind it."""
    end = data.index(0, at)
    return data[at:end].decode(errors="surrogateescape"), end + 1


class _Reader:
    """Reads numbers one after the other."""

    def __init__(self, data: bytes | bytearray, at: int) -> None:
        self.data = data
        self.at = at

    def fixed(self, size: int) -> int:
        value = int.from_bytes(self.data[self.at : self.at + size], "little")
        if self.at + size > len(self.data):
            raise ValueError("the table ends too early")
        self.at += size
        return value

    def signed_byte(self) -> int:
        value = self.fixed(1)
        return value - 256 if value > 127 else value

    def leb(self, *, signed: bool = False) -> int:
        value = shift = 0
        while True:
            byte = self.fixed(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
        return value - (1 << shift) if signed and byte & 0x40 else value

    def text(self) -> str:
        value, self.at = _text(self.data, self.at)
        return value


class _Unit:
    """The part of the table that one compilation has made."""

    def __init__(
        self,
        table: bytearray,
        at: int,
        strings: dict[str, bytearray | bytes],
        targets: dict[int, int],
    ) -> None:
        self._strings = strings
        self._targets = targets
        read = self._read = _Reader(table, at)
        length = read.fixed(4)
        self._wide = 8 if length == 0xFFFFFFFF else 4
        if self._wide == 8:
            length = read.fixed(8)
        self.end = read.at + length
        self._version = read.fixed(2)
        if not 2 <= self._version <= 5:
            raise ValueError(f"a line table of version {self._version}")
        if self._version >= 5:
            read.fixed(2)  # size of addresses and of segment selectors
        header = read.fixed(self._wide)
        self._program = read.at + header
        self._unit_length = read.fixed(1)
        if self._version >= 4:
            read.fixed(1)  # only VLIW machines have several operations in one instruction
        self._default_statement = bool(read.fixed(1))
        self._line_base = read.signed_byte()
        self._line_range = read.fixed(1)
        self._opcode_base = read.fixed(1)
        self._operands = [read.fixed(1) for _ in range(self._opcode_base - 1)]
        self.files = self._new_names() if self._version >= 5 else self._old_names()

    def _old_names(self) -> dict[int, str]:
        """Return the files of versions 2 to 4, which count from 1."""
        directories = [""]
        while name := self._read.text():
            directories.append(name)
        files: dict[int, str] = {}
        while name := self._read.text():
            directory = directories[self._read.leb()]
            self._read.leb()  # time
            self._read.leb()  # size
            files[len(files) + 1] = _join(directory, name)
        return files

    def _new_names(self) -> dict[int, str]:
        """Return the files of version 5, which count from 0."""
        directories = [str(row[_PATH]) for row in self._entries()]
        return {
            number: _join(directories[int(row.get(_DIRECTORY, 0))], str(row[_PATH]))
            for number, row in enumerate(self._entries())
        }

    def _entries(self) -> list[dict[int, str | int]]:
        read = self._read
        columns = [(read.leb(), read.leb()) for _ in range(read.fixed(1))]
        return [{what: self._value(form) for what, form in columns} for _ in range(read.leb())]

    def _value(self, form: int) -> str | int:
        read = self._read
        match form:
            case 0x08:
                return read.text()
            case 0x0E:
                return _text(self._strings[_STRINGS], read.fixed(self._wide))[0]
            case 0x1F:
                return _text(self._strings[_LINE_STRINGS], read.fixed(self._wide))[0]
            case 0x0B | 0x05 | 0x06 | 0x07 | 0x1E:
                return read.fixed({0x0B: 1, 0x05: 2, 0x06: 4, 0x07: 8, 0x1E: 16}[form])
            case 0x0F:
                return read.leb()
            case _:
                raise ValueError(f"a file name in the unknown form {form:#x}")

    def rows(self, names: dict[int, str], section_name: Callable[[int], str]) -> Iterator[Row]:
        """Yield the rows of the files in *names*, by the numbers that they have here."""
        before: tuple[int, int, int, bool] | None = None
        section = ""
        for target, address, file, line, statement, last in self._run():
            if before is not None and before[1] in names and before[2]:
                start, number, at_line, mark = before
                yield Row(section, start, address, names[number], at_line, mark)
            section = section_name(target)
            before = None if last else (address, file, line, statement)

    def _run(self) -> Iterator[tuple[int, int, int, int, bool, bool]]:
        """Run the line number program (DWARF 5, section 6.2.5).

        Yields section, address, file, line, whether a statement begins, whether a sequence ends.
        """
        read = self._read
        read.at = self._program
        start = (0, 0, 1, 1, self._default_statement)
        section, address, file, line, statement = start
        while read.at < self.end:
            opcode = read.fixed(1)
            if opcode >= self._opcode_base:
                step = opcode - self._opcode_base
                address += step // self._line_range * self._unit_length
                line += self._line_base + step % self._line_range
                yield section, address, file, line, statement, False
            elif opcode == 0:
                size = read.leb()
                behind = read.at + size
                match read.fixed(1):
                    case 1:
                        yield section, address, file, line, statement, True
                        section, address, file, line, statement = start
                    case 2:
                        section = self._targets.get(read.at, 0)
                        address = read.fixed(size - 1)
                read.at = behind
            elif opcode == 1:
                yield section, address, file, line, statement, False
            elif opcode == 2:
                address += read.leb() * self._unit_length
            elif opcode == 3:
                line += read.leb(signed=True)
            elif opcode == 4:
                file = read.leb()
            elif opcode == 6:
                statement = not statement
            elif opcode == 8:
                address += (255 - self._opcode_base) // self._line_range * self._unit_length
            elif opcode == 9:
                address += read.fixed(2)
            else:
                for _ in range(self._operands[opcode - 1]):
                    read.leb()


def _join(directory: str, name: str) -> str:
    return posixpath.normpath(posixpath.join(directory, name))
