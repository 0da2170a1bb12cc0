# SPDX-License-Identifier: GPL-2.0-only
"""One result from many attempts: a test that passes seven times of ten has not passed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from harness.outcome import Outcome
from harness.run.records import Group, PlannedTest, RunStarted
from harness.run.results import Attempt, Test

ENDLESS = 0
"""Stands for "as often as it takes" where a number of attempts is asked for."""


class Attempts:
    """What is left to be run: every attempt once, none after the failure that it was to go until.

    Made from the plan and, for a run that is taken up again, told of what has ended before.
    """

    def __init__(self, head: RunStarted, seconds: Mapping[str, float] | None = None) -> None:
        self._head = head
        self._begun: set[tuple[str, int]] = set()
        self._stopped: set[str] = set()
        self._first = 1
        """The first round of which something is left."""
        known = seconds or {}
        # What is unknown may be long.
        self._tests = sorted(
            (test for test in head.tests if test.runnable),
            key=lambda test: -known.get(test.name, math.inf),
        )

    def ended(self, name: str, attempt: int, outcome: Outcome) -> None:
        """Take note of the end of an attempt."""
        self._begun.add((name, attempt))
        if self._head.until_fail and not outcome.as_expected:
            self._stopped.add(name)

    def dropped(self, group: Group) -> None:
        """Take note that there is no guest for the tests of *group*."""
        self._stopped |= {test.name for test in self._tests if test.group == group}

    def begin(self, fits: Callable[[PlannedTest], bool]) -> tuple[PlannedTest, int] | None:
        """Return the next attempt at a test that *fits*, which is now under way; None for none.

        One attempt at each test comes before the second at any, and the longest test first.
        """
        # Where there is no end to it, nothing may fit for ever.
        most = len(self._tests) if self._head.repeat == ENDLESS else None
        near = itertools.islice(self._left(), most)
        found = next((each for each in near if fits(each[0])), None)
        if found is not None:
            self._begun.add((found[0].name, found[1]))
        return found

    @property
    def over(self) -> bool:
        """Whether nothing is left that could be begun."""
        return next(self._left(), None) is None

    def _left(self) -> Iterator[tuple[PlannedTest, int]]:
        """Yield what has not begun, round after round; without end where there is none."""
        endless = self._head.repeat == ENDLESS
        for attempt in itertools.count(self._first):
            over = not endless and attempt > self._head.repeat
            if over or all(test.name in self._stopped for test in self._tests):
                return
            left = self._of_round(attempt)
            if not left and attempt == self._first:
                self._first += 1
            for test in left:
                yield test, attempt

    def _of_round(self, attempt: int) -> list[PlannedTest]:
        return [
            test
            for test in self._tests
            if test.name not in self._stopped and (test.name, attempt) not in self._begun
        ]

    def labels(self) -> list[str]:
        """Return what is left, by names for the eye; nothing where there is no end to it."""
        if self._head.repeat == ENDLESS:
            return []
        known = [test.name for test in self._head.tests if not test.runnable]
        return known + [self.label(*each) for each in self._left()]

    def label(self, test: PlannedTest, attempt: int) -> str:
        """Return the name of an attempt for the eye."""
        if self._head.repeat == 1:
            return test.name
        return f"{test.name} [{attempt}" + (f"/{self._head.repeat}]" if self._head.repeat else "]")


def together(head: RunStarted, plan: PlannedTest, attempts: Sequence[Test]) -> Test:
    """Return the result of *plan* from its *attempts*, of which there is at least one.

    An attempt that was planned and has no end is ``notrun``; none is planned after a failure where
    the run goes until that.  The worst attempt stands for the test, with ``7/10 passed`` before its
    reason where not all did or were expected not to, and then the outcome is never ``pass``.
    """
    if head.repeat == 1 or not plan.runnable:
        return attempts[0]
    if head.repeat == ENDLESS:
        # Where there is no end, the attempt under way at the end is no loss.
        attempts = [each for each in attempts if each.outcome is not Outcome.NOTRUN] or attempts
    stopped = head.until_fail and any(not each.outcome.as_expected for each in attempts)
    planned = len(attempts) if stopped or head.repeat == ENDLESS else head.repeat
    outcomes = [each.outcome for each in attempts]
    missing = max(0, planned - len(attempts))
    shown = max(attempts, key=lambda each: each.outcome.rank)
    outcome, reason = shown.outcome, shown.reason
    if missing and outcome.as_expected:
        outcome, reason = Outcome.NOTRUN, f"{missing} attempts were not begun"
    passed = outcomes.count(Outcome.PASS)
    if missing or len(set(outcomes)) > 1 or not outcome.as_expected:
        reason = f"{passed}/{planned} passed" + (f"; {reason}" if reason else "")
    return msgspec.structs.replace(
        shown,
        outcome=outcome,
        reason=reason,
        guest_s=_sum(each.guest_s for each in attempts),
        total_s=_sum(each.total_s for each in attempts),
        attempts=tuple(
            Attempt(
                outcome=each.outcome,
                reason=each.reason,
                guest_s=each.guest_s,
                total_s=each.total_s,
                seed=each.seed,
                logs=each.logs,
            )
            for each in attempts
        ),
    )


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
