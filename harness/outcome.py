# SPDX-License-Identifier: GPL-2.0-only
"""How a test can end.  There is no other way, and none leads from "don't know" to pass."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Outcome(StrEnum):
    """The outcome of one test or of one of its cases."""

    PASS = "pass"
    SKIP = "skip"
    """Could not run here; the reason says why."""
    XFAIL = "xfail"
    """Failed, and that was expected."""
    XPASS = "xpass"
    """Passed although a failure was expected: the expectation is stale."""
    FAIL = "fail"
    TIMEOUT = "timeout"
    SPLAT = "splat"
    """The test reported pass, and the kernel complained in its log."""
    CRASH = "crash"
    """The kernel died or oopsed under the test."""
    NOTRUN = "notrun"
    """Planned, and never started."""
    ERROR = "error"
    """The harness or the machine failed, or the test's report cannot be trusted."""

    @property
    def as_expected(self) -> bool:
        """Whether this outcome lets the run be green."""
        return self in (Outcome.PASS, Outcome.SKIP, Outcome.XFAIL)

    @property
    def severity(self) -> int:
        """Position in the order from best to worst; of several outcomes the worst counts."""
        return _ORDER.index(self)

    @property
    def rank(self) -> int:
        """Position in the same order with a skip above a pass, for what stands for a whole.

        A test of which a part was skipped has not passed as a whole.
        """
        return 0 if self is Outcome.PASS else self.severity + 1


# A splat is the kernel's complaint about a test that said pass, so whatever the test itself says
# against the kernel outranks it.  "Error" is below fail: a test that failed and then garbled the
# rest of its report has failed.
_ORDER = (
    Outcome.SKIP,
    Outcome.PASS,
    Outcome.XFAIL,
    Outcome.XPASS,
    Outcome.NOTRUN,
    Outcome.SPLAT,
    Outcome.ERROR,
    Outcome.FAIL,
    Outcome.TIMEOUT,
    Outcome.CRASH,
)


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the worst of *outcomes*; of none, ``NOTRUN``: nothing is known."""
    return max(outcomes, key=lambda o: o.severity, default=Outcome.NOTRUN)
