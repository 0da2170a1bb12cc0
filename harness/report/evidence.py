# SPDX-License-Identifier: GPL-2.0-only
"""The evidence for the outcome of a test in a few lines, for reports that people read in full."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.model.ids import case_of
from harness.model.results import Results, Test
from harness.report.races import preempted_text
from harness.report.summary import essence
from harness.report.text import assertion, count, cut_line, one_line
from harness.visible import visible

MOST_CASES = 5
"""The number of failing cases of one test that are shown with their output."""
_WIDEST = 300


@dataclass(frozen=True)
class Evidence:
    """One piece of evidence: where it is from, and its printable lines."""

    title: str
    lines: tuple[str, ...]


def not_as_expected(results: Results) -> list[Test]:
    """Return the tests that fail the run, the worst first."""
    bad = [test for test in results.tests if not test.good]
    return sorted(bad, key=lambda test: -test.outcome.severity)


def excused(results: Results) -> list[Test]:
    """Return the tests of a run against a base that fail and do not count, without the base's."""
    base = results.against.before if results.against else ""
    bad = [test for test in results.tests if test.excused and test.good]
    return [test for test in bad if test.kernel != base]


def evidence(test: Test) -> Iterator[Evidence]:
    """Yield the evidence why *test* is not as expected: assertions, then the kernel's reports."""
    bad = [case for case in test.cases if not case.good]
    for case in bad[:MOST_CASES]:
        name = one_line(case_of(test.name, case.name))
        reason = "" if case.reason in case.text else f"  {one_line(case.reason)}"
        lines = _lines(*assertion(case.text), "the output") if case.text else ()
        yield Evidence(f"{name}  {case.outcome}{reason}", lines)
    if len(bad) > MOST_CASES:
        yield Evidence(f"and {count(len(bad) - MOST_CASES, 'more case')}", ())
    if not bad and test.output:
        yield Evidence("output", _lines(*assertion(test.output), "the output"))
    if said := preempted_text(test):
        yield Evidence("where it was preempted", tuple(said.splitlines()))
    if test.kernel_log:
        log = visible(test.kernel_log).strip("\n").split("\n")
        yield Evidence("the kernel reported", _lines(*essence(log), "its log"))


def _lines(lines: list[str], gone: int, where: str) -> tuple[str, ...]:
    more = (f"... {count(gone, 'more line')} in {where}",) if gone > 0 else ()
    return (*(cut_line(line.expandtabs(8), _WIDEST) for line in lines), *more)
