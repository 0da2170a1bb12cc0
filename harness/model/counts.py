# SPDX-License-Identifier: GPL-2.0-only
"""Number of runs of a test, and number of failures."""

from __future__ import annotations

import msgspec


class Counts(msgspec.Struct, frozen=True):
    """Number of runs of a test, and number of those that did not end as expected."""

    runs: int = 0
    failed: int = 0

    @property
    def passed(self) -> int:
        """Number of runs that ended as expected."""
        return self.runs - self.failed

    @property
    def mixed(self) -> bool:
        """Whether it ended as expected in some runs and not in others."""
        return 0 < self.failed < self.runs

    @property
    def rate(self) -> float:
        """An estimate of the share of failures, never 0 nor 1."""
        return (self.failed + 0.5) / (self.runs + 1)

    def __add__(self, other: Counts) -> Counts:
        """Return the sum of both."""
        return Counts(self.runs + other.runs, self.failed + other.failed)

    def __str__(self) -> str:
        """Return it for people: ``2/17 failed``."""
        return f"{self.failed}/{self.runs} failed"
