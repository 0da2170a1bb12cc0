# SPDX-License-Identifier: GPL-2.0-only
"""Measurements before a sweep: the number of calls of a test, and what it leaves in memory.

A test is run without a fault first.  Then the call that fails is sought that is the last: no test
says how many there are, but each guest says whether the call that was to fail has come.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from harness.context import Context
from harness.errors import UserError
from harness.judge.verdict import judge_test
from harness.lab.executor import Attempt, Executor, TemplateId
from harness.model.events import Accelerator
from harness.model.faults import (
    PAGE,
    SLAB,
    Fault,
    InjectSpec,
    Surveyed,
    Sweep,
    most,
    parse_point,
)
from harness.model.ids import KernelName
from harness.model.plan import PlannedTest
from harness.model.records import GuestFailed, GuestReady, TestEnded, TestStarted
from harness.outcome import Outcome
from harness.run.schedule import now

_CONTROLS = 3
"""How often a test is run without a fault: what it leaves is not the same each time."""
_FIRST = 64
_FACTOR = 4
_MOST = 1 << 20
"""No test makes so many calls within its time."""
_LEAST_LIMIT_S = 5.0
_TIMES_SLOWER = 4.0
"""How much longer a test may take with a fault than without."""
_OF_KERNEL = ("/sys/kernel/debug/", "/proc/")
"""How the file begins that could not be written, where it is not the program that is missing."""
_FIT = frozenset({Outcome.PASS, Outcome.FAIL, Outcome.XFAIL, Outcome.XPASS})
"""How a test may end without a fault for a sweep over it to say something."""


class Wanted(msgspec.Struct, frozen=True):
    """The requested points and tests."""

    spec: InjectSpec

    def tests(self, planned: Sequence[PlannedTest]) -> tuple[PlannedTest, ...]:
        """Return those of *planned* that are meant; UserError for a name that none has."""
        names = {test.name for test in planned}
        for target in self.spec.targets:
            point = parse_point(target)
            if (point.test if point and target not in names else target) not in names:
                raise UserError(
                    "there is no such test",
                    where=target,
                    why=f"available tests: {', '.join(sorted(names))}",
                )
        return tuple(test for test in planned if not self.spec.targets or self._means(test.name))

    def _means(self, test: str) -> bool:
        return test in self.spec.targets or bool(self.single(test))

    def single(self, test: str) -> dict[str, set[int]]:
        """Return the points of *test* that are asked for one by one, by their sweeps."""
        found: dict[str, set[int]] = {}
        for target in self.spec.targets:
            point = parse_point(target)
            if point and point.test == test:
                found.setdefault(point.sweep, set()).update({point.nth} - {0})
        return found

    def sweeps(self, test: str) -> tuple[str, ...]:
        """Return the sweeps over all calls of *test* that are asked for."""
        if self.spec.targets and test not in self.spec.targets:
            return ()
        return (*self.spec.kinds, *self.spec.functions)


def chosen(calls: int, sample: int | None) -> tuple[int, ...]:
    """Return *sample* of the numbers from 1 to *calls*, at even distances; all without a sample."""
    if sample is None or sample >= calls:
        return tuple(range(1, calls + 1))
    return tuple(1 + at * calls // sample for at in range(sample))


def points(
    test: PlannedTest, survey: Surveyed, rerun: Callable[[str], str]
) -> Iterator[PlannedTest]:
    """Yield what is planned of *test*: its control, and each of its points.

    *rerun* makes the command line for the name of a point.
    """

    def point(fault: Fault) -> PlannedTest:
        return msgspec.structs.replace(
            test,
            name=fault.name,
            program=f"{test.program}{fault.suffix}",
            rerun=rerun(fault.name),
            fault=fault,
        )

    yield point(Fault(test=test.name))
    for sweep in survey.sweeps:
        for nth in sweep.points:
            each = point(Fault(test=test.name, sweep=sweep.sweep, nth=nth))
            yield msgspec.structs.replace(each, timeout_s=survey.limit_s, expect=())


@dataclass
class Surveyor:
    """Measures tests in separate guests, several at a time."""

    executor: Executor
    kernel: KernelName
    wanted: Wanted
    tcg_factor: float
    context: Context
    _guests: dict[TemplateId, asyncio.Task[GuestReady | GuestFailed]] = field(default_factory=dict)
    _runs: int = 0

    async def survey(self, tests: Sequence[PlannedTest], tell: Callable[[Surveyed], None]) -> None:
        """Find out about *tests*, and *tell* of each what is known as soon as that is so.

        Raises UserError where the kernel cannot make fail what is asked for, and what the executor
        raises.
        """
        room = asyncio.Semaphore(sum(self.executor.slots(tuple(tests)).values()))

        async def one(test: PlannedTest) -> None:
            async with room:
                with self.context.step(f"Counting the calls of {test.name}") as step:
                    found = await self._of(test)
                    counts = ", ".join(f"{each.calls} {each.sweep}" for each in found.sweeps)
                    step.result(found.spoilt or counts)
                tell(found)

        async with asyncio.TaskGroup() as group:
            for test in tests:
                group.create_task(one(test))

    async def _of(self, test: PlannedTest) -> Surveyed:
        template = TemplateId(self.kernel, test.group)
        if template not in self._guests:
            self._guests[template] = asyncio.create_task(self.executor.prepare(template))
        ready = await self._guests[template]
        if isinstance(ready, GuestFailed):
            return Surveyed(kernel=self.kernel, test=test.name, spoilt=ready.reason)
        emulated = ready.machine.accelerator == Accelerator.TCG
        factor = self.tcg_factor if emulated else 1.0
        control = Fault(test=test.name)
        runs = [await self._run(test, control, test.timeout_s * factor) for _ in range(_CONTROLS)]
        for ended in runs:
            self._check(ended, control)
            plan = msgspec.structs.replace(test, fault=control)
            said = judge_test(plan, datetime.now(UTC).date(), None, ended, boot=ready.boot)
            if said.outcome not in _FIT:
                why = f"not swept: without a fault it is {said.outcome}: {said.reason}"
                return Surveyed(kernel=self.kernel, test=test.name, spoilt=why)
        seconds = max(each.guest_s or 0.0 for each in runs)
        limit_s = min(test.timeout_s, max(_LEAST_LIMIT_S, _TIMES_SLOWER * seconds / factor))
        kept = [each.left for each in runs if each.left is not None]

        async def comes(fault: Fault) -> bool:
            ended = await self._run(test, fault, limit_s * factor)
            self._check(ended, fault)
            return ended.fault_hit is not False

        return Surveyed(
            kernel=self.kernel,
            test=test.name,
            sweeps=tuple([each async for each in self._sweeps(test.name, comes)]),
            limit_s=limit_s,
            usual=most(kept) if len(kept) == len(runs) else None,
        )

    async def _sweeps(
        self, test: str, comes: Callable[[Fault], Awaitable[bool]]
    ) -> AsyncIterator[Sweep]:
        """Yield the sweeps over *test*; *comes* says whether a call is made."""
        single = self.wanted.single(test)
        for sweep in dict.fromkeys((*self.wanted.sweeps(test), *single)):
            if not sweep:
                continue  # the control, which is always planned
            if sweep not in self.wanted.sweeps(test):
                yield Sweep(sweep=sweep, calls=0, points=tuple(sorted(single[sweep])))
                continue

            async def reaches(nth: int, sweep: str = sweep) -> bool:
                return await comes(Fault(test=test, sweep=sweep, nth=nth))

            calls = await _last(reaches)
            yield Sweep(sweep=sweep, calls=calls, points=chosen(calls, self.wanted.spec.sample))

    async def _run(self, test: PlannedTest, fault: Fault, limit_s: float) -> TestEnded:
        self._runs += 1
        started = TestStarted(
            kernel=self.kernel,
            name=test.name,
            attempt=self._runs,
            time=now(),
            seed=secrets.token_hex(32),
            limit_s=limit_s,
        )
        return await self.executor.run(Attempt(msgspec.structs.replace(test, fault=fault), started))

    def _check(self, ended: TestEnded, fault: Fault) -> None:
        """Raise UserError where the kernel cannot make the call fail."""
        detail = ended.ending.detail
        if ended.ending.how != "not-started" or not detail.startswith(_OF_KERNEL):
            return
        if fault.sweep in (SLAB, PAGE, ""):
            raise UserError(
                "this kernel cannot make allocations fail",
                where=detail,
                hint="build it with the options of kernel-configs/inject.config",
            )
        raise UserError(
            "this kernel cannot make that function fail",
            where=f"--function {fault.sweep}",
            why=detail,
            hint="it must be marked with ALLOW_ERROR_INJECTION(), and the error fit its type; "
            "/sys/kernel/debug/error_injection/list has all such functions",
        )


async def _last(comes: Callable[[int], Awaitable[bool]]) -> int:
    """Return the highest number for which *comes* says yes; 0 where it never does."""
    low, high = 0, _FIRST
    while high <= _MOST and await comes(high):
        low, high = high, high * _FACTOR
    while high - low > 1:
        middle = (low + high) // 2
        if await comes(middle):
            low = middle
        else:
            high = middle
    return low
