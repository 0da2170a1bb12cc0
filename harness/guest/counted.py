# SPDX-License-Identifier: GPL-2.0-only
"""The plugin with which QEMU counts a test's instructions; ``plugin/counted.c`` is it."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.guest.machine import escaped
from harness.model.cost import USER_SPACE, Counts, Symbols

SOURCE = Path(__file__).with_name("plugin") / "counted.c"

_MAGIC = 0x31746E756F436B48
_MAX_TASKS = 8192
_MAX_NODES = 1 << 19
_HEADER = struct.Struct("<QIIIIIIQQ")
_GO_AT = 8
_TASK = struct.Struct("<QQQII")
_NODE = struct.Struct("<QQII")
_SYMBOL = struct.Struct("=QQ")
_NODES = _HEADER.size + _MAX_TASKS * _TASK.size
SIZE = _NODES + _MAX_NODES * _NODE.size
"""Bytes of a file of counts; most of them are a hole."""
_AGENT, _FIRST = 1, 2
_ENDED = 2
_USER, _UNKNOWN = 0xFFFFFFFF, 0xFFFFFFFE
UNKNOWN = "[unknown]"

_ENTRIES = ("asm_exc_", "asm_sysvec_")
_TABLES = ("irq_entries_start", "spurious_entries_start")
SWITCH = "__switch_to_asm"
"""The function in which the plugin sees which task runs next."""


def encode(symbols: Symbols) -> bytes:
    """Return the plugin's file of *symbols*."""
    return b"".join(
        _SYMBOL.pack(address, _entry(name))
        for address, name in zip(symbols.addresses, symbols.names, strict=True)
    )


def _entry(name: str) -> int:
    """Return how interrupts and exceptions begin there: 0 for not at all."""
    return 2 if name in _TABLES else int(name.startswith(_ENTRIES))


def plugin_argv(
    plugin: Path, out: Path, switch: tuple[int, int], symbols: Path | None
) -> tuple[str, ...]:
    """Return what QEMU's command line needs to count into *out*, a file of :data:`SIZE` bytes.

    *switch* is the range of :data:`SWITCH`.  With *symbols*, calls are followed.
    """
    parts = [f"file={escaped(str(plugin))}", f"out={escaped(str(out))}"]
    parts.append(f"switch={switch[0]:x}-{switch[1]:x}")
    if symbols:
        parts.append(f"symbols={escaped(str(symbols))}")
    return "-plugin", ",".join(parts)


def begin(out: Path) -> None:
    """Make an empty file of counts."""
    with out.open("wb") as file:
        file.truncate(SIZE)


def let_go(out: Path) -> None:
    """Let the guest go that is counted into *out*, and stands still until then."""
    with out.open("r+b") as file:
        file.seek(_GO_AT)
        file.write((1).to_bytes(4, sys.byteorder))


def read(out: Path, names: Sequence[str] = ()) -> Counts:
    """Return what was counted into *out*; *names* are those of the symbols, if calls were followed.

    Raises ValueError with the reason where it is not the count of a whole test.
    """
    with out.open("rb") as file:
        magic, _, state, _, full, tasks, nodes, _, lost = _HEADER.unpack(file.read(_HEADER.size))
        if magic != _MAGIC:
            raise ValueError("QEMU's plugin did not count")
        if state != _ENDED:
            raise ValueError("the test did not begin" if not state else "the test did not end")
        if full and tasks >= _MAX_TASKS:
            raise ValueError(f"the guest had more than {_MAX_TASKS} tasks")
        table = list(_TASK.iter_unpack(file.read(tasks * _TASK.size)))
        file.seek(_NODES)
        tree = list(_NODE.iter_unpack(file.read(nodes * _NODE.size))) if names else []
    mine = [each for each in table if _is_test(each[1], each[4])]
    others = [each for each in table if not _is_test(each[1], each[4]) and not each[4] & _AGENT]
    return Counts(
        user=sum(each[1] for each in mine),
        kernel=sum(each[2] for each in mine),
        elsewhere=sum(each[1] + each[2] for each in others),
        stacks=tuple(sorted(_stacks(tree, {each[3] for each in mine}, names).items())),
        calls=_calls(tree, {each[3] for each in mine}, names),
        lost=lost,
    )


def _is_test(user: int, flags: int) -> bool:
    """Whether a task is the test's: it has run in user space, as no thread of the kernel does."""
    return not flags & _AGENT and bool(user or flags & _FIRST)


def _stacks(
    tree: Sequence[tuple[int, int, int, int]], roots: Iterable[int], names: Sequence[str]
) -> dict[tuple[str, ...], int]:
    """Return the instructions of each chain of calls below *roots*; of all tasks together."""
    chosen = set(roots) - {0}
    paths: dict[int, tuple[str, ...]] = {}
    found: dict[tuple[str, ...], int] = {}
    for number, (count, _, parent, function) in enumerate(tree):
        if number in chosen:
            paths[number] = ()
        elif parent in paths:
            paths[number] = (*paths[parent], _name(function, names))
        else:
            continue
        if count:
            path = paths[number] or (USER_SPACE,)
            found[path] = found.get(path, 0) + count
    return found


def _calls(
    tree: Sequence[tuple[int, int, int, int]], roots: Iterable[int], names: Sequence[str]
) -> dict[str, int]:
    """Return how often each function was entered below *roots*."""
    below = set(roots) - {0}
    found: dict[str, int] = {}
    for number, (_, calls, parent, function) in enumerate(tree):
        if parent in below:
            below.add(number)
            if calls:
                name = _name(function, names)
                found[name] = found.get(name, 0) + calls
    return found


def _name(function: int, names: Sequence[str]) -> str:
    if function == _USER:
        return USER_SPACE
    return names[function] if function < len(names) else UNKNOWN
