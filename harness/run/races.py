# SPDX-License-Identifier: GPL-2.0-only
"""Schedules as part of a run: from the tests that are planned to each of their schedules."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from harness.context import Context
from harness.errors import MachineError, UserError
from harness.guest import counted
from harness.judge.verdict import judge_test
from harness.kbuild.symbols import functions
from harness.lab import races
from harness.lab.executor import Attempt, TemplateId
from harness.lab.local import Bench, LocalExecutor
from harness.lab.races import RaceProbe
from harness.lab.templates import COUNTED_FACTOR
from harness.model.logfiles import LogFiles
from harness.model.plan import PlannedTest
from harness.model.races import Paced, RaceSpec, Schedule, Stand, profiled, seeded, written
from harness.model.records import GuestFailed, GuestReady, Record, TestEnded, TestStarted
from harness.model.results import Test
from harness.outcome import Outcome
from harness.run.prepare import Built, Prepared
from harness.run.schedule import now, seed_of
from harness.run.sweeps import first_of

_FIT = frozenset({Outcome.PASS, Outcome.XFAIL})
"""How a test may end without a preemption for its schedules to say something."""


def watch(built: Built, directory: Path, context: Context) -> RaceProbe:
    """Return what has guests of the kernel that is *built* begin at the same instruction.

    What it needs goes into the run's *directory*.  Raises MachineError where a tool fails.
    """
    selected, vmlinux = built.selected, built.kernel.vmlinux
    symbols = functions(vmlinux, selected.place.sandbox(readable=(vmlinux,)))
    return races.start(directory, selected.name, symbols, context)


class Mode(StrEnum):
    """What is noted of a test that runs beside the plan."""

    PLAIN = "plain"
    PROFILE = "profile"
    """When which thread ran, and when something was unlocked."""
    STANDS = "stands"
    """Who stands back where, and what others run meanwhile."""


@dataclass
class Trials:
    """Runs tests of *prepared* under schedules beside the plan; its logs go to *directory*."""

    prepared: Prepared
    directory: Path
    jobs: int | None
    context: Context
    _guests: dict[TemplateId, asyncio.Task[GuestReady | GuestFailed]] = field(default_factory=dict)
    _runs: int = 0

    @cached_property
    def executor(self) -> LocalExecutor:
        """What runs them: for it, each mode is a kernel of its own."""
        executor = LocalExecutor(self.directory, self.jobs)
        for mode, probe in self._probes.items():
            executor.benches[mode] = Bench(
                factory=self.prepared.factory,
                suites={suite.name: suite for suite in self.prepared.suites},
                logs=LogFiles(self.prepared.tests, repeated=True, kernel=mode),
                watch=probe,
            )
        return executor

    @cached_property
    def _probes(self) -> Mapping[Mode, RaceProbe]:
        plain = watch(self.prepared.built, self.directory, self.context)
        return {
            Mode.PLAIN: plain,
            Mode.PROFILE: msgspec.structs.replace(plain, profile=True),
            Mode.STANDS: msgspec.structs.replace(plain, stands=True),
        }

    async def ready(self, test: PlannedTest, mode: Mode) -> GuestReady | GuestFailed:
        """Return what guests *test* has, or why its kernel does not come up."""
        template = TemplateId(mode, test.group)
        if template not in self._guests:
            self._guests[template] = asyncio.create_task(self.executor.prepare(template))
        return await self._guests[template]

    async def run(self, test: PlannedTest, mode: Mode = Mode.PLAIN) -> tuple[Test, TestEnded, Path]:
        """Run *test* under its schedule; return how it ended, and where is what was noted.

        Raises what the executor raises, and MachineError where there is no guest.
        """
        ready = await self.ready(test, mode)
        if isinstance(ready, GuestFailed):
            raise MachineError("the guest of a test does not boot again", why=ready.reason)
        self._runs += 1
        factor = self.prepared.built.selected.request.project.limits.tcg_factor
        started = TestStarted(
            kernel=mode,
            name=test.name,
            attempt=self._runs,
            time=now(),
            seed=seed_of(test),
            limit_s=test.timeout_s * factor * COUNTED_FACTOR,
        )
        ended = await self.executor.run(Attempt(test, started))
        today = datetime.now(UTC).date()
        said = judge_test(test, today, started, ended, boot=ready.boot)
        return said, ended, self._probes[mode].counts(test.name, started.attempt)

    async def stands(self, test: PlannedTest) -> tuple[Stand, ...]:
        """Run *test* under its schedule once more, and return which threads stood back where."""
        _, _, counts = await self.run(test, Mode.STANDS)
        return counted.stands(counts, self._probes[Mode.STANDS].symbols)

    async def at_once(self, work: Sequence[Coroutine[Any, Any, None]]) -> None:
        """Do all of *work*, as many at a time as the machine carries guests."""
        room = asyncio.Semaphore(sum(self.executor.slots(self.prepared.tests).values()))

        async def one(each: Coroutine[Any, Any, None]) -> None:
            async with room:
                await each

        try:
            async with asyncio.TaskGroup() as group:
                for each in work:
                    group.create_task(one(each))
        except BaseExceptionGroup as errors:
            raise first_of(errors) from None


class Racer(msgspec.Struct, frozen=True):
    """Makes a plan of schedules from the plan of a kernel's tests."""

    prepared: Prepared
    spec: RaceSpec
    """What is asked for."""
    jobs: int | None
    """How many guests run at a time; None is as many as the machine carries."""
    context: Context

    async def scheduled(
        self, records: Sequence[Record], write: Callable[[Paced], None]
    ) -> Prepared:
        """Return what is prepared, with the schedules of its tests in place of these.

        What is found out for that is written, and what stands in *records* is not found out again.
        Raises UserError for a test that there is not.
        """
        tests = self._wanted()
        name = self.prepared.name
        known = {
            each.test: each for each in records if isinstance(each, Paced) and each.kernel == name
        }
        if self.spec.points:
            # They are what they are, however the test runs without them.
            known = {test.name: Paced(kernel=name, test=test.name, plain=True) for test in tests}
            for test in tests:
                write(known[test.name])
        left = [test for test in tests if test.runnable and test.name not in known]
        if left:
            with tempfile.TemporaryDirectory(prefix="harness-race-") as directory:
                trials = Trials(self.prepared, Path(directory), self.jobs, self.context)

                async def one(test: PlannedTest) -> None:
                    with self.context.step(f"Running {test.name} as it is") as step:
                        known[test.name] = found = await _paced(trials, test)
                        length, unlocks = found.profile.length, len(found.profile.unlocks)
                        step.result(found.spoilt or f"{length:,} instructions, {unlocks} unlocks")
                    write(found)

                await trials.at_once([one(test) for test in left])
        planned = tuple(each for test in tests for each in self._schedules(test, known))
        return msgspec.structs.replace(self.prepared, tests=planned)

    def _wanted(self) -> tuple[PlannedTest, ...]:
        names = {test.name for test in self.prepared.tests}
        for target in self.spec.targets:
            if target not in names:
                raise UserError(
                    "there is no such test",
                    where=target,
                    why=f"tests there: {', '.join(sorted(names))}",
                )
        wanted = self.spec.targets or names
        return tuple(test for test in self.prepared.tests if test.name in wanted)

    def _schedules(self, test: PlannedTest, known: Mapping[str, Paced]) -> Iterator[PlannedTest]:
        """Yield what is planned of *test*; one that cannot run stays what it is."""
        paced = known.get(test.name)
        if paced is None:
            yield test
            return
        if self.spec.control:
            yield self._under(test, Schedule(test=test.name))
        for schedule in self._asked(test.name, paced):
            under = self._under(test, schedule)
            if paced.spoilt:
                yield msgspec.structs.replace(under, broken=paced.spoilt)
            elif paced.plain:
                yield msgspec.structs.replace(under, expect=())
            else:
                yield under

    def _asked(self, test: str, paced: Paced) -> Iterator[Schedule]:
        if self.spec.points:
            yield Schedule(test=test, points=self.spec.points)
        for seed in self.spec.seeds:
            points = seeded(seed, paced.profile)
            yield Schedule(test=test, seed=seed, points=points)

    def _under(self, test: PlannedTest, schedule: Schedule) -> PlannedTest:
        text = str(schedule.seed) if schedule.seed else written(schedule.points)
        return msgspec.structs.replace(
            test,
            name=schedule.name,
            program=f"{test.program}{schedule.suffix}",
            rerun=rerun(self.prepared, test, text) if text else test.rerun,
            schedule=schedule,
        )


def rerun(prepared: Prepared, test: PlannedTest, schedule: str, *, recorded: bool = False) -> str:
    """Return a shell command that runs *test* under *schedule*; with *recorded* as a recording."""
    selected = prepared.built.selected
    suites = selected.asked[test.suite]
    name = test.schedule.test if test.schedule else test.name
    return selected.request.rerun_schedule(selected.spec, suites, name, schedule, recorded=recorded)


async def _paced(trials: Trials, test: PlannedTest) -> Paced:
    """Return where *test* can be preempted, from a run in which it is not."""
    kernel = trials.prepared.name
    ready = await trials.ready(test, Mode.PROFILE)
    if isinstance(ready, GuestFailed):
        return Paced(kernel=kernel, test=test.name, spoilt=ready.reason)
    plan = msgspec.structs.replace(test, schedule=Schedule(test=test.name))
    said, _, counts = await trials.run(plan, Mode.PROFILE)
    if said.outcome not in _FIT:
        why = f"no schedule of it says anything, as without one it is {said.outcome}"
        return Paced(kernel=kernel, test=test.name, spoilt=f"{why}: {said.reason}".rstrip(": "))
    profile = profiled(*counted.profile(counts))
    if not profile.spans:
        why = "it is not known when its threads ran: QEMU's plugin has not seen them"
        return Paced(kernel=kernel, test=test.name, spoilt=why)
    return Paced(
        kernel=kernel,
        test=test.name,
        profile=profile,
        plain=said.outcome is Outcome.PASS,
    )
