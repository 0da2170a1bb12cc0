# SPDX-License-Identifier: GPL-2.0-only
"""The evidence for the outcome of a test in a few lines, for reports that people read in full."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from harness.judge.compare import Change, compare
from harness.judge.merge import split
from harness.model.ids import case_of
from harness.model.results import Results, Test
from harness.report.injections import fault_blocks
from harness.report.races import preempted, same_again
from harness.report.summary import essence
from harness.report.text import assertion, count, cut_line, one_line
from harness.visible import visible

MOST_CASES = 5
"""The number of failing cases of one test that are shown with their output."""
_WIDEST = 300


class Evidence(msgspec.Struct, frozen=True):
    """One piece of evidence: where it is from, and its printable lines."""

    title: str
    lines: tuple[str, ...]
    command: str = ""
    """A command line for a shell that shows the same again."""


def not_as_expected(results: Results) -> tuple[list[Test], list[Test]]:
    """Return the tests that fail the run, the worst first, and those of them that are no news.

    Of several kernels a test is news where it breaks or fails in another way than before; tests
    that were broken by a kernel come first.  A bisection has news of the first bad kernel alone.
    """
    bad = sorted((test for test in results.tests if not test.good), key=_severest)
    if not results.kernels or results.against is not None:
        return bad, []
    ranks = _news(results)
    news = [test for test in bad if test.name in ranks]
    return sorted(news, key=lambda test: ranks[test.name]), [
        test for test in bad if test.name not in ranks
    ]


def _severest(test: Test) -> int:
    return -test.outcome.severity


def _news(results: Results) -> dict[str, int]:
    """Return the names of the tests that are news: 0 for one that a kernel breaks, 1 for others."""
    if results.bisection:
        return {f"{found.first_bad}@{found.test}": 0 for found in results.bisected}
    found: dict[str, int] = {}
    comparison = compare(split(results))
    for row in comparison.rows:
        cells = dict(zip(comparison.kernels, row.cells, strict=True))
        steps = {step.kernel: step.change for step in row.steps}
        bad = [name for name, test in cells.items() if test is not None and not test.good]
        news = [name for name in bad if steps.get(name) in (Change.BREAKS, Change.OTHER)]
        # It may be bad from the first kernel on, or unstable: no kernel has broken it then.
        for name in dict.fromkeys([*bad[:1], *news]):
            rank = int(steps.get(name) is not Change.BREAKS)
            test = cells[name]
            assert test is not None  # noqa: S101  it is bad
            key = f"{name}@{test.name}"
            found[key] = min(rank, found.get(key, rank))
    return found


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
    if said := tuple(preempted(test)):
        yield Evidence("where it was preempted", said, same_again(test))
    for title, where in fault_blocks(test):
        yield Evidence(title, where)
    if test.kernel_log:
        log = visible(test.kernel_log).strip("\n").split("\n")
        yield Evidence("the kernel reported", _lines(*essence(log), "its log"))


def _lines(lines: list[str], gone: int, where: str) -> tuple[str, ...]:
    more = (f"... {count(gone, 'more line')} in {where}",) if gone > 0 else ()
    return (*(cut_line(line.expandtabs(8), _WIDEST) for line in lines), *more)
