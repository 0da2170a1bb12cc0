# SPDX-License-Identifier: GPL-2.0-only
"""The attempts of a run that are left, and their order."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping

import msgspec

from harness.judge.repeat import is_rerun
from harness.model.ids import KernelName
from harness.model.plan import ENDLESS, Group, PlannedTest
from harness.model.records import RunStarted
from harness.model.results import Test
from harness.outcome import Outcome


class Attempts:
    """What is left to be run: every attempt once, none after the failure that it was to go until.

    Made from the plan and, for a run that is taken up again, told of what has ended before.
    """

    def __init__(
        self,
        head: RunStarted,
        seconds: Mapping[str, float] | None = None,
        spent: Callable[[], bool] = lambda: False,
    ) -> None:
        self._head = head
        self._spent = spent
        """Whether the time in which attempts may begin is over."""
        self._begun: set[tuple[str, int]] = set()
        self._stopped: set[str] = set()
        self._rounds: dict[int, dict[str, PlannedTest]] = {}
        """What is left of the rounds that were looked at, in order."""
        self._first = 1
        """The first round of which something is left."""
        # What is unknown may be long.
        known = {test.name: math.inf for test in head.tests} | dict(seconds or {})
        self._tests = sorted(
            (test for test in head.tests if test.runnable),
            key=lambda test: (-known[test.name], _turn(test)),
        )

    def ended(self, name: str, attempt: int, outcome: Outcome) -> None:
        """Record the end of an attempt."""
        self._take(name, attempt)
        if self._head.until_fail and not outcome.as_expected:
            self._stop(name)

    def dropped(self, group: Group) -> None:
        """Record that there is no guest for the tests of *group*."""
        for test in self._tests:
            if test.group == group:
                self._stop(test.name)

    def again(self, test: PlannedTest, attempt: int) -> None:
        """Record that an attempt has begun without an end; it has to begin again."""
        if test.name in self._stopped:
            return
        self._begun.discard((test.name, attempt))
        # In its place among the others of the round.
        self._rounds.pop(attempt, None)
        self._first = min(self._first, attempt)

    def stranded(self, test: PlannedTest) -> list[int]:
        """Return the attempts at *test* that have not begun; none of them will.

        Of a test that is repeated without end, one.
        """
        if test.name in self._stopped:
            return []
        rounds = range(1, self._head.repeat + 1) or [
            next(each for each in itertools.count(1) if (test.name, each) not in self._begun)
        ]
        self._stop(test.name)
        return [each for each in rounds if (test.name, each) not in self._begun]

    def begin(self, fits: Callable[[PlannedTest], bool]) -> tuple[PlannedTest, int] | None:
        """Return the next attempt at a test that *fits*, which is now under way; None for none.

        One attempt at each test comes before the second at any, and the longest test first.
        """
        # In endless mode it is possible that no attempt ever fits.
        most = len(self._tests) if self._head.repeat == ENDLESS else None
        near = itertools.islice(self._left(), most)
        found = next((each for each in near if fits(each[0])), None)
        if found is not None:
            self._take(found[0].name, found[1])
        return found

    @property
    def over(self) -> bool:
        """Whether no attempt is left."""
        return next(self._left(), None) is None

    def _left(self) -> Iterator[tuple[PlannedTest, int]]:
        """Yield what has not begun and may, round after round; without end where there is none."""
        if self._spent():
            return
        yield from self._open()

    @property
    def cut_short(self) -> bool:
        """Whether something is left that could be begun if there were time."""
        return self._spent() and next(self._open(), None) is not None

    def _open(self) -> Iterator[tuple[PlannedTest, int]]:
        endless = self._head.repeat == ENDLESS
        for attempt in itertools.count(self._first):
            over = not endless and attempt > self._head.repeat
            if over or len(self._stopped) == len(self._tests):
                return
            left = self._of_round(attempt)
            if not left and attempt == self._first:
                self._first += 1
                self._rounds.pop(attempt)
            for test in left.values():
                yield test, attempt

    def _of_round(self, attempt: int) -> dict[str, PlannedTest]:
        if attempt not in self._rounds:
            self._rounds[attempt] = {
                test.name: test
                for test in self._tests
                if test.name not in self._stopped and (test.name, attempt) not in self._begun
            }
        return self._rounds[attempt]

    def _take(self, name: str, attempt: int) -> None:
        """Remove an attempt from those left."""
        self._begun.add((name, attempt))
        self._rounds.get(attempt, {}).pop(name, None)

    def _stop(self, name: str) -> None:
        """Skip all further attempts at a test."""
        self._stopped.add(name)
        for left in self._rounds.values():
            left.pop(name, None)

    def left(self) -> list[tuple[PlannedTest, int]]:
        """Return the attempts that have not begun; empty in endless mode."""
        return [] if self._head.repeat == ENDLESS else list(self._left())

    def labels(self) -> list[str]:
        """Return display labels of the remaining attempts; empty in endless mode."""
        if self._head.repeat == ENDLESS:
            return []
        known = [test.name for test in self._head.tests if not test.runnable]
        return known + [self.label(*each) for each in self.left()]

    def label(self, test: PlannedTest, attempt: int) -> str:
        """Return the display label of an attempt."""
        if is_rerun(self._head, attempt):
            return f"{test.name} [rerun {attempt - self._head.repeat}]"
        if self._head.repeat == 1:
            return test.name
        return f"{test.name} [{attempt}" + (f"/{self._head.repeat}]" if self._head.repeat else "]")


class Ready(msgspec.Struct, frozen=True):
    """A built kernel, and the attempts that are left on it."""

    name: KernelName
    head: RunStarted
    """Its whole plan."""
    attempts: Attempts
    ended: tuple[tuple[str, int, Test], ...] = ()
    """Test, number and result of each attempt that ended before the run was taken up again."""
    elsewhere: Mapping[str, KernelName] = msgspec.field(default_factory=dict)
    """Tests that run on another kernel of the run instead, as that is the same."""

    def label(self, text: str) -> str:
        """Return what a test or an attempt is called where there are several kernels."""
        return f"{self.name}@{text}" if self.name else text

    def labels(self) -> list[str]:
        """Return display labels of the remaining attempts."""
        return [self.label(each) for each in self.attempts.labels()]


def _turn(test: PlannedTest) -> int:
    """Return a number by which the points of a sweep come in an order that soon is everywhere.

    So a sweep for which there is no time has tried some of each part of the test.
    """
    if test.schedule is not None:
        return test.schedule.seed
    if test.fault is None:
        return 0
    return int(f"{test.fault.nth:032b}"[::-1], 2)
