# SPDX-License-Identifier: GPL-2.0-only
"""Figures of tests in two runs: which are surely another.

One that is the same each time is another where it differs by 1 %.  One that scatters needs five
attempts in each run, and is another where all of one run are on the same side of all of the other:
where nothing differs, that happens in fewer than 1 of 100 comparisons.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from harness.judge.interval import FEWEST
from harness.model.changes import MetricChange
from harness.model.metrics import Metric
from harness.model.results import Results, Test

EXACT = 0.01
"""The relative difference that counts for an exact figure."""
SCATTERED = 0.05
"""The relative difference of medians that counts for figures with scatter."""


def figures(before: Results, after: Results) -> tuple[MetricChange, ...]:
    """Return the figures of tests in both that are better or worse in *after*.

    Figures of different machines are not compared.
    """
    then = {test.name: test for test in before.tests}
    return tuple(
        figure
        for test in after.tests
        if (old := then.get(test.name)) is not None
        and (old.accelerator, old.guest) == (test.accelerator, test.guest)
        for figure in _of_test(old, test)
    )


def _of_test(before: Test, after: Test) -> Iterator[MetricChange]:
    then, now = _values(before), _values(after)
    for metric in after.metrics:
        old, new = then.get(metric.name, ()), now.get(metric.name, ())
        same = [each for each in before.metrics if each.name == metric.name]
        if not metric.better or not same or same[0].unit != metric.unit:
            continue
        if not _differ(old, new, exact=metric.exact and same[0].exact):
            continue
        first, last = statistics.median(old), statistics.median(new)
        yield MetricChange(
            test=after.name,
            name=metric.name,
            unit=metric.unit,
            before=first,
            after=last,
            better=(last < first) == (metric.better == "less"),
        )


def _values(test: Test) -> dict[str, Sequence[float]]:
    """Return the values of each metric in all attempts, but those of earlier runs."""
    every: list[tuple[Metric, ...]] = [each.metrics for each in test.attempts] or [test.metrics]
    found: dict[str, list[float]] = {}
    for metrics in every:
        for metric in metrics:
            found.setdefault(metric.name, []).append(metric.value)
    return dict(found)


def _differ(old: Sequence[float], new: Sequence[float], *, exact: bool) -> bool:
    if not old or not new:
        return False
    first, last = statistics.median(old), statistics.median(new)
    apart = max(old) < min(new) or max(new) < min(old)
    part = abs(last - first) / max(abs(first), abs(last)) if first != last else 0.0
    if exact:
        return apart and part >= EXACT
    return apart and part >= SCATTERED and min(len(old), len(new)) >= FEWEST
