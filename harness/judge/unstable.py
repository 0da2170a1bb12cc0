# SPDX-License-Identifier: GPL-2.0-only
"""Whether a test that ends one way on a kernel and another way on another is unstable.

A test that differs is run again on both kernels, in turns.  The results by which it was noticed are
no evidence: only the reruns count (:mod:`harness.judge.sequential`).
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from harness.judge.sequential import MOST, Decision, compare_rates, decided
from harness.model.counts import Counts
from harness.model.ids import case_of
from harness.model.results import Attempt, Test
from harness.outcome import Outcome

STABLE = 5
"""Attempts that all ended alike, after which a test is taken for stable where there is no other
kernel: one that fails every second time does so in 3 of 100 cases."""


def counts(test: Test, case: str = "") -> Counts:
    """Return how often *test*, or a *case* of it, was run, and did not end as expected.

    Of a test that was run again because it differs, only what was added counts; of one that was
    run once, nothing.
    """
    return _count(test.attempts[-test.reruns :], case)


def _count(attempts: tuple[Attempt, ...], case: str) -> Counts:
    ended = [each for each in attempts if each.outcome is not Outcome.NOTRUN]
    return Counts(len(ended), sum(_bad(each, case) for each in ended))


def _bad(attempt: Attempt, case: str) -> bool:
    return case in attempt.failed if case else not attempt.outcome.as_expected


def mixed(test: Test, case: str = "") -> bool:
    """Whether *test*, or a *case* of it, sometimes ended as expected and sometimes not."""
    return _count(test.attempts, case).mixed


def first_bad(test: Test, case: str = "") -> bool:
    """Whether *test*, or a *case* of it, did not end as expected before it was run again."""
    planned = test.attempts[: len(test.attempts) - test.reruns]
    if planned:
        return any(_bad(each, case) for each in planned)
    if not case:
        return not test.outcome.as_expected
    return any(
        not each.outcome.as_expected for each in test.cases if case_of(test.name, each.name) == case
    )


def first_bad_cases(test: Test) -> set[str]:
    """Return the cases of which :func:`first_bad` is true; the program itself is the empty name.

    Takes as long for all as :func:`first_bad` for one.
    """
    planned = test.attempts[: len(test.attempts) - test.reruns]
    if planned:
        found = {case for each in planned for case in each.failed}
    else:
        cases = zip(_cases(test), test.cases, strict=True)
        found = {name for name, case in cases if not case.outcome.as_expected}
    return found | ({""} if first_bad(test) else set())


class Stand(StrEnum):
    """The classification of a test on two kernels by its counts."""

    WORSE = "worse"
    BETTER = "better"
    UNSTABLE = "unstable"
    """It is good and bad, and no more often bad on one of them, as far as the counts say."""
    PLAIN = "plain"
    """It was not run several times on both, or was always alike: the results stand as they are."""


def stand(before: Test, after: Test, case: str = "") -> Stand:
    """Return the classification by the counts of both."""
    then, now = counts(before, case), counts(after, case)
    if then.runs and now.runs:
        if compare_rates(then, now) is Decision.WORSE:
            return Stand.WORSE
        if compare_rates(now, then) is Decision.WORSE:
            return Stand.BETTER
        if first_bad(before, case) is not first_bad(after, case):
            return Stand.UNSTABLE
    if mixed(before, case) or mixed(after, case):
        return Stand.UNSTABLE
    return Stand.PLAIN


def open_between(before: Test, after: Test) -> bool:
    """Whether the two differ and more reruns on both are needed to know why."""
    then, now = first_bad_cases(before), first_bad_cases(after)
    there = {"", *_cases(before)} & {"", *_cases(after)}
    return any(_open(before, after, case, case in now) for case in (then ^ now) & there)


def _cases(test: Test) -> Iterator[str]:
    return (case_of(test.name, case.name) for case in test.cases)


def _open(before: Test, after: Test, case: str, is_now: bool) -> bool:
    good, bad = (before, after) if is_now else (after, before)
    return not decided(counts(good, case), counts(bad, case))


def open_alone(test: Test) -> bool:
    """Whether a bad *test* that has no result before it needs reruns to be called stable."""
    if not first_bad(test) or mixed(test):
        return False
    return max(1, len(test.attempts)) < min(STABLE, MOST)
