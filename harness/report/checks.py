# SPDX-License-Identifier: GPL-2.0-only
"""The checks of a series for a person at a terminal: patch by patch, what was found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby

from harness.model.checks import CheckResult, PlannedCheck, Severity, describe
from harness.model.records import ChecksPlanned
from harness.model.results import Results, Test
from harness.outcome import Outcome
from harness.report.text import Span, mark, one_line, style_of

Line = list[Span]
_STYLES = {Severity.ERROR: "bad", Severity.WARNING: "warn", Severity.NOTE: "dim"}
_UNMADE = frozenset({Outcome.ERROR, Outcome.NOTRUN, Outcome.SKIP})
_MOST = 30
"""Findings of one check that are shown."""


def lines(
    plan: ChecksPlanned,
    made: Mapping[str, CheckResult],
    results: Results,
    *,
    verbose: bool = False,
    unicode: bool = True,
) -> list[Line]:
    """Return what ``harness series check`` prints of *plan*, from top to bottom.

    *made* has what each check has seen by the name of its test.  *verbose* shows notes, and checks
    that found nothing.
    """
    outcomes = {test.name: test for test in results.tests}
    told: list[Line] = []
    for _, group in groupby(plan.checks, key=lambda each: each.number):
        of_patch = list(group)
        told.append([(one_line(of_patch[0].title), "bold")])
        for each in of_patch:
            told += _check(each, made.get(each.name), outcomes[each.name], verbose, unicode)
    return told


def _check(
    plan: PlannedCheck, made: CheckResult | None, test: Test, verbose: bool, unicode: bool
) -> Iterator[Line]:
    found = made.findings if made else ()
    shown = [each for each in found if verbose or each.severity is not Severity.NOTE]
    outcome = test.outcome
    why = test.reason if outcome in _UNMADE else ""
    if not (shown or why or verbose):
        return
    style = style_of(outcome)
    head: Line = [(f"  {mark(style, unicode)} ", style), (f"{outcome:7}", style), (plan.check, "")]
    yield [*head, (f"  {one_line(why)}", "dim")] if why else head
    for each in shown[:_MOST]:
        yield [(f"      {one_line(describe(each, plan.patch))}", _STYLES[each.severity])]
    if len(shown) > _MOST:
        yield [(f"      … and {len(shown) - _MOST} more", "dim")]
