# SPDX-License-Identifier: GPL-2.0-only
"""Sequential tests on how often a test fails: run it again until the counts decide.

Two questions, each with stated error rates that hold however often one looks at the counts:

- :func:`compare_rates`: does a test fail more often on one kernel than on another?
- :func:`mark`: does a kernel fail as often as the bad one of two, or as seldom as the good one?

The first is a mixture test: under the hypothesis that shall be refused, the ratio of a mixture of
likelihoods to the largest likelihood that the hypothesis allows is at most 1 on average, at any
time.  So it exceeds 1/a with a probability of at most a (Ville's inequality).  The second is Wald's
sequential probability ratio test.

What made one doubt must not count as evidence: give only runs that were made afterwards.
"""

from __future__ import annotations

import math
from enum import StrEnum

from harness.model.counts import Counts

ALPHA = 0.01
"""How often a test that fails equally often on both kernels is called worse on one, at most."""
BETA = 0.05
"""How often a test that is worse by :data:`UNLIKE` or more is called alike, at most."""
UNLIKE = 0.5
"""By how much the share of failures differs where a kernel surely is to blame."""
ERROR = 0.01
"""How often a kernel gets the wrong mark, at most, where the two rates are right."""
MOST = 25
"""Runs on each kernel after which what is not decided stays open."""


class Decision(StrEnum):
    """The result of comparing the counts of two kernels."""

    WORSE = "worse"
    """The test fails more often on the second."""
    ALIKE = "alike"
    """It does not fail more often there, or by less than :data:`UNLIKE`."""
    OPEN = "open"
    """Not known yet."""


def compare_rates(before: Counts, after: Counts) -> Decision:
    """Return whether a test fails more often with *after* than with *before*."""
    if _bet_on_worse(before, after) - _largest(before, after, 0.0) >= -math.log(ALPHA):
        return Decision.WORSE
    if _bet_on_same(before, after) - _largest(before, after, UNLIKE, least=True) >= -math.log(BETA):
        return Decision.ALIKE
    return Decision.OPEN


def decided(before: Counts, after: Counts) -> bool:
    """Whether more runs would change nothing, or there were enough of them."""
    enough = min(before.runs, after.runs) >= MOST
    return enough or compare_rates(before, after) is not Decision.OPEN


class Mark(StrEnum):
    """What a kernel is, by the counts of a test on it."""

    GOOD = "good"
    BAD = "bad"
    OPEN = "open"
    """Not known yet."""


def mark(counts: Counts, good: float, bad: float) -> Mark:
    """Return whether *counts* are those of a kernel that fails at the rate *good* or *bad*."""
    ratio = counts.failed * math.log(bad / good)
    ratio += counts.passed * math.log((1 - bad) / (1 - good))
    limit = math.log((1 - ERROR) / ERROR)
    if ratio >= limit:
        return Mark.BAD
    return Mark.GOOD if ratio <= -limit else Mark.OPEN


def _beta(counts: Counts, fails: float, passes: float) -> float:
    """Return the logarithm of the likelihood, averaged over a beta distribution of the rate."""
    return _log_beta(counts.failed + fails, counts.passed + passes) - _log_beta(fails, passes)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _bet_on_worse(before: Counts, after: Counts) -> float:
    # Most tests do on a kernel always the same: near 0 there, near 1 here.
    return _beta(before, 0.2, 1.2) + _beta(after, 1.2, 0.2)


def _bet_on_same(before: Counts, after: Counts) -> float:
    return _beta(before + after, 0.5, 0.5)


def _likelihood(counts: Counts, rate: float) -> float:
    """Return the logarithm of the likelihood of *counts* at *rate*."""
    total = 0.0
    for number, chance in ((counts.failed, rate), (counts.passed, 1 - rate)):
        if number:
            total += number * math.log(chance) if chance > 0 else -math.inf
    return total


def _largest(before: Counts, after: Counts, gap: float, *, least: bool = False) -> float:
    """Return the largest logarithm of a likelihood at which the second rate is at most *gap* more.

    With *least*: at which it is at least *gap* more.
    """
    free = [each.failed / each.runs if each.runs else 0.5 for each in (before, after)]
    inside = free[1] - free[0] >= gap if least else free[1] - free[0] <= gap
    if inside or not (before.runs and after.runs):
        return _likelihood(before, free[0]) + _likelihood(after, free[1])

    if not gap:
        both = before + after
        return _likelihood(both, both.failed / both.runs)

    def at(rate: float) -> float:
        return _likelihood(before, rate) + _likelihood(after, rate + gap)

    # It has one peak: halve twice into three until the rest is nothing.
    low, high = 0.0, 1.0 - gap
    for _ in range(50):
        third = (high - low) / 3
        if at(low + third) < at(high - third):
            low += third
        else:
            high -= third
    return max(at(low), at(high), at((low + high) / 2))
