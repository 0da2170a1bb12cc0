# SPDX-License-Identifier: GPL-2.0-only
"""Combine many attempts into one result: a test that passes seven times of ten has not passed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from harness.model.ids import case_of
from harness.model.plan import ENDLESS, PlannedTest
from harness.model.records import RunStarted
from harness.model.results import Attempt, Test
from harness.outcome import Outcome


def is_rerun(head: RunStarted, attempt: int) -> bool:
    """Whether an attempt was not planned, but added to find out whether a test is unstable."""
    return head.repeat != ENDLESS and attempt > head.repeat


def combine_attempts(
    head: RunStarted, plan: PlannedTest, attempts: Sequence[Test], reruns: Sequence[Test] = ()
) -> Test:
    """Return the result of *plan* from its *attempts*, of which there is at least one.

    An attempt that was planned and has no end is ``notrun``; none is planned after a failure where
    the run goes until that.  The worst attempt stands for the test, with ``7/10 passed`` before its
    reason where not all did or were expected not to, and then the outcome is never ``pass``.
    *reruns* are those that were added; one that has no end says nothing.
    """
    if not plan.runnable:
        return attempts[0]
    if head.repeat == ENDLESS:
        # Where there is no end, the attempt under way at the end is no loss.
        attempts = [each for each in attempts if each.outcome is not Outcome.NOTRUN] or attempts
    stopped = head.until_fail and any(not each.outcome.as_expected for each in attempts)
    planned = len(attempts) if stopped or head.repeat == ENDLESS else head.repeat
    more = [each for each in reruns if each.outcome is not Outcome.NOTRUN]
    if head.repeat == 1 and not more:
        return attempts[0]
    return summed_up([*attempts, *more], planned + len(more), len(more))


def summed_up(attempts: Sequence[Test], planned: int, reruns: int = 0) -> Test:
    """Return the result of *attempts*, of which *planned* were to be; the last are *reruns*."""
    outcomes = [each.outcome for each in attempts]
    missing = max(0, planned - len(attempts))
    shown = max(attempts, key=lambda each: each.outcome.rank)
    outcome, reason = shown.outcome, shown.reason
    if missing and outcome.as_expected:
        outcome, reason = Outcome.NOTRUN, f"{missing} attempts were not begun"
    passed = outcomes.count(Outcome.PASS)
    if missing or len(set(outcomes)) > 1 or not outcome.as_expected:
        reason = f"{passed}/{planned} passed" + (f"; {reason}" if reason else "")
    known = {case_of(each.name, case.name) for each in attempts for case in each.cases}
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
                metrics=each.metrics,
                failed=_failed(each, known),
                host=each.host,
            )
            for each in attempts
        ),
        reruns=reruns,
    )


def _failed(attempt: Test, known: set[str]) -> tuple[str, ...]:
    cases = {case_of(attempt.name, case.name): case.outcome for case in attempt.cases}
    bad = {name for name, outcome in cases.items() if not outcome.as_expected}
    if not attempt.outcome.as_expected:
        bad |= known - cases.keys()
    return tuple(sorted(bad))


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
