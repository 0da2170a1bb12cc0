# SPDX-License-Identifier: GPL-2.0-only
"""How often a test was run, and how often it failed."""

from __future__ import annotations

import msgspec


class Counts(msgspec.Struct, frozen=True):
    """How often a test was run, and how often it did not end as expected."""

    runs: int = 0
    failed: int = 0

    @property
    def passed(self) -> int:
        """How often it ended as expected."""
        return self.runs - self.failed

    @property
    def mixed(self) -> bool:
        """Whether it did one and the other."""
        return 0 < self.failed < self.runs

    @property
    def rate(self) -> float:
        """An estimate of the share of failures, never 0 nor 1."""
        return (self.failed + 0.5) / (self.runs + 1)

    def __add__(self, other: Counts) -> Counts:
        """Return what both come to together."""
        return Counts(self.runs + other.runs, self.failed + other.failed)

    def __str__(self) -> str:
        """Return it for people: ``2/17 failed``."""
        return f"{self.failed}/{self.runs} failed"
