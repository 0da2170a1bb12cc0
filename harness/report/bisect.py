# SPDX-License-Identifier: GPL-2.0-only
"""The result of a bisection on the console."""

from __future__ import annotations

from collections.abc import Iterator

from harness.judge.merge import split
from harness.model.results import Bisected, Results, Test
from harness.report.text import COMMAND, Span, count, one_line
from harness.visible import visible

Line = list[Span]

_MOST = 10


def bisected(results: Results, *, log: bool = True) -> Iterator[Line]:
    """Yield for each test the first bad commit with its evidence, or why it was not found.

    With *log* also what ``git bisect replay`` reads.
    """
    for found in results.bisected:
        yield []
        if found.first_bad and not found.why:
            yield from _found(found, results)
        elif found.possible:
            yield from _possible(found)
        else:
            head = f"{one_line(found.test)}: no first bad commit: "
            yield [(head, "bad"), (one_line(found.why), "")]
        if found.log and log:
            yield [("    git bisect log:", "dim")]
            for line in visible(found.log).splitlines():
                yield [(f"    {line}", "")]


def _found(found: Bisected, results: Results) -> Iterator[Line]:
    name = f"patch {found.first_bad}" if found.first_bad.isdigit() else found.first_bad
    if len(found.first_bad) == _COMMIT:
        name = f"commit {found.first_bad}"
    yield [
        (f"First bad: {name}, '{one_line(found.title)}'", "bad"),
        (f" ({one_line(found.author)})" if found.author else "", "dim"),
    ]
    yield [(f"    {one_line(found.test)}: good on {found.last_good}, bad on {found.first_bad}", "")]
    if found.confirmed:
        yield [(f"    {one_line(found.confirmed)}", "")]
    test = _test(found, results)
    if test is not None and test.reason:
        yield [(f"    {test.outcome}: {one_line(test.reason)}", "")]
    if test is not None and test.rerun:
        yield [("    run again: ", "dim"), (visible(test.rerun), COMMAND)]


_COMMIT = 12
"""The number of digits shown of a kernel's name that is a commit."""


def _possible(found: Bisected) -> Iterator[Line]:
    yield [
        (f"{one_line(found.test)}: the first bad commit is one of ", "bad"),
        (f"{count(len(found.possible), 'commit')}, as {one_line(found.why)}", ""),
    ]
    for each in found.possible[:_MOST]:
        yield [(f"    {one_line(each)}", "")]
    if len(found.possible) > _MOST:
        yield [(f"    and {len(found.possible) - _MOST} more", "dim")]


def _test(found: Bisected, results: Results) -> Test | None:
    """Return the result that is the evidence: of the test, or of whatever could not be tested."""
    kernel = split(results).get(found.first_bad)
    if kernel is None:
        return None
    named = [test for test in kernel.tests if test.name == found.test]
    bad = [test for test in kernel.tests if not test.outcome.as_expected]
    return next(iter(named or bad), None)
