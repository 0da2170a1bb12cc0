# SPDX-License-Identifier: GPL-2.0-only
"""Classify a kernel in a bisection: good, bad, untestable, or not yet decided."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from harness.judge.sequential import MOST, Mark, mark
from harness.model.counts import Counts
from harness.model.results import Test
from harness.outcome import Outcome

RARE = 0.02
"""How often a test fails on a good kernel on which it was never seen to fail."""


class Symptom(StrEnum):
    """The kind of failure that a bisection searches for."""

    TEST = "test"
    """A test that does not end as expected."""
    BOOT = "boot"
    """A kernel that does not boot."""
    BUILD = "build"
    """A kernel that does not build."""


class Says(StrEnum):
    """The classification of a kernel in a bisection."""

    GOOD = "good"
    BAD = "bad"
    SKIP = "skip"
    """Untestable: it does not build or boot, or the test does not run on it."""
    OPEN = "open"
    """Not known yet."""


_TELLS_NOTHING = (Outcome.SKIP, Outcome.NOTRUN, Outcome.ERROR)


def _own(attempts: Sequence[Test]) -> list[Test]:
    """Return the attempts that are no memory of an earlier run, which count as no runs."""
    return [each for each in attempts if not each.reused]


def counts(attempts: Sequence[Test]) -> Counts:
    """Return the number of conclusive runs of a test, and of failures."""
    telling = [each for each in _own(attempts) if each.outcome not in _TELLS_NOTHING]
    return Counts(len(telling), sum(not each.outcome.as_expected for each in telling))


def says(attempts: Sequence[Test], good: float, bad: float) -> Says:
    """Return what *attempts* at a test say, where it fails at these rates on good and bad kernels.

    Each attempt has ended.  Where the counts do not decide, it says nothing.
    """
    counted, silent = counts(attempts), len(_own(attempts)) - counts(attempts).runs
    if silent >= max(1, counted.runs):
        return Says.SKIP
    found = mark(counted, good, bad)
    if found is not Mark.OPEN:
        return Says.BAD if found is Mark.BAD else Says.GOOD
    return Says.SKIP if counted.runs >= MOST else Says.OPEN
