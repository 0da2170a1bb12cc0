# SPDX-License-Identifier: GPL-2.0-only
"""The results of the checks of a series on the console, patch by patch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
"""The number of findings shown per check."""


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
    for number, group in groupby(plan.checks, key=lambda each: each.number):
        of_patch = list(group)
        worst = max((outcomes[each.name].outcome for each in of_patch), key=lambda o: o.severity)
        style = style_of(worst)
        title = one_line(of_patch[0].title)
        # In a stack of several series a patch has a number of its own and one in its series.
        title = title if title.startswith(f"patch {number}/") else f"{number}: {title}"
        told.append([(f"{mark(style, unicode)} ", style), (title, "bold")])
        for (outcome, why), alike in groupby(
            of_patch, key=lambda each: _unmade(outcomes[each.name])
        ):
            if why:
                told.append(_not_made([each.check for each in alike], outcome, why, unicode))
                continue
            for each in alike:
                told += _check(each, made.get(each.name), outcomes[each.name], verbose, unicode)
    return told


def _unmade(test: Test) -> tuple[Outcome, str]:
    """Return the outcome, and why a check was not run; empty if it was."""
    return test.outcome, one_line(test.reason) if test.outcome in _UNMADE else ""


def _not_made(checks: Sequence[str], outcome: Outcome, why: str, unicode: bool) -> Line:
    """Return the line for checks that were not run for the same reason."""
    style = style_of(outcome)
    head: Line = [(f"  {mark(style, unicode)} ", style), (f"{outcome:7}", style)]
    return [*head, (", ".join(checks), ""), (f"  {why}", "dim")]


def _check(
    plan: PlannedCheck, made: CheckResult | None, test: Test, verbose: bool, unicode: bool
) -> Iterator[Line]:
    found = made.findings if made else ()
    shown = [each for each in found if verbose or each.severity is not Severity.NOTE]
    if not (shown or verbose):
        return
    style = style_of(test.outcome)
    sign = f"  {mark(style, unicode)} {test.outcome:7}"
    yield [(sign, style), (plan.check, "")]
    for each in shown[:_MOST]:
        yield [(f"      {one_line(describe(each, plan.patch))}", _STYLES[each.severity])]
    if len(shown) > _MOST:
        yield [(f"      … and {len(shown) - _MOST} more", "dim")]
