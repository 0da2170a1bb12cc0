# SPDX-License-Identifier: GPL-2.0-only
"""What a run has found beside the outcome of each test, in sections for any report."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from harness.judge.compare import compare
from harness.judge.merge import split
from harness.model.ids import BASE
from harness.model.results import Results
from harness.report.bisect import bisected
from harness.report.changes import told
from harness.report.coverage import coverage_lines
from harness.report.injections import injection_lines
from harness.report.matrix import by_patch
from harness.report.mutants import mutant_lines
from harness.report.races import race_rows
from harness.report.text import LOG_COLUMNS, NAME, Span, one_line

Line = list[Span]

AGAINST, BISECTION = "Against base", "Bisection"
PATCHES, KERNELS = "Patch by patch", "Kernel by kernel"
COVERAGE, INJECTIONS = "Coverage", "Failures on purpose"
RACES, MUTANTS = "Preemption schedules", "Planted faults"
FIGURES = "Figures"
_COUNTED = "instructions"


class Section(msgspec.Struct, frozen=True):
    """One finding."""

    title: str
    lines: tuple[Line, ...]


def compared(results: Results, *, log: bool = True) -> Iterator[Section]:
    """Yield how kernels of the run differ: against a base, by a bisection, or patch by patch.

    With *log* a bisection has its log for git, of which no line may be broken.
    """
    if results.against is not None:
        yield Section(AGAINST, _trimmed(told(results.against)))
    yield from bisection(results, log=log)
    if results.kernels and results.against is None and not results.bisection:
        lines = _trimmed(by_patch(results, compare(split(results))))
        patches = all(name == BASE or name.isdigit() for name in results.kernels)
        if lines:
            yield Section(PATCHES if patches else KERNELS, lines)


def bisection(results: Results, *, log: bool = True) -> Iterator[Section]:
    """Yield what a bisection has found, if there was one."""
    if results.bisected:
        yield Section(BISECTION, _trimmed(bisected(results, log=log)))


def measured(results: Results, width: int = LOG_COLUMNS) -> Iterator[Section]:
    """Yield what was looked for beyond the tests themselves, for lines of *width* columns."""
    if results.coverage:
        yield Section(COVERAGE, _trimmed(coverage_lines(results.coverage, width)))
    if results.injections:
        yield Section(INJECTIONS, _trimmed(injection_lines(results.injections, width)))
    if results.races:
        yield Section(RACES, _trimmed(race_rows(results.races, width)))
    if results.mutants:
        yield Section(MUTANTS, _trimmed(mutant_lines(results.mutants, width)))


def figures(results: Results) -> Iterator[Section]:
    """Yield what tests have printed as metrics, and the instructions that were counted."""
    lines: list[Line] = []
    for test in results.tests:
        own = [each for each in test.metrics if each.by == "test" or each.name == _COUNTED]
        if own:
            lines.append([(one_line(test.name), NAME), (":", "")])
            lines += [[(f"    {one_line(str(each))}", "")] for each in own]
    if lines:
        yield Section(FIGURES, tuple(lines))


def _trimmed(lines: Iterator[Line]) -> tuple[Line, ...]:
    """Return *lines* without an empty first one."""
    found = list(lines)
    return tuple(found[1:] if found and not found[0] else found)
