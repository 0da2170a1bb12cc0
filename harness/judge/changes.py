# SPDX-License-Identifier: GPL-2.0-only
"""Two runs held against each other, case by case: what is worse, what is better, what is new."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from harness.model.results import Results
from harness.outcome import Outcome


class Kind(StrEnum):
    """How a case is another one, the worst first."""

    REGRESSION = "regression"
    """It ended as expected, or was skipped, and does not any more."""
    NEW_FAILURE = "new failure"
    """It was not there, and does not end as expected."""
    OTHER_FAILURE = "other failure"
    """It failed and fails in another way: another outcome, or another reason."""
    STILL_FAILING = "still failing"
    """It failed and fails for the same reason."""
    LOST = "lost"
    """It ended as expected and was not skipped; now it is skipped."""
    GONE = "gone"
    """It was not skipped, and is not there any more."""
    FIXED = "fixed"
    """It failed and ends as expected."""
    NEW = "new"
    """It was not there, or was skipped, and ends as expected."""
    SAME = "same"
    """It ended as expected and does so again; or it was skipped, or not there, and is."""


class Said(msgspec.Struct, frozen=True):
    """What a run says of a case, or of a test without any."""

    outcome: Outcome
    reason: str
    rerun: str


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """A case in both runs."""

    name: str
    kind: Kind
    before: Said | None
    """None where the first run does not have it."""
    after: Said | None


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What the second run says other than the first."""

    before: str
    """The name of the first run."""
    after: str
    cases: tuple[Changed, ...]
    """Every case of both, in the order of the second run; what only the first has comes last."""
    unknown: str = ""
    """Why the second run does not say all that it was to say; empty where it does."""

    def of(self, kind: Kind) -> tuple[Changed, ...]:
        """Return the cases of one *kind*."""
        return tuple(each for each in self.cases if each.kind is kind)

    @property
    def worse(self) -> bool:
        """Whether anything is worse than it was."""
        return any(each.kind in (Kind.REGRESSION, Kind.NEW_FAILURE) for each in self.cases)


def changes(before: Results, after: Results) -> Changes:
    """Hold *after* against *before*.

    A program counts beside its cases where it ended worse than all of them, such as by a crash; and
    where it has none.
    """
    then, now = dict(_said(before)), dict(_said(after))
    gone = [name for name in then if name not in now]
    return Changes(
        unknown=_unknown(after),
        before=before.run,
        after=after.run,
        cases=tuple(
            Changed(
                name=name,
                kind=_kind(then.get(name), now.get(name)),
                before=then.get(name),
                after=now.get(name),
            )
            for name in (*now, *gone)
        ),
    )


def _unknown(after: Results) -> str:
    if after.error:
        return f"the run after was cut off: {after.error}"
    if after.interrupted:
        return "the run after was interrupted"
    return "" if after.tests else "the run after has no test"


def _said(results: Results) -> Iterator[tuple[str, Said]]:
    for test in results.tests:
        for case in test.cases:
            yield case.name, Said(case.outcome, case.reason, test.rerun)
        if all(case.outcome.rank < test.outcome.rank for case in test.cases):
            yield test.name, Said(test.outcome, test.reason, test.rerun)


def _kind(before: Said | None, after: Said | None) -> Kind:
    there = after is not None and after.outcome is not Outcome.SKIP
    was_there = before is not None and before.outcome is not Outcome.SKIP
    if after is None:
        return Kind.GONE if was_there else Kind.SAME
    good = after.outcome.as_expected
    if before is None and not good:
        return Kind.NEW_FAILURE
    was_good = before is None or before.outcome.as_expected
    if was_good != good:
        return Kind.FIXED if good else Kind.REGRESSION
    if not good:
        assert before is not None  # noqa: S101  it was bad
        alike = (before.outcome, before.reason) == (after.outcome, after.reason)
        return Kind.STILL_FAILING if alike else Kind.OTHER_FAILURE
    if was_there == there:
        return Kind.SAME
    return Kind.NEW if there else Kind.LOST
