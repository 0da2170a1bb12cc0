# SPDX-License-Identifier: GPL-2.0-only
"""Schedules that fail, made as short as they get, once all schedules have ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from harness.context import Context
from harness.judge import merge
from harness.judge.races import signature
from harness.model.ids import ONLY
from harness.model.plan import PlannedTest
from harness.model.races import Points, Schedule, Shortened, written
from harness.model.records import Record
from harness.model.results import Test
from harness.outcome import Outcome
from harness.proc import signals
from harness.run.journal import Journal
from harness.run.prepare import Prepared
from harness.run.races import Trials, rerun

MOST = 5
"""Failures of one test that are looked into; each ends in another way."""
TIMES = 3
"""How often what is left of a schedule is tried, so that it is known to fail each time."""
_UNTOLD = frozenset({Outcome.ERROR, Outcome.NOTRUN, Outcome.SKIP})

Fails = Callable[[Points], Awaitable[bool]]


async def shortest(points: Points, fails: Fails) -> Points:
    """Return the points that are needed for a schedule to fail, which *points* do.

    What comes behind the last that is needed is left out first: by halves, as a schedule fails
    with all that it has failed with and more behind.  Then one point after the other.
    """
    low, high = 0, len(points)
    while high - low > 1:
        middle = (low + high) // 2
        if await fails(points[:middle]):
            high = middle
        else:
            low = middle
    left = points[:high]
    # Often the last one alone will do.
    if len(left) > 2 and await fails(left[-1:]):
        return left[-1:]
    at = 0
    while len(left) > 1 and at < len(left):
        without = left[:at] + left[at + 1 :]
        if await fails(without):
            left = without
        else:
            at += 1
    return left


class Shortening(msgspec.Struct, frozen=True):
    """Looks into the schedules of *prepared* under which a test fails, for the run's *book*."""

    prepared: Prepared
    directory: Path
    """The run's."""
    book: Journal
    context: Context
    jobs: int | None
    shorten: bool
    """Whether they are shortened; otherwise they are only explained."""

    def execute(self) -> None:
        """Look into each kind of failure that was not looked into yet; raises MachineError."""
        records = self.book.records()
        found = list(self._failures(records))
        if found:
            trials = Trials(self.prepared, self.directory, self.jobs, self.context)
            signals.run(self._all(found, trials))

    async def _all(self, found: Sequence[tuple[PlannedTest, Test]], trials: Trials) -> None:
        for test, failed in found:
            title = "Shortening" if self.shorten else "Looking into"
            with self.context.step(f"{title} {test.name}") as step:
                said = await self._one(test, failed, trials)
                before, after = len(said.planned), len(said.points)
                step.result(f"{before} to {after} points, {said.tries + 1} guests")
            self.book.write(said)

    def _failures(self, records: Sequence[Record]) -> Iterator[tuple[PlannedTest, Test]]:
        """Yield one schedule of each kind of failure, that with the fewest points."""
        name = self.prepared.name
        done = {
            (each.test, each.how)
            for each in records
            if isinstance(each, Shortened) and each.kernel == name
        }
        results = merge.whole(records)
        if name != ONLY:
            results = merge.split(results)[name]
        tests = {test.name: test for test in self.prepared.tests}
        kinds: dict[tuple[str, str], Test] = {}
        for each in results.tests:
            under = each.schedule
            if under is None or not under.points or each.outcome.as_expected:
                continue
            if each.outcome in _UNTOLD:
                continue
            kind = under.test, signature(each)
            first = kinds.get(kind)
            if first is None or len(under.points) < len(_points(first)):
                kinds[kind] = each
        of_test: dict[str, int] = {}
        for (test, how), each in kinds.items():
            of_test[test] = of_test.get(test, 0) + 1
            if of_test[test] <= MOST and (test, how) not in done:
                yield tests[each.name], each

    async def _one(self, test: PlannedTest, failed: Test, trials: Trials) -> Shortened:
        how, tries = signature(failed), 0
        under = test.schedule
        assert under is not None  # noqa: S101  it was chosen by that

        def with_points(points: Points) -> PlannedTest:
            schedule = Schedule(test=under.test, points=points)
            return msgspec.structs.replace(test, name=schedule.name, schedule=schedule)

        async def fails(points: Points) -> bool:
            nonlocal tries
            tries += 1
            said, _, _ = await trials.run(with_points(points))
            return signature(said) == how

        points = under.points
        if self.shorten and await fails(points):
            points = await shortest(points, fails)
        shown = [await fails(points) for _ in range(TIMES if self.shorten else 0)]
        return Shortened(
            kernel=self.prepared.name,
            test=under.test,
            seed=under.seed,
            planned=under.points,
            points=points,
            how=how,
            tries=tries,
            shown=sum(shown),
            asked=len(shown),
            stands=await trials.stands(with_points(points)),
            rerun=rerun(self.prepared, test, written(points)),
            replay=rerun(self.prepared, test, written(points), recorded=True),
        )


def _points(test: Test) -> Points:
    return test.schedule.points if test.schedule else ()
