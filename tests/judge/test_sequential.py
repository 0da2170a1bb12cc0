# SPDX-License-Identifier: GPL-2.0-only
"""The error rates that the sequential tests state, tried on many made-up tests."""

from __future__ import annotations

import functools
import math
import random
from collections import Counter

import pytest

from harness.judge.sequential import (
    MOST,
    Decision,
    Mark,
    compare_rates,
    decided,
    mark,
)
from harness.model.counts import Counts

pytestmark = [pytest.mark.unit, pytest.mark.slow]

TRIALS = 1000
ALPHA, BETA, ERROR, UNLIKE = 0.01, 0.05, 0.01, 0.5
"""What docs/matrix.md states."""
look = functools.cache(compare_rates)


def dice(seed: object) -> random.Random:
    """Return made-up chance, the same each time."""
    return random.Random(str(seed))  # noqa: S311


def trial(before: float, after: float, chance: random.Random) -> tuple[Decision, int]:
    """Return what a pair of kernels with these failure rates comes to, and after how many pairs."""
    then, now = Counts(), Counts()
    while (found := look(then, now)) is Decision.OPEN and now.runs < MOST:
        then += Counts(1, int(chance.random() < before))
        now += Counts(1, int(chance.random() < after))
    return found, now.runs


def trials(before: float, after: float) -> Counter[Decision]:
    chance = dice(f"{before} {after}")
    return Counter(trial(before, after, chance)[0] for _ in range(TRIALS))


def bound(rate: float) -> float:
    """Return how many errors of *rate* are no surprise: three standard deviations more."""
    return TRIALS * rate + 3 * math.sqrt(TRIALS * rate * (1 - rate))


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.125, 0.3, 0.5, 0.7, 0.875, 1.0])
def test_equal_rates_are_seldom_called_worse(rate: float) -> None:
    assert trials(rate, rate)[Decision.WORSE] <= bound(ALPHA)


@pytest.mark.parametrize(("before", "after"), [(0.2, 0.1), (1.0, 0.0), (0.5, 0.3), (0.125, 0.0)])
def test_a_better_kernel_is_seldom_called_worse(before: float, after: float) -> None:
    assert trials(before, after)[Decision.WORSE] <= bound(ALPHA)


@pytest.mark.parametrize("before", [0.0, 0.1, 0.25, 0.5])
def test_what_is_worse_by_half_is_seldom_called_alike(before: float) -> None:
    assert trials(before, before + UNLIKE)[Decision.ALIKE] <= bound(BETA)


def test_the_bound_holds_without_an_end() -> None:
    """The counts may be looked at after each pair, for as long as one likes."""
    chance, wrong = dice(7), 0
    for _ in range(100):
        then, now = Counts(), Counts()
        for _ in range(200):
            then += Counts(1, int(chance.random() < 0.4))
            now += Counts(1, int(chance.random() < 0.4))
            if look(then, now) is Decision.WORSE:
                wrong += 1
                break
    assert wrong <= 100 * ALPHA + 3 * math.sqrt(100 * ALPHA)


def test_what_never_passes_and_never_failed_is_told_after_four_pairs() -> None:
    decisions = [compare_rates(Counts(n, 0), Counts(n, n)) for n in range(6)]
    assert decisions == [Decision.OPEN] * 4 + [Decision.WORSE] * 2
    assert compare_rates(Counts(6, 6), Counts(6, 0)) is Decision.ALIKE


def test_one_failure_of_eight_on_both_is_told_without_many_runs() -> None:
    chance = dice(3)
    ends = [trial(1 / 8, 1 / 8, chance) for _ in range(300)]
    assert sum(runs for _, runs in ends) / len(ends) < 14
    assert sum(end is Decision.ALIKE for end, _ in ends) > 270


def test_counts_of_one_kernel_alone_decide_nothing() -> None:
    for then, now in ((Counts(), Counts(25, 25)), (Counts(25, 0), Counts()), (Counts(), Counts())):
        assert compare_rates(then, now) is Decision.OPEN
        assert not decided(then, now)


def test_there_is_an_end_to_it() -> None:
    then, now = Counts(MOST, 0), Counts(MOST, 5)
    assert compare_rates(then, now) is Decision.OPEN
    assert decided(then, now)


@pytest.mark.parametrize(("good", "bad"), [(0.02, 0.9), (0.1, 0.6), (0.3, 0.7)])
def test_a_kernel_seldom_gets_the_wrong_mark(good: float, bad: float) -> None:
    chance = dice(1)
    for rate, wrong in ((good, Mark.BAD), (bad, Mark.GOOD)):
        errors = 0
        for _ in range(TRIALS):
            counts = Counts()
            while (found := mark(counts, good, bad)) is Mark.OPEN:
                counts += Counts(1, int(chance.random() < rate))
            errors += found is wrong
        assert errors <= bound(ERROR)


def test_counts_in_words() -> None:
    counts = Counts(8, 1) + Counts(9, 1)
    assert str(counts) == "2/17 failed"
    assert counts.mixed
    assert not Counts(4, 4).mixed
    assert not Counts(4, 0).mixed
