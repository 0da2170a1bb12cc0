# SPDX-License-Identifier: GPL-2.0-only
"""Checks whether a file of a suite can be a program of a guest, and why not."""

from __future__ import annotations

import os
import re
import stat
import struct
from pathlib import Path

_HEAD = 4096
_SPECIAL = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}
_ELF = b"\x7fELF"
_ELF_HEADER = struct.Struct("<4sBB10xHH")
_MACHINES = {3: "i386", 40: "Arm", 62: "x86-64", 183: "AArch64", 243: "RISC-V"}
_OURS = (3, 62)
"""What an x86-64 kernel executes."""
_PROGRAM = (2, 3)
"""ET_EXEC and ET_DYN."""


def real(path: Path) -> Path:
    """Return *path* without links; unlike Path.resolve() also where a link leads to itself."""
    return Path(os.path.realpath(path))


def why_no_file(path: Path) -> str:
    """Return why there is no readable regular file at *path*, as "is a FIFO"; empty if there is."""
    try:
        status = path.stat()
    except FileNotFoundError:
        if path.is_symlink():
            return f"is a link that leads to nothing: {path.readlink()}"
        # What is not UTF-8 has come through make's output as the replacement character.
        return "cannot be found: its name is not UTF-8" if "\ufffd" in str(path) else "is not there"
    except OSError as error:
        return f"cannot be reached: {error.strerror}"
    if not stat.S_ISREG(status.st_mode):
        return f"is {_SPECIAL.get(stat.S_IFMT(status.st_mode), 'no regular file')}"
    try:
        with path.open("rb"):
            return ""
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def why_no_program(path: Path, *, made: bool = False) -> str:
    """Return why the file at *path* cannot be run in a guest; empty if it can.

    A program is an ELF program for the guest's processor, or a script.  What was *made* needs a
    line that names its interpreter; a text without one, the shell runs.
    """
    if reason := why_no_file(path):
        return reason
    head = _head(path)
    if not head:
        return "is empty"
    if head.startswith(_ELF):
        return _why_no_elf_program(head) or (
            "" if os.access(path, os.X_OK) else "is not executable"
        )
    if head.startswith(b"#!") or (not made and b"\0" not in head):
        return ""
    return "is neither an ELF program nor a script"


def is_elf(path: Path) -> bool:
    """Whether the file at *path* is in ELF format."""
    return _head(path).startswith(_ELF)


def interpreter(script: Path) -> str:
    """Return the interpreter of *script* from its first line: ``sh``, ``python3``, …

    A name stands for a program where programs usually are.  A script without such a line is run by
    the shell, as execvp(3) and the kernel's own runner do.
    """
    first = _head(script).partition(b"\n")[0].decode(errors="replace")
    # As the kernel does it: a carriage return is a part of the name.
    words = re.split(r"[ \t]+", first[2:].strip(" \t")) if first.startswith("#!") else []
    if words and words[0].endswith("/env"):
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    if not words or not words[0]:
        return "sh"
    path = Path(words[0])
    return path.name if str(path.parent) in (".", "/bin", "/usr/bin") else words[0]


def _why_no_elf_program(head: bytes) -> str:
    if len(head) < _ELF_HEADER.size:
        return "is a damaged ELF file"
    _, _, order, kind, machine = _ELF_HEADER.unpack_from(head)
    if order != 1 or machine not in _OURS:
        name = _MACHINES.get(machine, f"machine {machine}") if order == 1 else "another byte order"
        return f"is an ELF file for {name}, and the guest's processor is an x86-64"
    return "" if kind in _PROGRAM else "is an ELF file, but no program"


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)
