# SPDX-License-Identifier: GPL-2.0-only
"""Running a plan: each test in a guest of its own, several at a time, everything in the journal."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from harness.errors import HarnessError, MachineError
from harness.guest import snapshot
from harness.guest.api import Command, How
from harness.guest.qemu import GuestNotBooted
from harness.guest.snapshot import Snapshot
from harness.process import disk_full
from harness.run.guests import GUEST_ROOT, Foundry
from harness.run.journal import Journal
from harness.run.observe import CappedLog, Observer
from harness.run.records import (
    Ending,
    GuestFailed,
    GuestReady,
    PlannedTest,
    RunStarted,
    TestEnded,
    TestStarted,
)
from harness.run.repeat import Attempts
from harness.run.results import Logs, Machine, Test
from harness.run.verdict import day_of, judge_test
from harness.suites import Suite

_ENVIRONMENT = (("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("HOME", "/root"), ("TERM", "dumb"))
_HOST_FAILURES = frozenset({How.QEMU_DIED, How.QEMU_STUCK})


class Watcher(Protocol):
    """Who is told, while it runs, which tests begin and end."""

    def started(self, label: str) -> None:
        """Take note that a test, or one attempt at it, runs now."""

    def finished(self, test: Test, label: str) -> None:
        """Take note of the result of what was begun as *label*; some are known without that."""


@dataclass(frozen=True)
class Executor:
    """Runs what *head* plans and tells the journal; *out* is the run's directory."""

    foundry: Foundry
    journal: Journal
    out: Path
    watcher: Watcher
    jobs: int
    head: RunStarted

    async def execute(self, suites: Sequence[Suite], attempts: Attempts) -> None:
        """Run what is left of *attempts*.

        Every one that can be run has an end in the journal afterwards.  Raises MachineError when
        the machine fails (no QEMU, full disk); what ended before stays.
        """
        slots = asyncio.Semaphore(self.jobs)
        for test in self.head.tests:
            if not test.runnable:
                self.watcher.finished(judge_test(test, day_of(self.head)), test.name)
        try:
            async with asyncio.TaskGroup() as group:
                for suite in suites:
                    if attempts.left(suite.name):
                        group.create_task(self._suite(suite, attempts, slots))
        except* HarnessError as errors:
            raise _first(errors) from None

    async def _suite(self, suite: Suite, attempts: Attempts, slots: asyncio.Semaphore) -> None:
        start = time.monotonic()
        try:
            async with slots:
                ready, probed = await self.foundry.snapshot(suite)
        except GuestNotBooted as error:
            if error.died.how in _HOST_FAILURES:
                raise
            self._guest_failed(suite, error)
            return
        config = ready.config
        self.journal.write(
            GuestReady(
                suite=suite.name,
                release=ready.hello.release,
                build_id=ready.hello.build_id.hex(),
                machine=Machine(
                    accelerator=probed.accelerator,
                    accelerator_reason=probed.why,
                    qemu=ready.qemu_version,
                    guest=f"{config.machine}, {config.cpus} CPUs, {config.memory_mib} MiB",
                ),
                seconds=time.monotonic() - start,
            )
        )
        upcoming = attempts.of(suite.name)
        async with asyncio.TaskGroup() as group:
            for _ in range(self.jobs):
                group.create_task(self._work(upcoming, attempts, ready, slots))

    async def _work(
        self,
        upcoming: Iterator[tuple[PlannedTest, int]],
        attempts: Attempts,
        ready: Snapshot,
        slots: asyncio.Semaphore,
    ) -> None:
        """Take the next attempt of the suite as long as there is one."""
        while True:
            # Taken only when it can begin: what is next may depend on what ended meanwhile.
            async with slots:
                following = next(upcoming, None)
                if following is None:
                    return
                test, attempt = following
                ended = await self._attempt(test, attempt, attempts.label(test, attempt), ready)
                attempts.ended(test.name, attempt, ended.outcome)

    def _guest_failed(self, suite: Suite, error: GuestNotBooted) -> None:
        log = Path("logs") / suite.name / "boot.kernel.log"
        (self.out / log).parent.mkdir(parents=True, exist_ok=True)
        (self.out / log).write_bytes(error.log)
        failed = GuestFailed(
            suite=suite.name,
            reason=error.what,
            kernel_log=error.why,
            log=str(log),
        )
        self.journal.write(failed)
        for test in self.head.tests:
            if test.suite == suite.name and test.runnable:
                self.watcher.finished(judge_test(test, day_of(self.head), guest=failed), test.name)

    async def _attempt(self, test: PlannedTest, attempt: int, label: str, ready: Snapshot) -> Test:
        started = TestStarted(
            name=test.name, attempt=attempt, time=now(), seed=secrets.token_hex(32)
        )
        self.journal.write(started)
        self.watcher.started(label)
        try:
            ended = await self._run(test, started, ready)
        except OSError as error:
            # Nothing of the test's own: its logs cannot be written, or no process be made.
            if error.errno == errno.ENOSPC:
                raise disk_full(str(self.out)) from error
            raise MachineError("a test cannot be run", where=test.name, why=str(error)) from error
        self.journal.write(ended)
        result = judge_test(test, day_of(self.head), started, ended)
        self.watcher.finished(result, label)
        return result

    async def _run(self, test: PlannedTest, started: TestStarted, ready: Snapshot) -> TestEnded:
        """Run one test in a guest that is made for it and destroyed after it."""
        start = time.monotonic()
        base = Path("logs") / _file_name(test.suite) / _file_name(test.program)
        if self.head.repeat != 1:
            base = base.with_name(f"{base.name}.{started.attempt}")
        logs = Logs(output=f"{base}.output.log", kernel=f"{base}.kernel.log")
        directory = f"/{GUEST_ROOT}/{test.suite}"
        command = Command(
            argv=(f"{directory}/{test.path}",),
            timeout_s=test.timeout_s,
            seed=bytes.fromhex(started.seed),
            wall_clock_ns=time.time_ns(),
            env=_ENVIRONMENT,
            cwd=directory,
            # An assertion goes to standard error and its "not ok" to standard output: only one
            # pipe keeps them in order.
            merge_output=True,
        )
        failure = ""
        with (
            CappedLog(self.out / logs.output) as output,
            CappedLog(self.out / logs.kernel) as kernel,
        ):
            observer = Observer(output, kernel, patient=bool(test.allow))
            try:
                async with (
                    await snapshot.restore(ready) as guest,
                    contextlib.aclosing(guest.run(command)) as events,
                ):
                    async for event in events:
                        observer.hear(event)
                        if observer.ending is not None:
                            break
            except MachineError as error:
                failure = str(error)
            report, findings, tail = observer.close()
        ending = observer.ending
        if failure or ending is None:
            ending = Ending(how="harness", detail=failure or "the guest gave no end of the test")
        return TestEnded(
            name=test.name,
            attempt=started.attempt,
            ending=ending,
            report=report,
            findings=findings,
            output=tail,
            guest_s=observer.guest_s,
            total_s=time.monotonic() - start,
            logs=logs,
        )


def now() -> str:
    """Return the time as RFC 3339, UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _file_name(name: str) -> str:
    """Return *name* as a harmless file name."""
    return re.sub(r"[^\w.+-]", "_", name)


def _first(errors: BaseExceptionGroup[HarnessError]) -> HarnessError:
    """Return the first error of nested groups; the others followed from it or repeat it."""
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
