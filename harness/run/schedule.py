# SPDX-License-Identifier: GPL-2.0-only
"""The schedule: run tests of built kernels while other kernels are built.

Kernels come one after the other, as they are built.  Workers take attempts, those of the
first kernel first, and tell the journal what was observed.  What is run again beyond the plan comes
when nothing of the plan can begin.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime

import msgspec

from harness import ktap
from harness.digest import digest
from harness.errors import MachineError
from harness.foreign import translate
from harness.judge.repeat import is_rerun
from harness.judge.verdict import day_of, judge_test
from harness.judge.witnesses import disturbed
from harness.lab.executor import Attempt, Executor, HostLost, TemplateId
from harness.lab.templates import COUNTED_FACTOR
from harness.model.events import Accelerator
from harness.model.ids import HostName
from harness.model.plan import PlannedTest
from harness.model.recording import RecordSpec
from harness.model.records import (
    AttemptLost,
    CacheDamaged,
    Ending,
    GuestFailed,
    GuestReady,
    TestEnded,
    TestStarted,
)
from harness.model.results import Test
from harness.outcome import Outcome
from harness.report.display import TestProgress
from harness.run.attempts import Ready
from harness.run.journal import Journal
from harness.run.reruns import Reruns
from harness.run.workqueue import OfKernel, WorkQueue
from harness.store import Damaged

_MOST_LOST = 3
"""An attempt under which a host was lost so often may be what kills them; one whose guest was kept
from running so often has the result that it has."""

Watch = Callable[[Ready], TestProgress]
"""Begins to show the tests of a kernel, and returns where they are shown."""


class Schedule(msgspec.Struct, frozen=True):
    """Runs the rest of the plan, and records it in the journal."""

    executor: Executor
    journal: Journal
    watch: Watch
    tcg_factor: float = 1.0
    """How much longer tests may take where the processors are emulated."""
    reruns: Reruns = msgspec.field(default_factory=Reruns)
    """What is run beyond the plan."""
    record: RecordSpec | None = None
    """How attempts are recorded, if they are."""

    async def execute(self, kernels: AsyncIterator[Ready]) -> None:
        """Run the tests of *kernels* as these come, several at a time.

        Every attempt that can be run has an end in the journal afterwards.  Raises MachineError
        when the machine fails (no QEMU, full disk), Damaged where guests tell nothing; what ended
        before stays.
        """
        line = WorkQueue(self.reruns)
        try:
            async with asyncio.TaskGroup() as group:
                async for kernel in kernels:
                    first = not line.kernels
                    self._welcome(kernel, line)
                    if first:
                        for host, count in self.executor.slots(kernel.head.tests).items():
                            for _ in range(count):
                                group.create_task(self._work(line, host))
                line.close()
        except BaseExceptionGroup as errors:
            # Not `except*`: before Python 3.11.4 what is raised there comes out in a group again.
            damage = errors.subgroup(Damaged)
            if damage is not None:
                self._void(damage, line)
            raise _first(damage or errors) from None
        finally:
            await self.executor.close()

    def _welcome(self, kernel: Ready, line: WorkQueue) -> None:
        """Show the tests of *kernel*, and those at once which cannot be run; queue the others."""
        watcher = self.watch(kernel)
        for test in kernel.head.tests:
            if not test.runnable:
                watcher.finished(judge_test(test, day_of(kernel.head)), kernel.label(test.name))
        self.reruns.welcome(kernel)
        line.add(OfKernel(kernel, watcher))
        self._strand(line)

    async def _work(self, line: WorkQueue, host: HostName) -> None:
        """Take attempts as long as there are any for *host*, and *host* is connected."""
        while not line.finished:
            # What is given to a host that is away would have to wait for it.
            if not await self._back(host, line):
                self._leave(host, line)
                return
            following = line.take(host, self.executor)
            if following is None:
                await line.change()
                continue
            kernel, test, number = following
            try:
                await self._one(kernel, test, number, host, line)
            except HostLost as lost:
                self._lost(kernel, test, number, host, lost, line)
            finally:
                line.over(kernel, test, number)

    async def _back(self, host: HostName, line: WorkQueue) -> bool:
        """Wait until *host* is there or nothing is left to run; False where it is given up."""
        asking = asyncio.ensure_future(self.executor.back(host))
        try:
            while not asking.done() and not line.finished:
                changing = asyncio.ensure_future(line.change())
                await asyncio.wait({asking, changing}, return_when=asyncio.FIRST_COMPLETED)
                changing.cancel()
        finally:
            asking.cancel()
        # It may have failed again before this goes on; where it has not, nothing is waited for.
        return line.finished or await self.executor.back(host)

    async def _one(
        self, kernel: OfKernel, test: PlannedTest, number: int, host: HostName, line: WorkQueue
    ) -> None:
        """Run one attempt, in a guest of a template that is made if need be."""
        template = TemplateId(kernel.name, test.group, host)
        if template not in line.ready:
            with line.making(template):
                await self._make(template, kernel, line)
        ready = line.ready.get(template)
        if ready is not None:
            ended = await self._attempt(kernel, test, number, ready, line)
            if ended is None:
                return
            kernel.attempts.ended(test.name, number, ended.outcome)
            self.reruns.ended(kernel.name, test.name, number, ended)

    async def _make(self, template: TemplateId, kernel: OfKernel, line: WorkQueue) -> None:
        """Return a template, or record why there is none."""
        made = await self.executor.prepare(template)
        self.journal.write(made)
        if isinstance(made, GuestReady):
            line.ready[template] = made
            return
        kernel.attempts.dropped(template.group)
        self.reruns.dropped(kernel.name, template.group)
        self._tell_failed(made, kernel)

    def _lost(
        self,
        kernel: OfKernel,
        test: PlannedTest,
        number: int,
        host: HostName,
        lost: HostLost,
        line: WorkQueue,
    ) -> None:
        """Note that an attempt has no end; it begins again, unless that has happened too often."""
        line.forget(host)
        why = f"{lost.what}: {lost.why}".removesuffix(": ")
        if not self._again(kernel, test, number, host, why, line):
            why = f"its host was lost {_MOST_LOST} times, last: {why}"
            self._give_up(kernel, test, number, why)

    def _again(
        self,
        kernel: OfKernel,
        test: PlannedTest,
        number: int,
        host: HostName,
        why: str,
        line: WorkQueue,
        *,
        starved: bool = False,
    ) -> bool:
        """Note that an attempt does not count; return whether it begins again."""
        record = AttemptLost(
            kernel=kernel.name,
            name=test.name,
            attempt=number,
            time=now(),
            host=host,
            why=why,
            starved=starved,
        )
        self.journal.write(record)
        line.lost[kernel.name, test.name, number] += 1
        if line.lost[kernel.name, test.name, number] == _MOST_LOST:
            return False
        if is_rerun(kernel.head, number):
            self.reruns.again(kernel.name, test.name, number)
        else:
            kernel.attempts.again(test, number)
        return True

    def _leave(self, host: HostName, line: WorkQueue) -> None:
        """Continue without *host*; raises MachineError if it was the last one."""
        line.left[host] = self.executor.why_left(host)
        if set(self.executor.slots(())) <= set(line.left):
            raise MachineError(
                "no host is left to run tests on",
                why="\n".join(f"{name}: {why}" for name, why in line.left.items()),
            )
        self._strand(line)
        line.changed()

    def _strand(self, line: WorkQueue) -> None:
        """Give up tests that only hosts could run which are left."""
        if not line.left:
            return
        why = "; ".join(f"{name}: {why}" for name, why in line.left.items())
        standing = [host for host in self.executor.slots(()) if host not in line.left]
        for kernel in line.kernels:
            for test in kernel.head.tests:
                if test.runnable and not any(
                    self.executor.fits(host, kernel.name, test) for host in standing
                ):
                    for number in kernel.attempts.stranded(test):
                        self._give_up(kernel, test, number, f"the hosts for it are left: {why}")

    def _give_up(self, kernel: OfKernel, test: PlannedTest, number: int, why: str) -> None:
        """Record that an attempt has ended without a result of its test."""
        ended = TestEnded(
            kernel=kernel.name,
            name=test.name,
            attempt=number,
            ending=Ending(how="harness", detail=why),
            report=ktap.Parser().close(),
            total_s=0.0,
        )
        self.journal.write(ended)
        result = judge_test(
            test, day_of(kernel.head), None, ended, survey=kernel.head.survey_of(test)
        )
        kernel.attempts.ended(test.name, number, result.outcome)
        self.reruns.ended(kernel.name, test.name, number, result)
        label = kernel.label(kernel.attempts.label(test, number))
        if is_rerun(kernel.head, number):
            kernel.watcher.again(result, label)
        else:
            kernel.watcher.finished(result, label)

    def _tell_failed(self, failed: GuestFailed, kernel: OfKernel) -> None:
        for test in kernel.head.tests:
            if test.group == (failed.suite, failed.guest) and test.runnable:
                result = judge_test(test, day_of(kernel.head), guest=failed)
                kernel.watcher.finished(result, kernel.label(test.name))

    async def _attempt(
        self,
        kernel: OfKernel,
        test: PlannedTest,
        number: int,
        ready: GuestReady,
        line: WorkQueue,
    ) -> Test | None:
        """Run an attempt and return its result; None where it does not count and begins again."""
        emulated = ready.machine.accelerator == Accelerator.TCG
        started = TestStarted(
            kernel=kernel.name,
            name=test.name,
            attempt=number,
            time=now(),
            seed=self._seed(test, number),
            limit_s=test.timeout_s * self._factor(test, emulated),
            host=ready.host,
        )
        attempt = Attempt(test, started)
        label = kernel.label(kernel.attempts.label(test, number))
        self.journal.write(started)
        kernel.watcher.started(label)
        ended = await self.executor.run(attempt)
        result = judge_test(
            test,
            day_of(kernel.head),
            started,
            ended,
            boot=ready.boot,
            survey=kernel.head.survey_of(test),
        )
        if result.outcome not in (Outcome.PASS, Outcome.SKIP):
            await self.executor.check(attempt.template)
        why = _in_doubt(ended, result)
        if why and line.lost[kernel.name, test.name, number] < _MOST_LOST - 1:
            self._again(kernel, test, number, ready.host, why, line, starved=True)
            return None
        self.journal.write(ended)
        if is_rerun(kernel.head, number):
            kernel.watcher.again(result, label)
        else:
            kernel.watcher.finished(result, label)
        return result

    def _seed(self, test: PlannedTest, attempt: int) -> str:
        # Under a schedule it is the same test, recorded or not.
        if self.record and test.schedule is None:
            return self.record.seed_of(test.name, attempt)
        return seed_of(test)

    def _factor(self, test: PlannedTest, emulated: bool) -> float:
        """Return how much longer a test may take than on a machine with real processors."""
        factor = self.tcg_factor if emulated else 1.0
        # A guest that is recorded keeps its limit by its own clock.
        return factor * COUNTED_FACTOR if test.guest.counted and not self.record else factor

    def _void(self, damage: BaseExceptionGroup[Damaged], line: WorkQueue) -> None:
        """Record that observations in guests made from damaged entries do not count."""
        error = _first(damage)
        assert isinstance(error, Damaged)  # noqa: S101  chosen by that
        for kernel in line.kernels:
            tests = tuple(
                test.name
                for test in kernel.head.tests
                if any(
                    error.entries
                    & self.executor.made_from(TemplateId(kernel.name, test.group, host))
                    for host in self.executor.slots(())
                )
            )
            if tests or len(line.kernels) == 1:
                self.journal.write(
                    CacheDamaged(kernel=kernel.name, time=now(), tests=tests, why=error.why)
                )


def _in_doubt(ended: TestEnded, result: Test) -> str:
    """Return how the host disturbed the guest, if *result* says nothing else; empty otherwise.

    What the test itself reports as failed, or what is malformed or missing, is evidence and stays:
    a failure is worse than an error, and of several errors the first is the reason.
    """
    why = disturbed(ended.ending)
    return why if result.outcome is Outcome.ERROR and result.reason.startswith(why) else ""


def seed_of(test: PlannedTest) -> str:
    """Return a seed for an attempt at *test*, in hex: always the same where all else is, too."""
    if not test.guest.counted:
        return secrets.token_hex(32)
    return digest(test.schedule.test if test.schedule else test.name)


def now() -> str:
    """Return the time as RFC 3339, UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _first(errors: BaseExceptionGroup) -> BaseException:
    """Return the first error of nested groups; the others followed from it or repeat it.

    One that the harness has no words for comes before all others, for it is a fault of the harness.
    """
    flat = list(_flat(errors))
    return next((each for each in flat if translate(each) is None), flat[0])


def _flat(errors: BaseExceptionGroup) -> Iterator[BaseException]:
    for each in errors.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from _flat(each)
        else:
            yield each
