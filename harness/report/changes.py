# SPDX-License-Identifier: GPL-2.0-only
"""The comparison of two runs on the console."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.model.changes import CaseResult, Changed, Changes, Kind, MetricChange
from harness.model.metrics import amount
from harness.report.text import COMMAND, NAME, Span, count, one_line
from harness.report.verdict import kinds
from harness.visible import visible

Line = list[Span]

_STYLES = {
    Kind.REGRESSION: "bad",
    Kind.NEW_FAILURE: "bad",
    Kind.UNKNOWN: "bad",
    Kind.OTHER_FAILURE: "bad",
    Kind.UNSTABLE: "warn",
    Kind.STILL_FAILING: "warn",
    Kind.LOST: "warn",
    Kind.GONE: "warn",
    Kind.FIXED: "good",
    Kind.NEW: "good",
}
_SHORT = frozenset({Kind.FIXED, Kind.NEW, Kind.GONE, Kind.LOST})
"""Kinds that are listed by name only."""
MOST = 20
"""The number of cases of a kind that are named without ``-v``."""


def told(changes: Changes, *, verbose: bool = False) -> Iterator[Line]:
    """Yield the changes, the worst first, and one line of summary."""
    yield [
        ("Before ", "dim"),
        (one_line(changes.before), "bold"),
        ("   after ", "dim"),
        (one_line(changes.after), "bold"),
    ]
    if changes.range_diff:
        yield []
        yield [("Patches, before and after:", "bold")]
        for line in changes.range_diff.splitlines():
            yield [(f"  {visible(line)}", "")]
    for kind, style in _STYLES.items():
        these = changes.of(kind)
        if not these:
            continue
        yield []
        yield [(f"{kind.capitalize()}: ", style), (count(len(these), "case"), "")]
        shown = these if verbose else these[:MOST]
        for each in shown:
            yield from _case(each)
        if len(these) > len(shown):
            yield [(f"  and {len(these) - len(shown)} more (-v names all)", "dim")]
    yield from _figures(changes.figures, verbose=verbose)
    yield []
    if changes.unknown:
        yield [("INCOMPLETE: ", "bad"), (one_line(changes.unknown), "")]
    word, style = ("WORSE", "bad") if changes.worse else ("NOT WORSE", "good")
    if changes.unknown and not changes.worse:
        word, style = "NOT WORSE, AS FAR AS KNOWN", "bad"
    yield [(f"{word}: ", style), (kinds(changes), "")]


def _figures(figures: Sequence[MetricChange], *, verbose: bool) -> Iterator[Line]:
    """Yield the figures that changed, the worse ones first; they do not affect the exit code."""
    shown = sorted(figures, key=lambda each: each.better)
    if shown:
        yield []
        yield [("Figures: ", "warn"), (f"{count(len(shown), 'metric')} changed", "")]
    for each in shown if verbose else shown[:MOST]:
        part = f" ({(each.after - each.before) / each.before:+.1%})" if each.before else ""
        values = f"{amount(each.before)}, then {amount(each.after)} {each.unit}{part}"
        yield [
            (f"  {one_line(each.test)} is ", ""),
            (each.word, "good" if each.better else "bad"),
            (f": {one_line(each.name)} {values}", ""),
        ]
    if not verbose and len(shown) > MOST:
        yield [(f"  and {len(shown) - MOST} more (-v names all)", "dim")]


def _case(each: Changed) -> Iterator[Line]:
    yield [("  ", ""), (one_line(each.name), NAME)]
    if each.kind in _SHORT:
        return
    for label, said in (("before", each.before), ("after", each.after)):
        if said is not None:
            yield [(f"    {label + ':':<8}", "dim"), (_words(said), "")]
    if each.after is not None and each.after.rerun:
        yield [("    run again: ", "dim"), (visible(each.after.rerun), COMMAND)]


def _words(said: CaseResult) -> str:
    counted = f" ({said.counts})" if said.counts.runs else ""
    return f"{said.outcome}{': ' if said.reason else ''}{one_line(said.reason)}{counted}"
