# SPDX-License-Identifier: GPL-2.0-only
"""The checks of a series for a person at a terminal: patch by patch, what was found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from harness.checks import Checked, describe
from harness.outcome import Outcome
from harness.report.text import Span, mark, one_line, style_of
from harness.series.finding import Severity

Line = list[Span]
_STYLES = {Severity.ERROR: "bad", Severity.WARNING: "warn", Severity.NOTE: "dim"}
_MOST = 30
"""Findings of one check that are shown."""


def lines(
    checked: Sequence[tuple[Checked, Outcome]], *, verbose: bool = False, unicode: bool = True
) -> list[Line]:
    """Return what ``harness series check`` prints of *checked*, from top to bottom.

    *verbose* shows notes, and checks that found nothing.
    """
    told: list[Line] = []
    for _, group in groupby(checked, key=lambda each: each[0].number):
        of_patch = list(group)
        told.append([(one_line(of_patch[0][0].patch.title), "bold")])
        for each, outcome in of_patch:
            told += _check(each, outcome, verbose, unicode)
    return told


def _check(each: Checked, outcome: Outcome, verbose: bool, unicode: bool) -> Iterator[Line]:
    shown = [f for f in each.findings if verbose or f.severity is not Severity.NOTE]
    why = each.trouble or each.notrun or each.skipped
    if not (shown or why or verbose):
        return
    style = style_of(outcome)
    head: Line = [(f"  {mark(style, unicode)} ", style), (f"{outcome:7}", style), (each.check, "")]
    yield [*head, (f"  {one_line(why)}", "dim")] if why else head
    for found in shown[:_MOST]:
        yield [(f"      {one_line(describe(found, each.patch))}", _STYLES[found.severity])]
    if len(shown) > _MOST:
        yield [(f"      … and {len(shown) - _MOST} more", "dim")]
