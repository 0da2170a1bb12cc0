# SPDX-License-Identifier: GPL-2.0-only
"""Sweeps as part of a run: from the tests that are planned to the points of them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from harness.context import Context
from harness.errors import UserError
from harness.lab.local import Bench, LocalExecutor
from harness.model.coverage import PatchLines, as_files
from harness.model.faults import BudgetSpent, InjectSpec, Surveyed, SweepStarted
from harness.model.logfiles import LogFiles
from harness.model.plan import PlannedTest
from harness.model.records import Record
from harness.run.prepare import Prepared
from harness.run.survey import Surveyor, Wanted, points
from harness.series.changed import changed_lines


@dataclass
class Budget:
    """The time in which points may begin: *seconds* from when the first of them could."""

    seconds: float | None
    _ends: float = field(default=float("inf"))

    def start(self) -> None:
        """Let the time run from now on."""
        if self.seconds is not None:
            self._ends = time.monotonic() + self.seconds

    def spent(self) -> bool:
        """Return whether it is over."""
        return time.monotonic() >= self._ends

    def record(self) -> BudgetSpent:
        """Return what the journal says where it is over before all points have begun."""
        return BudgetSpent(seconds=self.seconds or 0.0)


class Sweeper(msgspec.Struct, frozen=True):
    """Makes a plan of points from the plan of a kernel's tests."""

    prepared: Prepared
    spec: InjectSpec
    """What is asked for."""
    jobs: int | None
    """How many guests run at a time; None is as many as the machine carries."""
    context: Context

    async def swept(
        self, records: Sequence[Record], write: Callable[[Surveyed | SweepStarted], None]
    ) -> Prepared:
        """Return what is prepared, with the points of the sweeps in place of its tests.

        What is found out for that is written, and what stands in *records* is not found out again.
        Raises UserError for a test that there is not, and for calls that cannot be made fail.
        """
        wanted = Wanted(self.spec)
        tests = wanted.tests(self.prepared.tests)
        known = {each.test: each for each in records if isinstance(each, Surveyed)}
        left = [test for test in tests if test.runnable and test.name not in known]

        def tell(found: Surveyed) -> None:
            known[found.test] = found
            write(found)

        if left:
            await self._survey(left, wanted, tell)
        if not any(isinstance(each, SweepStarted) for each in records):
            write(SweepStarted(kernel=self.prepared.name, patches=self._patches()))
        planned = tuple(point for test in tests for point in self._points(test, known))
        calls = any(test.fault and test.fault.nth for test in planned)
        surveys = [known[test.name] for test in tests if test.name in known]
        # What cannot run, and what is no good without a fault, is reported as that.
        if not calls and len(surveys) == len(tests) and not any(each.spoilt for each in surveys):
            raise UserError(
                "there is no call that can be made to fail",
                where=", ".join(test.name for test in tests),
                why="none of these tests makes one",
            )
        return msgspec.structs.replace(self.prepared, tests=planned)

    async def _survey(
        self, tests: Sequence[PlannedTest], wanted: Wanted, tell: Callable[[Surveyed], None]
    ) -> None:
        prepared = self.prepared
        with tempfile.TemporaryDirectory(prefix="harness-survey-") as directory:
            executor = LocalExecutor(Path(directory), self.jobs)
            executor.benches[prepared.name] = Bench(
                factory=prepared.factory,
                suites={suite.name: suite for suite in prepared.suites},
                logs=LogFiles(tests, repeated=True, kernel=prepared.name),
            )
            factor = prepared.built.selected.request.project.limits.tcg_factor
            surveyor = Surveyor(executor, prepared.name, wanted, factor, self.context)
            try:
                await surveyor.survey(tests, tell)
            except BaseExceptionGroup as errors:
                raise first_of(errors) from None

    def _points(self, test: PlannedTest, known: Mapping[str, Surveyed]) -> Sequence[PlannedTest]:
        """Return what is planned of *test*; one that cannot run stays what it is."""
        selected = self.prepared.built.selected
        if test.name not in known:
            return (test,)

        def rerun(name: str) -> str:
            return selected.request.rerun(selected.spec, selected.asked[test.suite], name)

        return tuple(points(test, known[test.name], rerun))

    def _patches(self) -> tuple[PatchLines, ...]:
        return tuple(
            PatchLines(number=each.number, subject=each.subject, changed=as_files(each.files))
            for each in changed_lines(self.prepared.tree)
        )


def first_of(errors: BaseExceptionGroup) -> BaseException:
    """Return one error of nested groups."""
    found: BaseException = errors
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
