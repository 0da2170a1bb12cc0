# SPDX-License-Identifier: GPL-2.0-only
"""The order in which everything runs: tests of the kernels that are there, while others are built.

Kernels come one after the other, as they are built.  Workers take attempts, those of the
first kernel first, and tell the journal what was observed.  What is run again beyond the plan comes
when nothing of the plan can begin.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

from harness.digest import digest
from harness.foreign import translate
from harness.judge.repeat import is_rerun
from harness.judge.verdict import day_of, judge_test
from harness.lab.executor import Attempt, Executor, TemplateId
from harness.lab.templates import COUNTED_FACTOR
from harness.model.events import Accelerator
from harness.model.ids import KernelName
from harness.model.plan import PlannedTest
from harness.model.records import (
    CacheDamaged,
    GuestFailed,
    GuestReady,
    RunStarted,
    TestStarted,
)
from harness.model.results import Test
from harness.outcome import Outcome
from harness.report.display import TestProgress
from harness.run.attempts import Attempts, Ready
from harness.run.journal import Journal
from harness.run.reruns import Reruns
from harness.store import Damaged

Watch = Callable[[Ready], TestProgress]
"""Begins to show the tests of a kernel, and returns where they are shown."""


@dataclass(frozen=True)
class Schedule:
    """Runs what is left of the plan, and tells the journal."""

    executor: Executor
    journal: Journal
    watch: Watch
    tcg_factor: float = 1.0
    """How much longer tests may take where the processors are emulated."""
    reruns: Reruns = field(default_factory=Reruns)
    """What is run beyond the plan."""

    async def execute(self, kernels: AsyncIterator[Ready]) -> None:
        """Run the tests of *kernels* as these come, several at a time.

        Every attempt that can be run has an end in the journal afterwards.  Raises MachineError
        when the machine fails (no QEMU, full disk), Damaged where guests tell nothing; what ended
        before stays.
        """
        line = _Line(self.reruns)
        try:
            async with asyncio.TaskGroup() as group:
                async for kernel in kernels:
                    first = not line.kernels
                    self._welcome(kernel, line)
                    if first:
                        for _ in range(self.executor.slots(kernel.head.tests)):
                            group.create_task(self._work(line))
                line.close()
        except BaseExceptionGroup as errors:
            # Not `except*`: before Python 3.11.4 what is raised there comes out in a group again.
            damage = errors.subgroup(Damaged)
            if damage is not None:
                self._void(damage, line)
            raise _first(damage or errors) from None
        finally:
            await self.executor.close()

    def _welcome(self, kernel: Ready, line: _Line) -> None:
        """Show the tests of *kernel*, and those at once which cannot be run; queue the others."""
        watcher = self.watch(kernel)
        for test in kernel.head.tests:
            if not test.runnable:
                watcher.finished(judge_test(test, day_of(kernel.head)), kernel.label(test.name))
        self.reruns.welcome(kernel)
        line.add(_OfKernel(kernel, watcher))

    async def _work(self, line: _Line) -> None:
        """Take the next attempt as long as there is one."""
        while (following := await line.next()) is not None:
            kernel, test, attempt = following
            template = TemplateId(kernel.name, test.group)
            if template not in line.ready:
                with line.making(template, kernel):
                    await self._make(template, kernel, line)
            ready = line.ready.get(template)
            if ready is not None:
                ended = await self._attempt(kernel, test, attempt, ready)
                kernel.attempts.ended(test.name, attempt, ended.outcome)
                self.reruns.ended(kernel.name, test.name, attempt, ended)
            line.done()

    async def _make(self, template: TemplateId, kernel: _OfKernel, line: _Line) -> None:
        """Make a template, or tell why there is none."""
        made = await self.executor.prepare(template)
        self.journal.write(made)
        if isinstance(made, GuestReady):
            line.ready[template] = made
            return
        self._tell_failed(made, kernel)

    def _tell_failed(self, failed: GuestFailed, kernel: _OfKernel) -> None:
        for test in kernel.head.tests:
            if test.group == (failed.suite, failed.guest) and test.runnable:
                result = judge_test(test, day_of(kernel.head), guest=failed)
                kernel.watcher.finished(result, kernel.label(test.name))

    async def _attempt(
        self, kernel: _OfKernel, test: PlannedTest, number: int, ready: GuestReady
    ) -> Test:
        emulated = ready.machine.accelerator == Accelerator.TCG
        started = TestStarted(
            kernel=kernel.name,
            name=test.name,
            attempt=number,
            time=now(),
            seed=digest(test.name) if test.guest.counted else secrets.token_hex(32),
            limit_s=test.timeout_s * self._factor(test, emulated),
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
        self.journal.write(ended)
        if is_rerun(kernel.head, number):
            kernel.watcher.again(result, label)
        else:
            kernel.watcher.finished(result, label)
        return result

    def _factor(self, test: PlannedTest, emulated: bool) -> float:
        """Return how much longer a test may take than on a machine with real processors."""
        factor = self.tcg_factor if emulated else 1.0
        return factor * COUNTED_FACTOR if test.guest.counted else factor

    def _void(self, damage: BaseExceptionGroup[Damaged], line: _Line) -> None:
        """Note that nothing counts which was seen in guests made from damaged entries."""
        error = _first(damage)
        assert isinstance(error, Damaged)  # noqa: S101  chosen by that
        for kernel in line.kernels:
            tests = tuple(
                test.name
                for test in kernel.head.tests
                if error.entries & self.executor.made_from(TemplateId(kernel.name, test.group))
            )
            if tests or len(line.kernels) == 1:
                self.journal.write(
                    CacheDamaged(kernel=kernel.name, time=now(), tests=tests, why=error.why)
                )


@dataclass(frozen=True)
class _OfKernel:
    """A kernel whose tests are under way."""

    ready: Ready
    watcher: TestProgress

    @property
    def name(self) -> KernelName:
        return self.ready.name

    @property
    def head(self) -> RunStarted:
        return self.ready.head

    @cached_property
    def attempts(self) -> Attempts:
        return self.ready.attempts

    def label(self, text: str) -> str:
        return self.ready.label(text)


@dataclass
class _Line:
    """What is left, for several workers, and the templates that there are."""

    reruns: Reruns
    kernels: list[_OfKernel] = field(default_factory=list)
    ready: dict[TemplateId, GuestReady] = field(default_factory=dict)
    _making: set[TemplateId] = field(default_factory=set)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _closed: bool = False
    _at_work: int = 0
    """Attempts that have begun and not ended: what comes after may depend on them."""

    def __post_init__(self) -> None:
        self.reruns.wake = self._changed.set

    def add(self, kernel: _OfKernel) -> None:
        """Queue the tests of *kernel* behind those of the others."""
        self.kernels.append(kernel)
        self._changed.set()

    def close(self) -> None:
        """Take note that no kernel comes any more."""
        self._closed = True
        self._changed.set()

    async def next(self) -> tuple[_OfKernel, PlannedTest, int] | None:
        """Return the attempt that is next; None when nothing is left and nothing will come.

        What could not begin at once, for want of a template that another worker is making, lets
        others go before it.
        """
        # One by one, because what is next may depend on what ended meanwhile.
        while not self._over:
            self._changed.clear()
            found = self._planned() or self._rerun()
            if found is not None:
                self._at_work += 1
                return found
            await self._changed.wait()
        return None

    @property
    def _over(self) -> bool:
        planned = all(kernel.attempts.over for kernel in self.kernels)
        return self._closed and planned and not self._at_work and self.reruns.over

    def _planned(self) -> tuple[_OfKernel, PlannedTest, int] | None:
        for kernel in self.kernels:
            found = kernel.attempts.begin(self._free(kernel))
            if found is not None:
                return kernel, *found
        return None

    def _rerun(self) -> tuple[_OfKernel, PlannedTest, int] | None:
        found = self.reruns.begin(lambda template: template not in self._making)
        if found is None:
            return None
        tried, number = found
        return next(each for each in self.kernels if each.name == tried.name), tried.test, number

    def _free(self, kernel: _OfKernel) -> Callable[[PlannedTest], bool]:
        return lambda test: TemplateId(kernel.name, test.group) not in self._making

    def done(self) -> None:
        """Take note that what :meth:`next` returned last to one of the workers has ended."""
        self._at_work -= 1
        self._changed.set()

    @contextlib.contextmanager
    def making(self, template: TemplateId, kernel: _OfKernel) -> Iterator[None]:
        """Keep others from beginning with *template* for as long as it is being made."""
        self._making.add(template)
        yield
        self._making.discard(template)
        if template not in self.ready:
            kernel.attempts.dropped(template.group)
            self.reruns.dropped(template.kernel, template.group)
        self._changed.set()


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
