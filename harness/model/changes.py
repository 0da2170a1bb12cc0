# SPDX-License-Identifier: GPL-2.0-only
"""Differences between two runs or kernels, case by case."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from harness.model.counts import Counts
from harness.outcome import Outcome


class Kind(StrEnum):
    """Kinds of differences of a case, the worst first."""

    REGRESSION = "regression"
    """It ended as expected, or was skipped, and no longer does."""
    NEW_FAILURE = "new failure"
    """It did not exist, and does not end as expected."""
    UNKNOWN = "unknown"
    """It does not end as expected, and before it was not run, or its report could not be
    trusted."""
    OTHER_FAILURE = "other failure"
    """It failed and fails in another way: another outcome, or another reason."""
    UNSTABLE = "unstable"
    """It is sometimes good and sometimes bad, and fails no more often than before."""
    STILL_FAILING = "still failing"
    """It failed and fails for the same reason."""
    LOST = "lost"
    """It ended as expected and was not skipped; now it is skipped."""
    GONE = "gone"
    """It was not skipped, and no longer exists."""
    FIXED = "fixed"
    """It failed and ends as expected."""
    NEW = "new"
    """It did not exist, was skipped or not run, and ends as expected."""
    SAME = "same"
    """It ended as expected and does so again; or it was skipped, or not there, and is."""

    @property
    def worse(self) -> bool:
        """Whether a change of this kind is for the worse, as far as is known."""
        return self in (Kind.REGRESSION, Kind.NEW_FAILURE, Kind.UNKNOWN)


class CaseResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a case, or of a test without cases, in one run."""

    outcome: Outcome
    reason: str = ""
    rerun: str = ""
    signs: tuple[str, ...] = ()
    """What tells this failure from another: fingerprints of what the kernel said, or assertions;
    where there are none, the reason."""
    ran: bool = True
    """Whether its program began, so that its outcome says something of it: where no guest came up,
    each of its tests is a crash."""
    counts: Counts = Counts()
    """How often it was run and failed, where that was counted."""


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """A case in both runs."""

    name: str
    kind: Kind
    before: CaseResult | None
    """None where the first run does not have it."""
    after: CaseResult | None

    @property
    def counted(self) -> bool:
        """Whether it was run several times on both sides, so that the counts have decided."""
        return all(each is not None and each.counts.runs > 0 for each in (self.before, self.after))


_TIMES = ("ns", "us", "ms", "s")


class MetricChange(msgspec.Struct, frozen=True, kw_only=True):
    """A figure of a test that is better or worse than it was."""

    test: str
    name: str
    unit: str
    before: float
    """The median of all attempts of the first run."""
    after: float
    better: bool

    @property
    def word(self) -> str:
        """``slower`` or ``faster``; ``worse`` or ``better`` where it measures no time."""
        top, _, bottom = self.unit.partition("/")
        if top in _TIMES or top == "instructions" or bottom in _TIMES:
            return "faster" if self.better else "slower"
        return "better" if self.better else "worse"


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What the second run, or kernel, says other than the first."""

    before: str
    """The name of the first run or kernel."""
    after: str
    cases: tuple[Changed, ...]
    """Every case of both, in the order of the second run; what only the first has comes last."""
    figures: tuple[MetricChange, ...] = ()
    """Metrics with a significant difference."""
    range_diff: str = ""
    """What `git range-diff` says of the series of both; empty where there is nothing to tell."""
    unknown: str = ""
    """Why the second run is incomplete; empty if it is complete."""

    def of(self, kind: Kind) -> tuple[Changed, ...]:
        """Return the cases of one *kind*."""
        return tuple(each for each in self.cases if each.kind is kind)

    @property
    def worse(self) -> bool:
        """Whether anything is worse than it was, or may be."""
        return any(each.kind.worse for each in self.cases)
