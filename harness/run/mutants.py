# SPDX-License-Identifier: GPL-2.0-only
"""Faults as part of a run: which tests notice them.

The tests have run on the kernel without a fault, and it was watched which lines they run.  Then
each fault is tried: the tests that run its line, those first that take least, until one notices it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec

from harness.context import Context
from harness.errors import MachineError
from harness.judge import merge
from harness.judge import mutants as judged
from harness.judge.verdict import day_of
from harness.kbuild.kernel import DoesNotCompile
from harness.lab.local import LocalExecutor
from harness.model.ids import ONLY, KernelName
from harness.model.logfiles import kernel_build_log
from harness.model.mutants import Mutant, MutantRun, Status, reaching
from harness.model.plan import PlannedTest
from harness.model.records import (
    GuestFailed,
    MutantControl,
    MutantEnded,
    MutantsBuilt,
    MutantsEnded,
    MutantsPlanned,
    Record,
    RunStarted,
    of_kernel,
)
from harness.model.results import Logs, Results
from harness.outcome import Outcome
from harness.proc import signals
from harness.progress import Step
from harness.run.builder import Builder
from harness.run.coverage import with_coverage
from harness.run.journal import Journal
from harness.run.mutant_bed import Bed, Under
from harness.run.mutant_kernels import Planter, not_compiled
from harness.run.mutant_plan import Planting
from harness.run.prepare import Prepared
from harness.store import Damaged

NAME: KernelName = "mutants"
"""The name of the kernel with faults in log files."""
_LEAST_S = 3.0
_TIMES = 10.0
"""A test may take so many times as long under a fault as without, and :data:`_LEAST_S` more."""
_TRIES = 2
"""How often a test runs under a fault as long as its report cannot be trusted."""


class _Known(msgspec.Struct, frozen=True):
    """The results of the tests on the kernel without a fault."""

    results: Results
    tests: Mapping[str, PlannedTest]
    """The tests that can notice a fault: they ended as expected and were not skipped."""
    seconds: Mapping[str, float]
    guest_s: Mapping[str, float]

    def tests_for(self, mutant: Mutant) -> list[str]:
        """Return the tests that can notice *mutant*, the fastest first."""
        coverage = self.results.coverage
        names = reaching(mutant, coverage) if coverage else tuple(self.tests)
        return sorted((each for each in names if each in self.tests), key=self.seconds.__getitem__)

    def limit_s(self, name: str) -> float:
        """Return how many seconds a test may take under a fault."""
        return _LEAST_S + _TIMES * self.guest_s[name]


@dataclass
class _Tried:
    """The result of the tests under a fault."""

    status: Status = Status.SURVIVED
    reason: str = ""
    runs: list[MutantRun] = field(default_factory=list)
    logs: Logs = field(default_factory=Logs)


class Mutation(msgspec.Struct, frozen=True):
    """Plants faults on top of *prepared*, in the run in *directory* that tells *book*."""

    prepared: Prepared
    planting: Planting
    directory: Path
    book: Journal
    context: Context
    jobs: int | None = None

    def execute(self) -> None:
        """Try each fault that has no end in the journal yet.

        Raises UserError where the tree has a fault of its own, and MachineError where the machine
        fails.
        """
        try:
            signals.run(self._go())
        except Damaged as damage:
            # No guest that was made from it has told anything, and which these were is not kept.
            self.context.note(f"{damage.what} and has been repaired; all faults are tried again")
            self._plan()
            signals.run(self._go())

    def _plan(self) -> None:
        planned, ends = self.planting
        self.book.write(planned)
        for end in ends:
            self.book.write(end)

    async def _go(self) -> None:
        if judged.planned(self.book.records()) is None:
            self._plan()
        planned, rest = self._told()
        ends = judged.ended(rest)
        known, bed = self._known()
        tests: dict[int, list[str]] = {}
        left: list[Mutant] = []
        for each in planned.mutants:
            if each.number in ends:
                continue
            tests[each.number] = known.tests_for(each)
            if tests[each.number]:
                left.append(each)
            else:
                self._end(each.number, Status.UNCOVERED, "no test runs the line")
        if not left:
            return
        asked = self.prepared.built.selected.request.mutants
        alone = [each for each in left if each.alone or (asked and asked.alone)]
        together = [each for each in left if each not in alone]
        done = len(planned.mutants) - len(left)
        with Builder() as builder, self.context.step("Testing under faults") as step:
            shown = _Shown(step, len(planned.mutants), done)
            trial = _Trial(self, known, bed, tests, shown, builder)
            if together:
                await trial.together(together)
            if alone:
                await trial.alone(alone)
            step.result(shown.words())

    def _told(self) -> tuple[MutantsPlanned, list[Record]]:
        """Return the plan, and what the journal says of it."""
        found = judged.planned(self.book.records())
        assert found is not None  # noqa: S101  it is written before anything else
        return found

    def controls(self) -> dict[str, MutantRun]:
        """Return how tests ended with no fault chosen, as far as that was tried."""
        return judged.controls(self._told()[1])

    def _known(self) -> tuple[_Known, Bed]:
        """Return what the run has found out before, all of whose tests have an end."""
        records = self.book.records()
        results = with_coverage(merge.whole(records), self.directory)
        head = next(each for each in of_kernel(records, ONLY) if isinstance(each, RunStarted))
        good = {
            test.name: test
            for test in results.tests
            if test.outcome.as_expected and test.outcome is not Outcome.SKIP
        }
        known = _Known(
            results=results,
            tests={test.name: test for test in self.prepared.tests if test.name in good},
            seconds={name: test.total_s or 0.0 for name, test in good.items()},
            guest_s={name: test.guest_s or 0.0 for name, test in good.items()},
        )
        executor = LocalExecutor(self.directory, self.jobs)
        return known, Bed(self.prepared, executor, self.context, self.directory, day_of(head))

    def _end(self, number: int, status: Status, reason: str, *, alone: bool = False) -> None:
        self.book.write(MutantEnded(number=number, status=status, reason=reason, alone=alone))

    def invalid(self, mutant: int, why: str, shown: _Shown, *, alone: bool = False) -> None:
        """Tell of a fault that the compiler refuses."""
        self._end(mutant, Status.INVALID, why, alone=alone)
        shown.ended(Status.INVALID)

    def planter(self) -> Planter:
        """Return what builds kernels with faults."""
        log = self.directory / kernel_build_log(NAME)
        log.parent.mkdir(parents=True, exist_ok=True)
        return Planter(self.prepared.built.selected, self.context, log)


class _Trial(msgspec.Struct, frozen=True):
    """Faults while they are tried."""

    mutation: Mutation
    known: _Known
    bed: Bed
    tests: Mapping[int, Sequence[str]]
    """By the number of a fault the tests that can notice it."""
    shown: _Shown
    builder: Builder

    # A kernel that has many

    async def together(self, mutants: Sequence[Mutant]) -> None:
        """Try *mutants* in one kernel."""
        begun = time.monotonic()
        made = await self.builder.do(partial(self.mutation.planter().together, mutants))
        for number, why in made.invalid.items():
            self.mutation.invalid(number, why, self.shown)
        if made.kernel is None:
            return
        self.bed.open(NAME, made.kernel)
        left = [each for each in mutants if each.number not in made.invalid]
        try:
            fit = await self._control({name for each in left for name in self.tests[each.number]})
            seconds = time.monotonic() - begun
            build_id = made.kernel.meta.build_id
            self.mutation.book.write(MutantsBuilt(seconds=seconds, build_id=build_id))
            with self._timed():
                await self.bed.at_once(
                    [
                        partial(self._one_of_many, each, fit & {*self.tests[each.number]})
                        for each in left
                    ]
                )
        finally:
            self.bed.close(NAME)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """Write how long it took, also where it is cut off: a resumed run adds to that."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.mutation.book.write(MutantsEnded(seconds=time.monotonic() - begun))

    async def _one_of_many(self, mutant: Mutant, fit: set[str]) -> None:
        names = [name for name in self.tests[mutant.number] if name in fit]
        await self._tell(mutant, names, Under(NAME, mutant.number))

    async def _control(self, names: Iterable[str]) -> set[str]:
        """Run the tests with no fault chosen; return those that end as they did before."""
        done = self.mutation.controls()

        async def one(name: str) -> None:
            tried = await self._try([name], Under(NAME, 0))
            failed = MutantRun(test=name, outcome=Outcome.ERROR, reason=tried.reason)
            done[name] = tried.runs[-1] if tried.runs else failed
            self.mutation.book.write(MutantControl(run=done[name]))

        # The longest first, so that all end together.
        left = sorted((each for each in names if each not in done), key=self._longest_first)
        with self.bed.context.step("Testing with no fault selected") as step:
            await self.bed.at_once([partial(one, name) for name in left])
            fit = {name for name, run in done.items() if not judged.unfit_for_faults(run)}
            step.result(f"{len(fit)} of {len(done)} tests as before")
        return fit

    def _longest_first(self, name: str) -> float:
        return -self.known.seconds[name]

    # Kernels that have one

    async def alone(self, mutants: Sequence[Mutant]) -> None:
        """Build a kernel for each of *mutants*, while the one before is tested."""
        testing: asyncio.Task[None] | None = None
        with self._timed():
            try:
                for each in mutants:
                    built = await self._build(each)
                    if testing is not None:
                        await testing
                    if built is not None:
                        testing = asyncio.create_task(self._only_one(each, *built))
                if testing is not None:
                    await testing
            finally:
                if testing is not None and not testing.done():
                    testing.cancel()
                    with suppress(asyncio.CancelledError, MachineError):
                        await testing

    async def _build(self, mutant: Mutant) -> tuple[str, float] | None:
        """Return the key of the kernel with *mutant*, and the seconds that its build took."""
        begun = time.monotonic()
        try:
            kernel = await self.builder.do(partial(self.mutation.planter().alone, mutant))
        except DoesNotCompile as error:
            self.mutation.invalid(mutant.number, not_compiled(error), self.shown, alone=True)
            return None
        self.bed.open(_name_of(mutant), kernel)
        return kernel.key, time.monotonic() - begun

    async def _only_one(self, mutant: Mutant, key: str, build_s: float) -> None:
        name = _name_of(mutant)
        try:
            under = Under(name, mutant.number, chosen=False)
            await self._tell(mutant, self.tests[mutant.number], under, build_s)
        finally:
            self.bed.close(name)
            # Sixty MiB that no other run has a use for.
            self.bed.context.store.discard("kernel", key)

    # One fault

    async def _tell(
        self, mutant: Mutant, names: Sequence[str], under: Under, build_s: float | None = None
    ) -> None:
        """Try a fault, and write the result."""
        self.shown.begun(mutant)
        begun = time.monotonic()
        tried = await self._try(names, under)
        self.mutation.book.write(
            MutantEnded(
                number=mutant.number,
                status=tried.status,
                reason=tried.reason,
                runs=tuple(tried.runs),
                seconds=time.monotonic() - begun,
                alone=build_s is not None,
                build_s=build_s,
                logs=tried.logs,
            )
        )
        self.shown.ended(tried.status)

    async def _try(self, names: Sequence[str], under: Under) -> _Tried:
        """Run tests under a fault until one notices it."""
        tried = _Tried()
        unknown = ""
        for name in names:
            run, logs = await self._run(name, under)
            if run is None:
                return _Tried(Status.ERROR, "the kernel with all faults does not boot")
            tried.runs.append(run)
            if run.outcome is Outcome.ERROR:
                unknown = unknown or f"{name}: {run.reason}"
            elif not run.outcome.as_expected:
                timeout = run.outcome is Outcome.TIMEOUT
                tried.status = Status.TIMEOUT if timeout else Status.KILLED
                tried.reason = f"{run.outcome}" + (f": {run.reason}" if run.reason else "")
                tried.logs = logs
                return tried
        if not names:
            tried.status, tried.reason = Status.ERROR, "no test is left that could notice it"
        elif unknown:
            tried.status, tried.reason = Status.ERROR, unknown
        else:
            tried.reason = self._otherwise(tried.runs)
        return tried

    async def _run(self, name: str, under: Under) -> tuple[MutantRun | None, Logs]:
        """Return how a test ended; None where there is no guest for it, and no fault's is that."""
        test = self.known.tests[name]
        ready = await self.bed.ready(under, test)
        if isinstance(ready, GuestFailed):
            if under.chosen:
                return None, Logs()
            return MutantRun(test=name, outcome=Outcome.CRASH, reason=ready.reason), Logs()
        begun = time.monotonic()
        for _ in range(_TRIES):
            result, logs = await self.bed.run(under, test, ready, self.known.limit_s(name))
            if result.outcome is not Outcome.ERROR:
                break
        seconds = time.monotonic() - begun
        run = MutantRun(test=name, outcome=result.outcome, reason=result.reason, seconds=seconds)
        return run, logs

    def _otherwise(self, runs: Sequence[MutantRun]) -> str:
        """Return which tests ended otherwise than before, though still as expected."""
        before = {test.name: test.outcome for test in self.known.results.tests}
        other = [
            f"{each.test} {before[each.test]}, then {each.outcome}"
            for each in runs
            if each.outcome is not before[each.test]
        ]
        return f"not noticed, although: {', '.join(other)}" if other else ""


def _name_of(mutant: Mutant) -> KernelName:
    return f"{NAME}-{mutant.number}"


@dataclass
class _Shown:
    """What is told of faults while they are tried."""

    step: Step
    total: int
    done: int
    counts: dict[Status, int] = field(default_factory=dict)

    def begun(self, mutant: Mutant) -> None:
        """Tell that tests begin under *mutant*."""
        self.step.update(f"{mutant.path}:{mutant.line}", done=self.done, total=self.total)

    def ended(self, status: Status) -> None:
        """Count a fault that has an end."""
        self.done += 1
        self.counts[status] = self.counts.get(status, 0) + 1

    def words(self) -> str:
        """Return the counts."""
        return ", ".join(f"{number} {status}" for status, number in self.counts.items())
