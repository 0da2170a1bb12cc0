# SPDX-License-Identifier: GPL-2.0-only
"""The plugin with which QEMU counts a test's instructions; ``plugin/counted.c`` is it."""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from harness.guest.machine import escaped
from harness.model.cost import USER_SPACE, Counts, Symbols
from harness.model.races import Stand

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
_EVENT = struct.Struct("<QIIII")
_MAX_EVENTS = 1 << 18
_EVENTS = _NODES + _MAX_NODES * _NODE.size
SIZE = _EVENTS + _MAX_EVENTS * _EVENT.size
"""Bytes of a file of counts; most of them are a hole."""
_STANDS, _FRAME, _RAN, _RUNS, _CAME = range(5)
_AGENT, _FIRST = 1, 2
_ENDED = 2
_USER, _UNKNOWN = 0xFFFFFFFF, 0xFFFFFFFE
UNKNOWN = "[unknown]"

_ENTRIES = ("asm_exc_", "asm_sysvec_")
_SWITCHES = re.compile(
    r"__switch_to|__sched_text_start|(?:__)?(?:preempt_)?schedule|__cond_resched"
)
_SYSTEM_CALL = frozenset({"entry_SYSCALL_64", "entry_SYSCALL_64_after_hwframe", "do_syscall_64"})
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
    plugin: Path,
    out: Path,
    switch: tuple[int, int],
    symbols: Path | None,
    at: Path | None = None,
) -> tuple[str, ...]:
    """Return what QEMU's command line needs to count into *out*, a file of :data:`SIZE` bytes.

    *switch* is the range of :data:`SWITCH`.  With *symbols*, calls are followed.  With *at*, the
    file of :func:`encode_addresses`, it is noted when the test comes there.
    """
    parts = [f"file={escaped(str(plugin))}", f"out={escaped(str(out))}"]
    parts.append(f"switch={switch[0]:x}-{switch[1]:x}")
    if symbols:
        parts.append(f"symbols={escaped(str(symbols))}")
    if at:
        parts.append(f"at={escaped(str(at))}")
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


def encode_addresses(addresses: Iterable[int]) -> bytes:
    """Return the plugin's file of *addresses*."""
    return b"".join(struct.pack("=Q", each) for each in sorted(addresses))


class _Told(msgspec.Struct, frozen=True):
    """What a file of counts says of a schedule."""

    threads: dict[int, int]
    """Numbers of tasks of the test, and of its threads in the order in which they first ran."""
    nodes: list[tuple[int, int, int, int]]
    events: list[tuple[int, int, int, int, int]]
    """Time, kind, points that have come, task, node."""

    @classmethod
    def read(cls, out: Path) -> _Told:
        with out.open("rb") as file:
            magic, _, _, events, _, tasks, nodes, _, _ = _HEADER.unpack(file.read(_HEADER.size))
            if magic != _MAGIC:
                return cls({}, [], [])
            table = list(_TASK.iter_unpack(file.read(tasks * _TASK.size)))
            file.seek(_NODES)
            tree = list(_NODE.iter_unpack(file.read(nodes * _NODE.size)))
            file.seek(_EVENTS)
            told = list(_EVENT.iter_unpack(file.read(events * _EVENT.size)))
        mine = [number for number, each in enumerate(table) if _is_test(each[1], each[4])]
        return cls({task: at for at, task in enumerate(mine, 1)}, tree, told)


def profile(out: Path) -> tuple[list[tuple[int, int, int]], list[int]]:
    """Return when threads of the test ran, and when these came to the addresses that were given.

    That is start, end and number of the thread, all in instructions from the start of the test.
    Both are empty where the test did not begin.
    """
    told = _Told.read(out)
    spans: list[tuple[int, int, int]] = []
    came: list[int] = []
    task, since = -1, 0
    for at, kind, _, which, _ in told.events:
        if kind == _CAME and which in told.threads:
            came.append(at)
        elif kind == _RUNS:
            if task in told.threads and at > since:
                spans.append((since, at, told.threads[task]))
            task, since = which, at
    return spans, came


def stands(out: Path, symbols: Symbols) -> tuple[Stand, ...]:
    """Return which threads of the test stood back, as *out* says, and what others ran meanwhile.

    *symbols* are those that were given to the plugin.  Nothing where the test did not begin.
    """
    told = _Told.read(out)
    tree, threads = _Tree(told.nodes, symbols), told.threads
    found: list[Stand] = []
    frames: list[tuple[int, int]] = []
    others: dict[tuple[int, str], None] = {}
    victim = point = -1

    def finish() -> None:
        if victim in threads:
            where = tuple(tree.where(frames))
            found.append(
                Stand(point=point, thread=threads[victim], where=where, others=tuple(others))
            )

    for at, kind, points, task, node in told.events:
        if kind == _STANDS:
            finish()
            frames, others = [(node, 0)], {}
            victim, point = task, points - 1
        elif kind == _FRAME:
            frames.append((node, at))
        elif kind == _RAN and task in threads and task != victim and (chain := tree.chain(node)):
            others[threads[task], chain] = None
    finish()
    return tuple(found)


class _Tree(msgspec.Struct, frozen=True):
    """The chains of calls that the plugin has seen, with names."""

    nodes: Sequence[tuple[int, int, int, int]]
    symbols: Symbols

    def where(self, frames: Sequence[tuple[int, int]]) -> Iterator[str]:
        """Yield the functions of *frames*, innermost first, without those that switch tasks.

        A frame is a node, and the address at which its function goes on.
        """
        names = [self._name(node) for node, _ in frames]
        inner = next((at for at, name in enumerate(names) if name.startswith(_ENTRIES)), -1)
        while inner + 1 < len(names) and _SWITCHES.match(names[inner + 1]):
            inner += 1
        for name, (node, at) in list(zip(names, frames, strict=True))[inner + 1 :]:
            if name in (USER_SPACE, UNKNOWN) or name in _SYSTEM_CALL:
                return
            start = self.symbols.addresses[self.nodes[node][3]]
            yield f"{name}+{at - start:#x}" if at >= start else name

    def chain(self, node: int) -> str:
        """Return the functions to *node*, outermost first.

        Empty for user space, interrupts, and the switch to another task.
        """
        names: list[str] = []
        while node and (name := self._name(node)) != USER_SPACE:
            if name.startswith(_ENTRIES) or _SWITCHES.match(name):
                return ""
            names.append(name)
            node = self.nodes[node][2]
        return " > ".join(name for name in reversed(names) if name not in _SYSTEM_CALL)

    def _name(self, node: int) -> str:
        return _name(self.nodes[node][3], self.symbols.names) if node else UNKNOWN


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
