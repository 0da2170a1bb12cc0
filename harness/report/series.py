# SPDX-License-Identifier: GPL-2.0-only
"""The console output of ``harness series show``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.report.text import PATH, Span, count, one_line
from harness.series.shown import Shown, ShownPatch, ShownSeries, ShownTrailer

Line = list[Span]


def lines(shown: Shown) -> list[Line]:
    """Return what ``harness series show`` prints, from top to bottom."""
    told: list[Line] = []
    for series in shown.series:
        told += [[]] if told else []
        told += _series(series)
    return told or [[("no series: the source as it is", "dim")]]


def _series(series: ShownSeries) -> Iterator[Line]:
    kept = len(series.patches)
    of = count(series.total, "patch", "patches")
    extent = of if kept == series.total else f"{kept} of {of}"
    yield [(one_line(series.title), "bold"), (f"  v{series.version}, {extent}", "")]
    facts = [
        ("trust", series.trust),
        ("base-commit", series.base_commit),
        ("change-id", series.change_id),
        *(("prerequisite", each) for each in series.prerequisites),
        *(("link", each) for each in series.links),
        ("content", series.content),
    ]
    for name, value in facts:
        if value:
            yield [(f"  {name + ':':<14}", "dim"), (one_line(value), "")]
    yield from _trailers(series.trailers, "  ")
    for patch in series.patches:
        yield []
        yield from patch_lines(patch)
    if series.notes:
        yield []
    for note in series.notes:
        yield [("note: ", "warn"), (one_line(note, 2000), "")]


def patch_lines(patch: ShownPatch) -> Iterator[Line]:
    """Yield what is said of one patch."""
    yield [
        (f"  {patch.number}/{patch.total} ", "dim"),
        (one_line(patch.subject), "bold"),
        (f"  +{patch.added} -{patch.removed}", ""),
    ]
    yield [(f"      {one_line(patch.author)}; ", "dim"), (one_line(patch.where), PATH)]
    for file in patch.files:
        yield [(f"      {one_line(file.name)}", PATH), (f"  +{file.added} -{file.removed}", "")]
    yield from _trailers(patch.trailers, "      ")


def _trailers(trailers: Sequence[ShownTrailer], indent: str) -> Iterator[Line]:
    for each in trailers:
        sent = f"  (sent by {one_line(each.sender)})" if each.foreign else ""
        yield [(f"{indent}{one_line(f'{each.name}: {each.value}')}", "good"), (sent, "warn")]
