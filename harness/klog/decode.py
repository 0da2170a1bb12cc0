# SPDX-License-Identifier: GPL-2.0-only
"""Resolves ``function+0x12/0x34`` to file and line, with nm and addr2line.

``scripts/decode_stacktrace.sh`` of the kernel starts one addr2line per stack entry and takes the
first symbol of a name.  Here one nm and one addr2line serve all reports.  If several functions have
the same name, their size selects one, or the entry is left unchanged.

:func:`annotate` takes any :class:`Finder`, so this module does not decide where lines come from.
"""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec

from harness.errors import MachineError, UserError
from harness.proc.process import capture, find
from harness.proc.sandbox import Sandbox

_ENTRY = re.compile(
    r"(?P<name>[A-Za-z_][\w.$]*)\+(?P<offset>0x[0-9a-f]+)/(?P<size>0x[0-9a-f]+)(?! ?\[\w)(?! \()"
)
_EXACT = re.compile(r"(?:\b[RE]IP: (?:\d{4}:)?|\bpc : |\bat (?:\S+:\d+ )?)$")
"""Text before an entry that is the faulting instruction itself and not the one after a call.  On
arm64 the stack repeats this entry first."""
_TIMEOUT = 120.0


class Entry(msgspec.Struct, frozen=True):
    """``name+offset/size`` in a report."""

    name: str
    offset: int
    """Offset of the instruction; for a return address one less, which is inside the call."""
    size: int
    """Bytes to the next symbol, as kallsyms counts: including the padding after the function."""


class Finder(Protocol):
    """Finds the source lines of entries."""

    def __call__(self, entries: Collection[Entry], /) -> Mapping[Entry, str]:
        """Return ``file:line`` for the known entries, the innermost inlined function first."""
        ...


class Symbols(msgspec.Struct, frozen=True):
    """The functions of a linked kernel."""

    by_name: Mapping[str, tuple[int, ...]]
    sizes: Mapping[int, int]
    """Distance to the next symbol in bytes, which kallsyms prints after the slash."""

    def start(self, entry: Entry, *, exact: bool = False) -> int | None:
        """Return the start address of the function, None if it is ambiguous.

        Unless *exact*, the only function of a name may have another size than the entry.
        """
        starts = self.by_name.get(entry.name, ())
        same = [a for a in starts if self.sizes[a] == entry.size]
        if len(same) == 1 and entry.offset < entry.size:
            return same[0]
        if not exact and len(starts) == 1:
            return starts[0] if entry.offset < max(entry.size, self.sizes[starts[0]]) else None
        return None


def annotate(reports: Sequence[str], find: Finder) -> tuple[str, ...]:
    """Return *reports* with ``(file:line)`` after each ``function+offset/size`` that *find* knows.

    Frames of modules, and those that already have a place, stay unchanged.  *find* is called
    once for all reports, and not at all if there are no entries.
    """
    entries = {_entry(found) for report in reports for found in _ENTRY.finditer(report)}
    if not entries:
        return tuple(reports)
    places = find(entries)

    def add(found: re.Match[str]) -> str:
        place = places.get(_entry(found), "")
        return f"{found.group()} ({place})" if place else found.group()

    return tuple(_ENTRY.sub(add, report) for report in reports)


def decode(report: str, vmlinux: Path, *, tool_prefix: str = "", timeout: float = _TIMEOUT) -> str:
    """Return *report* with source lines from the debug information of *vmlinux*.

    Ambiguous names stay unchanged, and so does the whole report if the kernel has no debug
    information.  *tool_prefix* is the prefix of the binutils for a foreign architecture
    (``aarch64-linux-gnu-``), *timeout* is in seconds per tool.  Raises UserError without vmlinux,
    MachineError if a tool is missing or fails.
    """
    find = partial(find_in_vmlinux, vmlinux, tool_prefix=tool_prefix, timeout=timeout)
    return annotate([report], find)[0]


def find_in_vmlinux(
    vmlinux: Path,
    entries: Collection[Entry],
    *,
    tool_prefix: str = "",
    timeout: float = _TIMEOUT,
    sandbox: Sandbox | None = None,
) -> dict[Entry, str]:
    """Return ``file:line`` for *entries* of *vmlinux*; with the first argument bound, a
    :class:`Finder`.

    With a *sandbox*, for a stranger's file, the tools run in it.
    """
    symbols = read_symbols(vmlinux, tool_prefix, timeout, sandbox)
    starts = {entry: symbols.start(entry) for entry in entries}
    wanted = {e: start + e.offset for e, start in starts.items() if start is not None}
    places = find_lines(
        vmlinux, wanted.values(), tool_prefix=tool_prefix, timeout=timeout, sandbox=sandbox
    )
    return {entry: places.get(address, "") for entry, address in wanted.items()}


def read_symbols(
    vmlinux: Path,
    tool_prefix: str = "",
    timeout: float = _TIMEOUT,
    sandbox: Sandbox | None = None,
) -> Symbols:
    """Return the functions of *vmlinux*.

    Raises UserError if it is absent or stripped, MachineError if nm is missing or fails.
    """
    if not vmlinux.is_file():
        raise UserError("there is no vmlinux to decode with", where=str(vmlinux))
    names: defaultdict[str, list[int]] = defaultdict(list)
    starts: set[int] = set()
    for row in _run([f"{tool_prefix}nm", str(vmlinux)], "", timeout, sandbox).splitlines():
        parts = row.split()
        if len(parts) == 3 and parts[1] in "tTwW" and not parts[2].startswith(("$", ".L")):
            names[parts[2]].append(int(parts[0], 16))
            starts.add(int(parts[0], 16))
    order = sorted(starts)
    if not order:
        raise UserError("vmlinux has no symbols", where=str(vmlinux), hint="is it stripped?")
    sizes = {a: b - a for a, b in zip(order, [*order[1:], order[-1]], strict=True)}
    return Symbols({n: tuple(sorted(set(a))) for n, a in names.items()}, sizes)


def find_lines(
    file: Path,
    addresses: Iterable[int],
    *,
    section: str = "",
    tool_prefix: str = "",
    timeout: float = _TIMEOUT,
    sandbox: Sandbox | None = None,
) -> dict[int, str]:
    """Return ``file:line`` for *addresses* in an ELF file, the innermost inlined function first.

    In an object file, addresses count from the start of *section*.  File names are relative to
    the kernel tree.  Addresses without a line are left out.
    """
    wanted = sorted(set(addresses))
    if not wanted:
        return {}
    argv = [f"{tool_prefix}addr2line", "-a", "-i", "-e", str(file)]
    argv += ["-j", section] if section else []
    output = _run(argv, "".join(f"{a:#x}\n" for a in wanted), timeout, sandbox)
    groups: defaultdict[int, list[str]] = defaultdict(list)
    current = -1
    for row in output.splitlines():
        if re.fullmatch(r"0x[0-9a-f]+", row):
            current = int(row, 16)
        elif not row.startswith("??") and not row.endswith((":?", ":0")):
            groups[current].append(re.sub(r" \(discriminator \d+\)$", "", row))
    root = _root([p for places in groups.values() for p in places])
    return {a: ", ".join(_relative(p, root) for p in places) for a, places in groups.items()}


def _entry(found: re.Match[str]) -> Entry:
    offset = int(found["offset"], 16)
    line = found.string.rfind("\n", 0, found.start()) + 1
    exact = (
        offset == 0
        or _EXACT.search(found.string[line : found.start()])
        or f"pc : {found.group()}" in found.string
    )
    return Entry(found["name"], offset if exact else offset - 1, int(found["size"], 16))


def _root(places: list[str]) -> str:
    """Return the build's source directory: the longest common directory of the absolute places."""
    paths = [p.split("/") for p in places if p.startswith("/")]
    if not paths:
        return ""
    root: list[str] = []
    for level in zip(*(p[:-1] for p in paths), strict=False):
        if len(set(level)) > 1 or level[0] in _TOP:
            break
        root.append(level[0])
    return "/".join(root) + "/"


def _relative(place: str, root: str) -> str:
    """Return *place* relative to the kernel tree.

    A relative name begins with what -ffile-prefix-map made of the source or object directory, or
    of both, because gcc joins the name that it was given to its working directory.
    """
    if place.startswith("/"):
        return place.removeprefix(root)
    parts = posixpath.normpath(place).split("/")
    first = next((i for i, part in enumerate(parts[:-1]) if part in _TOP), 0)
    return "/".join(parts[first:])


_TOP = frozenset(
    {"arch", "block", "certs", "crypto", "drivers", "fs", "include", "init", "io_uring", "ipc"}
    | {"kernel", "lib", "mm", "net", "rust", "security", "sound", "usr", "virt"}
)


def _run(argv: list[str], text: str, timeout: float, sandbox: Sandbox | None) -> str:
    if find(argv[0]) is None:
        raise MachineError(
            f"{argv[0]} is not installed", hint="install binutils (for this architecture)"
        )
    done = capture(argv, stdin=text.encode(), limit_s=timeout, sandbox=sandbox)
    if not done.ok:
        why = done.stderr.decode(errors="replace")
        raise MachineError(f"{argv[0]} failed", where=argv[-1], why=why)
    return done.stdout.decode(errors="replace")
