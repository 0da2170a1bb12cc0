# SPDX-License-Identifier: GPL-2.0-only
"""Running a plan: each test in a guest of its own, several at a time, everything in the journal."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Protocol

import msgspec

from harness.errors import MachineError
from harness.foreign import of_os, translate
from harness.guest.qemu import GuestNotBooted
from harness.judge.boot import allowed_at
from harness.judge.verdict import day_of, judge_test
from harness.lab.attempt import command_of
from harness.lab.boot import observe_boot
from harness.lab.observe import CappedLog, Observer
from harness.lab.templates import Foundry, Template
from harness.model.events import Accelerator, Guest, How
from harness.model.logfiles import LogFiles
from harness.model.plan import Group, PlannedTest
from harness.model.records import (
    Boot,
    CacheDamaged,
    Ending,
    GuestFailed,
    GuestReady,
    RunStarted,
    TestEnded,
    TestStarted,
)
from harness.model.results import Test
from harness.outcome import Outcome
from harness.run.attempts import Attempts
from harness.run.journal import Journal
from harness.store import Damaged, Entry
from harness.suites import Suite

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
    """How many guests run at a time."""
    head: RunStarted
    tcg_factor: float = 1.0
    """How much longer tests may take where the processors are emulated."""

    @cached_property
    def logs(self) -> LogFiles:
        """Where the logs of the tests are."""
        return LogFiles(self.head.tests, repeated=self.head.repeat != 1)

    async def execute(self, suites: Sequence[Suite], attempts: Attempts) -> None:
        """Run what is left of *attempts*.

        Every one that can be run has an end in the journal afterwards.  Raises MachineError when
        the machine fails (no QEMU, full disk); what ended before stays.
        """
        for test in self.head.tests:
            if not test.runnable:
                self.watcher.finished(judge_test(test, day_of(self.head)), test.name)
        line = _Line(attempts, {suite.name: suite for suite in suites})
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.jobs):
                    group.create_task(self._work(line))
        except BaseExceptionGroup as errors:
            # Not `except*`: before Python 3.11.4 what is raised there comes out in a group again.
            damage = errors.subgroup(Damaged)
            if damage is not None:
                self._void(damage, line)
            raise _first(damage or errors) from None

    async def _work(self, line: _Line) -> None:
        """Take the next attempt as long as there is one."""
        while (following := await line.next()) is not None:
            test, attempt = following
            if test.group not in line.templates:
                with line.making(test.group):
                    await self._make(test.group, line)
            template = line.templates.get(test.group)
            if template is not None:
                label = line.attempts.label(test, attempt)
                ended = await self._attempt(test, attempt, label, template, line)
                line.attempts.ended(test.name, attempt, ended.outcome)

    async def _make(self, group: Group, line: _Line) -> None:
        """Make the template of *group*, or tell why there is none."""
        start = time.monotonic()
        name, guest = group
        try:
            template = await self.foundry.template(line.suites[name], guest)
        except Damaged:
            raise
        except MachineError as error:
            # A kernel or an initramfs that has lost a bit does not boot either.
            entries = self.foundry.entries(line.suites[name], guest)
            # What had not been made yet when it failed is not there.
            made = [entry for entry in entries if self.foundry.store.path(*entry).exists()]
            line.editions[group] = {entry: self.foundry.store.edition(entry) for entry in made}
            await self._check(group, line)
            if not isinstance(error, GuestNotBooted) or error.died.how in _HOST_FAILURES:
                raise
            self._guest_failed(group, error)
            return
        log = self.logs.boot(group)
        self._keep(log, template.boot_log)
        boot = observe_boot(template.boot_log, template.hello, log)
        line.templates[group], line.boots[group] = template, boot
        line.editions[group] = {each: self.foundry.store.edition(each) for each in template.entries}
        self.journal.write(
            GuestReady(
                suite=name,
                guest=guest,
                release=template.hello.release,
                build_id=template.hello.build_id.hex(),
                machine=template.machine,
                seconds=time.monotonic() - start,
                boot=boot,
            )
        )

    async def _check(self, group: Group, line: _Line) -> None:
        """Compare once, beside the other tests, what guests of *group* are made from.

        Raises Damaged where it is not what was written: then no failure tells of the kernel.
        """
        if group not in line.checks:
            check = self.foundry.store.check_editions
            comparing = asyncio.to_thread(check, line.editions[group])
            line.checks[group] = asyncio.ensure_future(comparing)
        await asyncio.shield(line.checks[group])

    def _void(self, damage: BaseExceptionGroup[Damaged], line: _Line) -> None:
        """Note that nothing counts which was seen in guests made from damaged entries."""
        error = _first(damage)
        assert isinstance(error, Damaged)  # noqa: S101  chosen by that
        groups = {
            group
            for group, template in line.templates.items()
            if error.entries.intersection(template.entries)
        }
        tests = tuple(test.name for test in self.head.tests if test.group in groups)
        self.journal.write(CacheDamaged(time=now(), tests=tests, why=error.why))

    def _keep(self, path: str, log: bytes) -> None:
        """Write the console's *log* of a boot to *path*; raises MachineError where that fails."""
        try:
            (self.out / path).parent.mkdir(parents=True, exist_ok=True)
            (self.out / path).write_bytes(log)
        except OSError as error:
            raise of_os(error, "the log of a boot cannot be written") from error

    def _guest_failed(self, group: Group, error: GuestNotBooted) -> None:
        name, guest = group
        log = self.logs.boot(group)
        self._keep(log, error.log)
        failed = GuestFailed(
            suite=name,
            guest=guest,
            reason=error.what,
            kernel_log=error.why,
            log=log,
        )
        self.journal.write(failed)
        for test in self.head.tests:
            if test.group == group and test.runnable:
                self.watcher.finished(judge_test(test, day_of(self.head), guest=failed), test.name)

    async def _attempt(
        self, test: PlannedTest, attempt: int, label: str, template: Template, line: _Line
    ) -> Test:
        emulated = template.machine.accelerator == Accelerator.TCG
        started = TestStarted(
            name=test.name,
            attempt=attempt,
            time=now(),
            seed=secrets.token_hex(32),
            limit_s=test.timeout_s * (self.tcg_factor if emulated else 1.0),
        )
        self.journal.write(started)
        self.watcher.started(label)
        try:
            ended = await self._run(test, started, template)
        except OSError as error:
            # Nothing of the test's own: its logs cannot be written, or no process be made.  Or
            # another run has found the snapshot damaged and removed it.
            editions = line.editions[test.group]
            await asyncio.to_thread(self.foundry.store.check_editions, editions)
            raise of_os(error, f"the test {test.name} cannot be run") from error
        result = judge_test(test, day_of(self.head), started, ended, boot=line.boots[test.group])
        if result.outcome not in (Outcome.PASS, Outcome.SKIP):
            await self._check(test.group, line)
        self.journal.write(ended)
        self.watcher.finished(result, label)
        return result

    async def _run(self, test: PlannedTest, started: TestStarted, template: Template) -> TestEnded:
        """Run one test in a guest that is made for it and destroyed after it."""
        start = time.monotonic()
        logs = self.logs.of(test, started.attempt)
        command = command_of(test, started.seed, started.limit_s)
        failure = ""
        boot: Boot | None = None
        with (
            CappedLog(self.out / logs.output) as output,
            CappedLog(self.out / logs.kernel) as kernel,
        ):
            observer = Observer(output, kernel, patient=bool(allowed_at("test", test)))
            try:
                async with (
                    await template.start() as guest,
                    contextlib.aclosing(guest.run(command)) as events,
                ):
                    if template.saved is None:
                        boot = self._observe_own_boot(test, started.attempt, guest)
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
            boot=boot,
        )

    def _observe_own_boot(self, test: PlannedTest, attempt: int, guest: Guest) -> Boot:
        """Return what the boot of *guest* has shown; its log is kept where that is anything."""
        boot = observe_boot(guest.boot_log, guest.hello)
        if not boot.findings and not boot.taint:
            return boot
        log = self.logs.boot_of(test, attempt)
        self._keep(log, guest.boot_log)
        return msgspec.structs.replace(boot, log=log)


class _Line:
    """What is left, for several workers, and the templates that they have made."""

    def __init__(self, attempts: Attempts, suites: Mapping[str, Suite]) -> None:
        self.attempts = attempts
        self.suites = suites
        self.templates: dict[Group, Template] = {}
        self.editions: dict[Group, dict[Entry, tuple[int, int] | None]] = {}
        """Of what each template was made from: another run may make it anew."""
        self.checks: dict[Group, asyncio.Future[None]] = {}
        """Of what templates are made from, begun by the first test of each that failed."""
        self.boots: dict[Group, Boot] = {}
        self._making: set[Group] = set()
        self._made = asyncio.Event()

    async def next(self) -> tuple[PlannedTest, int] | None:
        """Return the attempt that is next; None when nothing is left.

        What could not begin at once, for want of a template that somebody else is making, lets
        others go before it.
        """
        # One by one, because what is next may depend on what ended meanwhile.
        while not self.attempts.over:
            self._made.clear()
            found = self.attempts.begin(lambda test: test.group not in self._making)
            if found is not None:
                return found
            await self._made.wait()
        return None

    @contextlib.contextmanager
    def making(self, group: Group) -> Iterator[None]:
        """Keep others from beginning with *group* for as long as its template is being made."""
        self._making.add(group)
        yield
        self._making.discard(group)
        if group not in self.templates:
            self.attempts.dropped(group)
        self._made.set()


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
