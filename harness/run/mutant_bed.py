# SPDX-License-Identifier: GPL-2.0-only
"""Run tests on kernels in which a fault is selected before each."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from harness.context import Context
from harness.judge.verdict import judge_test
from harness.kbuild import Kernel
from harness.lab.executor import Attempt, TemplateId
from harness.lab.local import Bench, LocalExecutor
from harness.lab.templates import SNAPSHOT, template_factory
from harness.model.events import Accelerator
from harness.model.ids import KernelName
from harness.model.logfiles import LogFiles
from harness.model.plan import PlannedTest
from harness.model.records import GuestFailed, GuestReady, TestStarted
from harness.model.results import Logs, Test
from harness.mutants.schemata import PARAMETER
from harness.outcome import Outcome
from harness.run.prepare import Prepared
from harness.run.schedule import now


class Under(msgspec.Struct, frozen=True):
    """A kernel, and its selected fault."""

    kernel: KernelName
    number: int
    """Of the fault; 0 is none."""
    chosen: bool = True
    """Whether the kernel has to be told; one that has a single fault always has it."""


@dataclass
class Bed:
    """Guests for the tests of *prepared*, on other kernels than its own."""

    prepared: Prepared
    executor: LocalExecutor
    context: Context
    directory: Path
    """The run's, for logs."""
    today: date
    """The day that decides whether expectations have expired."""
    _ready: dict[TemplateId, GuestReady | GuestFailed] = field(default_factory=dict)
    _making: dict[TemplateId, asyncio.Lock] = field(default_factory=dict)

    def open(self, name: KernelName, kernel: Kernel) -> None:
        """Let tests run on *kernel*, which is called *name*."""
        project = self.prepared.built.selected.request.project
        self.executor.benches[name] = Bench(
            factory=template_factory(project, kernel, self.context),
            suites={suite.name: suite for suite in self.prepared.suites},
            logs=LogFiles(self.prepared.tests, repeated=True, kernel=name),
        )

    def close(self, name: KernelName) -> None:
        """Remove the snapshots of a kernel from the cache: no other run can use them."""
        for template in [each for each in self._ready if each.kernel == name]:
            for kind, key in self.executor.made_from(template):
                if kind == SNAPSHOT:
                    self.context.store.discard(kind, key)
            del self._ready[template]

    async def ready(self, under: Under, test: PlannedTest) -> GuestReady | GuestFailed:
        """Return what guests *test* has on a kernel, or why that does not come up."""
        template = TemplateId(under.kernel, test.group)
        async with self._making.setdefault(template, asyncio.Lock()):
            if template not in self._ready:
                self._ready[template] = await self.executor.prepare(template)
        return self._ready[template]

    async def run(
        self, under: Under, test: PlannedTest, ready: GuestReady, limit_s: float | None = None
    ) -> tuple[Test, Logs]:
        """Return how *test* ended under a fault, and its logs, which are kept if it noticed that.

        It may take *limit_s* seconds, if that is less than its own limit.
        """
        own_limit_s = test.timeout_s
        if ready.machine.accelerator == Accelerator.TCG:
            own_limit_s *= self.prepared.built.selected.request.project.limits.tcg_factor
        started = TestStarted(
            kernel=under.kernel,
            name=test.name,
            attempt=under.number,
            time=now(),
            seed=secrets.token_hex(32),
            limit_s=own_limit_s if limit_s is None else min(own_limit_s, limit_s),
        )
        files = ((PARAMETER, str(under.number)),) if under.chosen else ()
        attempt = Attempt(test, started, files, hasty=True)
        ended = await self.executor.run(attempt)
        result = judge_test(test, self.today, started, ended, boot=ready.boot)
        if not result.outcome.as_expected:
            await self.executor.check(attempt.template)
            if result.outcome is not Outcome.ERROR:
                return result, ended.logs
        for path in (ended.logs.output, ended.logs.kernel):
            (self.directory / path).unlink(missing_ok=True)
        return result, Logs()

    async def at_once(self, work: Sequence[Callable[[], Coroutine[Any, Any, None]]]) -> None:
        """Do all of *work*, as many at a time as the machine carries guests."""
        left = iter(work)

        async def worker() -> None:
            for each in left:
                await each()

        count = sum(self.executor.slots(self.prepared.tests).values())
        tasks = [asyncio.create_task(worker()) for _ in range(count)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
