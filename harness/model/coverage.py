# SPDX-License-Identifier: GPL-2.0-only
"""Which changed lines of a series each test has run.

A *changed* line is one that a patch has written and that is left in the final tree.  It is
*instrumented* if the kernel has code for it, and *covered* if some test ran that code.  A line
without code (a comment, a declaration, an option that is off) is neither covered nor uncovered.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

import msgspec

Span = tuple[int, int]
"""First and last line of a range, from 1."""


class FileLines(msgspec.Struct, frozen=True, kw_only=True):
    """Lines of one file; its name is relative to the kernel tree."""

    path: str
    lines: tuple[Span, ...]
    """Ascending; ranges neither overlap nor touch."""

    @property
    def count(self) -> int:
        """How many lines they are."""
        return sum(last - first + 1 for first, last in self.lines)

    def has(self, line: int) -> bool:
        """Return whether *line* is one of them."""
        return any(first <= line <= last for first, last in self.lines)


class SourceLines(msgspec.Struct, frozen=True, kw_only=True):
    """The text of lines of one file."""

    path: str
    lines: tuple[tuple[int, str], ...]
    """Number and text of each, ascending."""


class PatchLines(msgspec.Struct, frozen=True, kw_only=True):
    """The lines of one patch that are left in the final tree."""

    number: int
    """Its number among all patches of the stack, from 1."""
    subject: str
    changed: tuple[FileLines, ...]
    source: tuple[SourceLines, ...] = ()
    """The text of these lines; none in what old versions have written."""


class CodeLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line that the kernel has code for."""

    path: str
    line: int
    code: tuple[int, ...]
    """Indices in ``CodeMap.points``, where its instructions are."""
    statements: tuple[int, ...] = ()
    """The same, where its statements begin; empty for a line whose code was all moved elsewhere.

    The line has run when some of its code was reached, and one of its statements.  Neither is
    enough: the compiler computes ahead what only one branch needs, and a statement behind a call
    that does not return begins where other code does.
    """

    def ran(self, hits: bytes) -> bool:
        """Return whether *hits*, with a byte for each point, has what it takes."""
        return any(hits[point] for point in self.code) and (
            not self.statements or any(hits[point] for point in self.statements)
        )


class CodeMap(msgspec.Struct, frozen=True, kw_only=True):
    """The addresses of the code of the changed lines in a kernel."""

    points: tuple[Span, ...] = ()
    """First address of a range of code and the one behind its last; sorted, without overlaps."""
    lines: tuple[CodeLine, ...] = ()
    patches: tuple[PatchLines, ...] = ()
    notes: tuple[str, ...] = ()
    """What could not be determined, and why."""


class PatchCoverage(msgspec.Struct, frozen=True, kw_only=True):
    """The lines of one patch that tests ran."""

    number: int
    subject: str
    changed: tuple[FileLines, ...]
    instrumented: tuple[FileLines, ...]
    covered: tuple[FileLines, ...]
    uncovered: tuple[FileLines, ...]
    """Instrumented, and run by no test."""
    tests: tuple[str, ...]
    """The tests that ran any of it."""
    source: tuple[SourceLines, ...] = ()
    """The text of the changed lines, of files that have code; long series have only the first."""


class TestCoverage(msgspec.Struct, frozen=True, kw_only=True):
    """The changed lines that one test has run, in all of its attempts together."""

    name: str
    covered: tuple[FileLines, ...]


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """Which changed lines were run by which tests."""

    patches: tuple[PatchCoverage, ...] = ()
    tests: tuple[TestCoverage, ...] = ()
    """The tests that were measured, in the order of the plan."""
    unmeasured: tuple[str, ...] = ()
    """Tests of which it is not known what they ran: they did not run, or in a guest that cannot be
    watched."""
    notes: tuple[str, ...] = ()

    def tests_of(self, path: str, line: int) -> tuple[str, ...]:
        """Return the tests that ran a line."""
        return tuple(
            test.name
            for test in self.tests
            if any(each.path == path and each.has(line) for each in test.covered)
        )

    def patch(self, number: int) -> PatchCoverage | None:
        """Return the patch of that number, None if there is none."""
        return next((each for each in self.patches if each.number == number), None)


def count(files: Iterable[FileLines]) -> int:
    """Return how many lines *files* have together."""
    return sum(each.count for each in files)


def as_spans(lines: Iterable[int]) -> tuple[Span, ...]:
    """Return *lines* as ascending ranges."""
    spans: list[Span] = []
    for line in sorted(set(lines)):
        if spans and spans[-1][1] == line - 1:
            spans[-1] = (spans[-1][0], line)
        else:
            spans.append((line, line))
    return tuple(spans)


def as_files(lines: Mapping[str, Collection[int]]) -> tuple[FileLines, ...]:
    """Return *lines*, by file, as values; files without a line are left out."""
    return tuple(
        FileLines(path=path, lines=as_spans(numbers))
        for path, numbers in sorted(lines.items())
        if numbers
    )


def show(spans: Iterable[Span]) -> str:
    """Return ranges as people write them: ``3, 7-9``."""
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def evaluate(
    code: CodeMap, hits: Mapping[str, bytes], planned: Iterable[str], notes: Iterable[str] = ()
) -> Coverage:
    """Return what tests have run.

    *hits* has for each test that was measured a byte for each of the map's points, other than 0 for
    those that it reached.  *planned* are the names of all tests, in order.
    """
    names = tuple(planned)
    covered_by = {name: _covered(code, hits[name]) for name in names if name in hits}
    everything: defaultdict[str, set[int]] = defaultdict(set)
    for lines in covered_by.values():
        for path, numbers in lines.items():
            everything[path] |= numbers
    instrumented: defaultdict[str, set[int]] = defaultdict(set)
    for line in code.lines:
        instrumented[line.path].add(line.line)
    return Coverage(
        patches=tuple(
            _of_patch(patch, instrumented, everything, covered_by) for patch in code.patches
        ),
        tests=tuple(
            TestCoverage(name=name, covered=as_files(lines)) for name, lines in covered_by.items()
        ),
        unmeasured=tuple(name for name in names if name not in hits),
        notes=(*code.notes, *notes),
    )


_Lines = Mapping[str, set[int]]


def _covered(code: CodeMap, hits: bytes) -> _Lines:
    found: defaultdict[str, set[int]] = defaultdict(set)
    for line in code.lines:
        if line.ran(hits):
            found[line.path].add(line.line)
    return found


def _of_patch(
    patch: PatchLines,
    instrumented: _Lines,
    everything: _Lines,
    covered_by: Mapping[str, _Lines],
) -> PatchCoverage:
    with_code: dict[str, set[int]] = {}
    covered: dict[str, set[int]] = {}
    for each in patch.changed:
        mine = {line for line in instrumented.get(each.path, ()) if each.has(line)}
        with_code[each.path] = mine
        covered[each.path] = mine & everything.get(each.path, set())
    return PatchCoverage(
        number=patch.number,
        subject=patch.subject,
        changed=patch.changed,
        instrumented=as_files(with_code),
        covered=as_files(covered),
        uncovered=as_files({path: with_code[path] - covered[path] for path in with_code}),
        tests=tuple(
            name
            for name, lines in covered_by.items()
            if any(with_code[path] & lines.get(path, set()) for path in with_code)
        ),
        source=tuple(each for each in patch.source if with_code.get(each.path)),
    )
