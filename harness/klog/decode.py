# SPDX-License-Identifier: GPL-2.0-only
"""From ``function+0x12/0x34`` to file and line, with nm and addr2line.

``scripts/decode_stacktrace.sh`` of the kernel starts one addr2line per stack entry and takes the
first symbol of a name; here one nm and one addr2line serve a whole report, and a name that several
functions have is told apart by its size or left alone.
"""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import MachineError, UserError

_ENTRY = re.compile(
    r"(?P<name>[A-Za-z_][\w.$]*)\+(?P<offset>0x[0-9a-f]+)/(?P<size>0x[0-9a-f]+)(?! ?\[\w)(?! \()"
)
_EXACT = re.compile(r"(?:\b[RE]IP: (?:\d{4}:)?|\bpc : |\bat (?:\S+:\d+ )?)$")
"""Before an entry: it is the faulting instruction itself and not the one after a call."""
_TIMEOUT = 120.0


@dataclass(frozen=True, slots=True)
class _Symbols:
    by_name: Mapping[str, tuple[int, ...]]
    sizes: Mapping[int, int]
    """Distance to the next symbol, which is what kallsyms prints behind the slash."""

    def address(self, name: str, offset: int, size: int) -> int | None:
        starts = self.by_name.get(name, ())
        exact = [a for a in starts if self.sizes[a] == size]
        if len(exact) == 1:
            return exact[0] + offset
        if len(starts) == 1 and offset < max(size, self.sizes[starts[0]]):
            return starts[0] + offset
        return None


def decode(report: str, vmlinux: Path, *, tool_prefix: str = "", timeout: float = _TIMEOUT) -> str:
    """Return *report* with ``(file:line)`` behind every ``function+offset/size`` of *vmlinux*.

    Inlined functions give several places, the innermost first.  A return address is looked up one
    byte earlier, inside the call.  Frames of modules, and names that stay ambiguous, are left as
    they are; so is everything when the kernel has no debug information.  *tool_prefix* is that of
    the binutils for a foreign architecture (``aarch64-linux-gnu-``), *timeout* is in seconds per
    tool.  Raises UserError without vmlinux, MachineError when a tool is missing or fails.
    """
    if not vmlinux.is_file():
        raise UserError("there is no vmlinux to decode with", where=str(vmlinux))
    entries = list(_ENTRY.finditer(report))
    if not entries:
        return report
    symbols = _symbols(vmlinux, tool_prefix, timeout)
    wanted: dict[int, int] = {}
    for entry in entries:
        offset = int(entry["offset"], 16)
        address = symbols.address(entry["name"], offset, int(entry["size"], 16))
        if address is not None:
            line = report.rfind("\n", 0, entry.start()) + 1
            exact = offset == 0 or _EXACT.search(report[line : entry.start()])
            wanted[entry.start()] = address if exact else address - 1
    places = _places(sorted(set(wanted.values())), vmlinux, tool_prefix, timeout)

    def add(entry: re.Match[str]) -> str:
        place = places.get(wanted.get(entry.start(), -1), "")
        return f"{entry.group()} ({place})" if place else entry.group()

    return _ENTRY.sub(add, report)


def _symbols(vmlinux: Path, prefix: str, timeout: float) -> _Symbols:
    names: defaultdict[str, list[int]] = defaultdict(list)
    starts: set[int] = set()
    for row in _run([f"{prefix}nm", str(vmlinux)], "", timeout).splitlines():
        parts = row.split()
        if len(parts) == 3 and parts[1] in "tTwW" and not parts[2].startswith(("$", ".L")):
            names[parts[2]].append(int(parts[0], 16))
            starts.add(int(parts[0], 16))
    order = sorted(starts)
    if not order:
        raise UserError("vmlinux has no symbols", where=str(vmlinux), hint="is it stripped?")
    sizes = {a: b - a for a, b in zip(order, [*order[1:], order[-1]], strict=True)}
    return _Symbols({n: tuple(sorted(set(a))) for n, a in names.items()}, sizes)


def _places(addresses: list[int], vmlinux: Path, prefix: str, timeout: float) -> dict[int, str]:
    if not addresses:
        return {}
    argv = [f"{prefix}addr2line", "-a", "-i", "-e", str(vmlinux)]
    output = _run(argv, "".join(f"{a:#x}\n" for a in addresses), timeout)
    groups: defaultdict[int, list[str]] = defaultdict(list)
    current = -1
    for row in output.splitlines():
        if re.fullmatch(r"0x[0-9a-f]+", row):
            current = int(row, 16)
        elif not row.startswith("??") and not row.endswith(":?"):
            groups[current].append(re.sub(r" \(discriminator \d+\)$", "", row))
    root = _root([p for places in groups.values() for p in places])
    return {a: ", ".join(p.removeprefix(root) for p in places) for a, places in groups.items()}


def _root(places: list[str]) -> str:
    """Return the build's source directory: the longest directory all absolute places share."""
    paths = [p.split("/") for p in places if p.startswith("/")]
    if not paths:
        return ""
    root: list[str] = []
    for level in zip(*(p[:-1] for p in paths), strict=False):
        if len(set(level)) > 1 or level[0] in _TOP:
            break
        root.append(level[0])
    return "/".join(root) + "/"


_TOP = frozenset(
    {"arch", "block", "certs", "crypto", "drivers", "fs", "include", "init", "io_uring", "ipc"}
    | {"kernel", "lib", "mm", "net", "rust", "security", "sound", "usr", "virt"}
)


def _run(argv: list[str], text: str, timeout: float) -> str:
    try:
        done = subprocess.run(
            argv, input=text, capture_output=True, text=True, timeout=timeout, check=True
        )
    except FileNotFoundError as error:
        raise MachineError(
            f"{argv[0]} is not installed", hint="install binutils (for this architecture)"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise MachineError(f"{argv[0]} took longer than {timeout:g} s", where=argv[-1]) from error
    except subprocess.CalledProcessError as error:
        raise MachineError(f"{argv[0]} failed", where=argv[-1], why=error.stderr) from error
    return done.stdout
