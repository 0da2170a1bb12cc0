# SPDX-License-Identifier: GPL-2.0-only
"""Find the addresses of given source lines in a kernel.

The kernel need not have been built with debug information: the objects that come from the files are
compiled once more with it, and believed only where their functions lie as the kernel's do
(:mod:`harness.kbuild.lines`).
"""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from harness.context import Context
from harness.digest import digest
from harness.errors import MachineError
from harness.kbuild import toolchain
from harness.kbuild.kernel import Kernel, Slot
from harness.kbuild.lines import (
    NOT_IN_VMLINUX,
    Section,
    command_record,
    compile_sandbox,
    compile_with_lines,
    has_lines,
    is_compiled,
    obstacles,
    read_functions,
)
from harness.kbuild.linetable import Row, read_rows
from harness.klog.decode import Symbols, read_symbols
from harness.model.coverage import CodeLine, CodeMap
from harness.store import Store

_MORE_OBJECTS = 8
"""How many objects are compiled for headers alone: each takes a second or two, and a header of the
memory management is part of five hundred."""
_RECIPE = "2"
_DEPENDENCY = re.compile(r"^  (\S+?)(?: \\)?$", re.MULTILINE)

Lines = Mapping[str, Collection[int]]
"""Line numbers by file; files are named as in the kernel tree."""


def code_lines(
    kernel: Kernel,
    place: Slot,
    wanted: Lines,
    context: Context,
    refill: Callable[[], None],
) -> CodeMap:
    """Return where *kernel* has the code of the lines *wanted*; patches are the caller's to add.

    *refill* is called where *place*, in which the kernel was built, holds something else now, or
    objects of another kernel beside the sources of this one; it has to build the kernel there once
    more.  What was found out once is in the store.  Raises
    MachineError where a tool fails, and what *refill* raises.
    """
    lines = {path: frozenset(numbers) for path, numbers in wanted.items() if numbers}
    key = digest(_RECIPE, kernel.key, *(f"{p}:{sorted(n)}" for p, n in sorted(lines.items())))
    known = context.store.place("codelines") / f"{key}.json"
    try:
        return msgspec.json.decode(known.read_bytes(), type=CodeMap)
    except (OSError, msgspec.MsgspecError):
        pass  # not there yet, or damaged: it is looked up again
    looking = place.sandbox(readable=(kernel.path,))
    if has_lines(kernel.vmlinux, looking):
        rows = read_rows(kernel.vmlinux, lambda name: _source_of(name, lines) is not None)
        code = _Found(lines, [(0, row) for row in rows], []).map()
    else:
        found = _in_slot(kernel, place, lines, context)
        if isinstance(found, str) or found.differs:
            refill()
            found = _in_slot(kernel, place, lines, context)
        if isinstance(found, str):
            raise MachineError("the kernel's objects are gone", where=str(place.path), why=found)
        code = found.map()
    draft = known.with_name(f".{key}.{os.getpid()}")
    draft.write_bytes(msgspec.json.encode(code))
    draft.replace(known)
    return code


def _in_slot(
    kernel: Kernel,
    place: Slot,
    lines: Mapping[str, frozenset[int]],
    context: Context,
) -> _Found | str:
    """Return the line tables of the kernel's objects, or why the slot does not have them."""
    with (
        context.lock(place.name),
        context.step("Finding the code of the changed lines") as step,
    ):
        if why := next(obstacles(kernel, place), ""):
            return why
        found = _compile_all(kernel, place, lines, context.store)
        step.result(f"{len(found.rows)} pieces")
        return found


def _source_of(name: str, lines: Collection[str]) -> str | None:
    """Return which of the files *lines* the compiler means by *name*; None for none.

    A build elsewhere than in the tree has names such as ``../src/mm/memory.c``.
    """
    if name in lines:
        return name
    return next((path for path in lines if name.endswith(f"/{path}")), None)


class _Found(msgspec.Struct, frozen=True):
    """What objects say; each row with the address at which its section begins in the kernel."""

    wanted: Mapping[str, frozenset[int]]
    rows: list[tuple[int, Row]]
    notes: list[str]
    differs: list[str] = msgspec.field(default_factory=list)
    """Objects that are not what their sources are compiled into."""

    def map(self) -> CodeMap:
        """Return the map of the rows for lines that are wanted."""
        ranges: defaultdict[tuple[str, int], set[tuple[int, int, bool]]] = defaultdict(set)
        sources = {name: _source_of(name, self.wanted) for name in {r.file for _, r in self.rows}}
        for base, row in self.rows:
            path = sources[row.file]
            if path is not None and row.line in self.wanted[path]:
                place = (base + row.start, base + row.end, row.statement)
                ranges[path, row.line].add(place)
        code = {key: {(a, b) for a, b, _ in each if b > a} for key, each in ranges.items()}
        code = {key: places for key, places in code.items() if places}
        statements = {key: {(a, a + 1) for a, _, mark in ranges[key] if mark} for key in code}
        points = _disjoint((*code.values(), *statements.values()))
        return CodeMap(
            points=points,
            lines=tuple(
                CodeLine(
                    path=path,
                    line=line,
                    code=_inside(points, code[path, line]),
                    statements=_inside(points, statements[path, line]),
                )
                for path, line in sorted(code)
            ),
            notes=tuple(dict.fromkeys(self.notes)),
        )


def _disjoint(ranges: Iterable[Iterable[tuple[int, int]]]) -> tuple[tuple[int, int], ...]:
    """Return ranges without overlaps that have the same bytes and begin and end where these do."""
    edges: defaultdict[int, int] = defaultdict(int)
    for start, end in {each for some in ranges for each in some}:
        edges[start] += 1
        edges[end] -= 1
    points: list[tuple[int, int]] = []
    depth, before = 0, 0
    for edge in sorted(edges):
        if depth:
            points.append((before, edge))
        depth += edges[edge]
        before = edge
    return tuple(points)


def _inside(
    points: tuple[tuple[int, int], ...], ranges: Collection[tuple[int, int]]
) -> tuple[int, ...]:
    """Return the indices of the *points* that are part of one of *ranges*."""
    found: list[int] = []
    for first, behind in ranges:
        number = bisect_left(points, (first, first))
        while number < len(points) and points[number][1] <= behind:
            found.append(number)
            number += 1
    return tuple(sorted(set(found)))


def _compile_all(
    kernel: Kernel, place: Slot, lines: Mapping[str, frozenset[int]], store: Store
) -> _Found:
    """Compile with debug information what the files of *lines* are compiled into."""
    found = _Found(lines, [], [])
    objects = _objects(place.objects, lines, found.notes)
    symbols = read_symbols(kernel.vmlinux, sandbox=place.sandbox(readable=(kernel.path,)))
    env = toolchain.environment(place.ccache, place.path)

    def work(number: int, name: str, scratch: Path) -> tuple[list[tuple[int, Row]], str]:
        new, why = compile_with_lines(place, env, name, scratch / str(number))
        if new is None:
            return [], why
        rows = read_rows(new, lambda source: _source_of(source, lines) is not None)
        rows = [row for row in rows if row.line in lines[_source_of(row.file, lines) or ""]]
        return _placed(rows, place, name, new, symbols)

    with (
        store.for_make().scratch("codelines") as scratch,
        ThreadPoolExecutor(toolchain.jobs()) as pool,
    ):
        jobs = [pool.submit(work, number, name, scratch) for number, name in enumerate(objects)]
        for name, job in zip(objects, jobs, strict=True):
            rows, why = job.result()
            found.rows.extend(rows)
            found.differs.extend([name] if why == _differs(name) else [])
            found.notes.extend([f"some changed lines are not watched: {why}"] if why else [])
    return found


def _placed(
    rows: Sequence[Row], place: Slot, name: str, new: Path, symbols: Symbols
) -> tuple[list[tuple[int, Row]], str]:
    """Return *rows* with where the kernel has their sections, or why that cannot be told.

    They are those of *new*, which is the object *name* with debug information.
    """
    needed = {row.section for row in rows}
    sandbox = compile_sandbox(place, new.parent)
    functions = read_functions(new.parent, [new.name], sandbox)
    twins = {each.section: each.functions for each in functions}
    bases: dict[str, int] = {}
    for section in read_functions(place.objects, [name], sandbox):
        if section.section not in needed:
            continue
        if twins.get(section.section) != section.functions:
            return [], _differs(name)
        starts = _bases(section, symbols)
        if len(starts) > 1:
            return [], f"the kernel has several places that look like {section.section} of {name}"
        if starts:
            bases[section.section] = starts.pop()
    return [(bases[row.section], row) for row in rows if row.section in bases], ""


def _differs(name: str) -> str:
    return f"{name} changes when it is compiled with debug information"


def _bases(section: Section, symbols: Symbols) -> set[int]:
    """Return where the kernel may have a section; none if it was left out when it was linked."""
    strong = [name for name in section.functions if name not in section.weak]
    # The rarest name leaves the fewest places to be tried.
    rare = min(strong, key=lambda name: len(symbols.by_name.get(name, ())), default=None)
    if rare is None:
        return set()
    tried = (section.base(rare, start, symbols) for start in symbols.by_name.get(rare, ()))
    return {base for base in tried if base is not None}


def _objects(objects: Path, lines: Collection[str], notes: list[str]) -> list[str]:
    """Return the objects that have code of the files *lines*.

    A C file or one of assembly has an object of its own.  A header, or a C file that others
    include, may have code in all that include it, and only some of these are looked at.
    """
    own = {
        path: mine
        for path in sorted(lines)
        if path.endswith((".c", ".S"))
        and is_compiled(objects, objects / (mine := f"{path[:-2]}.o"))
    }
    included = {path for path in lines if path.endswith((".c", ".h")) and path not in own}
    users = _users(objects, included) if included else {}
    chosen = list(own.values())
    left = {path for path, names in users.items() if not names & set(chosen)}
    others = set().union(*users.values()) - set(chosen)
    while others and len(chosen) < len(own) + _MORE_OBJECTS:
        # The one that shows most of what no other shows; then the one that shows most at all.
        best = min(
            others,
            key=lambda name: (
                -sum(name in users[path] for path in left),
                -sum(name in names for names in users.values()),
                name,
            ),
        )
        chosen.append(best)
        others.discard(best)
        left = {path for path in left if best not in users[path]}
    if others:
        some = sorted(path for path, names in users.items() if names - set(chosen))
        notes.append(
            f"inline functions of {', '.join(some)} are watched in {len(chosen)} objects, and not "
            f"in {len(others)} more: a line that runs only there counts as not run"
        )
    return chosen


def _users(objects: Path, included: Collection[str]) -> dict[str, set[str]]:
    """Return for each of the files *included* the objects that were made from it."""
    users: dict[str, set[str]] = {path: set() for path in included}
    for directory, below, names in os.walk(objects):
        below[:] = [d for d in below if Path(directory) != objects or d not in NOT_IN_VMLINUX]
        for name in names:
            if name.startswith(".") and name.endswith(".o.cmd"):
                made = Path(directory) / name[1 : -len(".cmd")]
                if is_compiled(objects, made):
                    for header in _includes(command_record(made).read_text(), included):
                        users[header].add(str(made.relative_to(objects)))
    return users


def _includes(record: str, wanted: Collection[str]) -> set[str]:
    """Return which of the files *wanted* an object was made from, by what make keeps of it."""
    return {
        path
        for found in _DEPENDENCY.finditer(record)
        if (path := _source_of(found[1], wanted)) is not None
    }
