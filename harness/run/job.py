# SPDX-License-Identifier: GPL-2.0-only
"""The main job from beginning to end: prepare, run, judge, report; and the same taken up again."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness import __version__, loop
from harness.errors import HarnessError, UserError
from harness.prune import prune_now_and_then
from harness.report.files import Written, write_reports
from harness.report.steps import Display
from harness.run import capacity, journal, rundir, times, verdict
from harness.run.decode import decode_unexpected
from harness.run.executor import Executor, now
from harness.run.journal import Journal
from harness.run.prepare import Prepared, Request, prepare
from harness.run.records import Record, Requested, RunEnded, RunResumed, RunStarted
from harness.run.repeat import Attempts
from harness.run.results import Results
from harness.store import Store


@dataclass(frozen=True)
class Job:
    """One run: what is asked for, and where everything goes."""

    request: Request
    store: Store
    display: Display
    jobs: int | None
    """How many guests run at a time; None is as many as the machine carries."""
    directory: Path
    """The run's."""
    junit: Path | None = None
    """Where the JUnit report goes if not there."""
    latest: Path | None = None
    """A link that shall name the directory, if it is one of several beside each other."""

    def run(self, name: str) -> tuple[Results, Written]:
        """Do it from the beginning, under *name*; return what came out and where it is written.

        A run that is interrupted by SIGINT or SIGTERM returns what is known, with
        ``Results.interrupted``; before there was a plan it raises KeyboardInterrupt.  Raises
        UserError and MachineError as the rooms do.
        """
        with rundir.taken(self.directory, fresh=True), Journal(self.directory) as book:
            if self.latest:
                rundir.point(self.latest, self.directory.name)
            book.write(self.request.record())
            start = time.monotonic()
            with _term_interrupts():
                prepared = self._prepare()
                head = self._head(name, prepared)
                book.write(head)
            self._execute(prepared, head, Attempts(head, times.load(self.store)), book, start)
        return self._report()

    def resume(self) -> tuple[Results, Written]:
        """Go on where the run in the directory was cut off; see :meth:`run`.

        What has ended stays as it is.  Raises UserError where what would be tested now is not what
        was tested then: half a run on each is a run on neither.
        """
        with rundir.taken(self.directory, fresh=False):
            records = journal.read(self.directory)
            head = next((each for each in records if isinstance(each, RunStarted)), None)
            with Journal(self.directory) as book:
                start = time.monotonic()
                with _term_interrupts():
                    prepared = self._prepare()
                    if head is None:
                        head = self._head(self.directory.name, prepared)
                        book.write(head)
                    else:
                        _check_same(head, prepared)
                        book.write(RunResumed(time=now()))
                attempts = Attempts(head, times.load(self.store))
                for name, attempt, outcome in verdict.outcomes(records):
                    attempts.ended(name, attempt, outcome)
                self._execute(prepared, head, attempts, book, start)
        return self._report()

    def _prepare(self) -> Prepared:
        return prepare(self.request, self.store, self.directory, self.display)

    def _head(self, name: str, prepared: Prepared) -> RunStarted:
        return RunStarted(
            run=name,
            time=now(),
            harness=__version__,
            command=self.request.command,
            kernel=prepared.facts,
            tests=prepared.tests,
            notes=prepared.notes,
            repeat=self.request.repeat,
            until_fail=self.request.until_fail,
        )

    def _execute(
        self,
        prepared: Prepared,
        head: RunStarted,
        attempts: Attempts,
        book: Journal,
        start: float,
    ) -> None:
        """Run the tests, unless interrupted to the end, and note which it was."""
        interrupted = False
        factor = self.request.project.limits.tcg_factor
        jobs = self.jobs or capacity.jobs([test.guest for test in head.tests if test.runnable])
        with self.display.tests(attempts.labels()) as watcher:
            executor = Executor(prepared.foundry, book, self.directory, watcher, jobs, head, factor)
            try:
                loop.run(executor.execute(prepared.suites, attempts))
            except KeyboardInterrupt:
                interrupted = True
            except HarnessError as error:
                again = f"then go on with what is left: harness run --resume {self.directory}"
                error.hint = "; ".join(part for part in (error.hint, again) if part)
                raise
        if not interrupted:
            decode_unexpected(
                journal.read(self.directory),
                book,
                prepared.kernel,
                prepared.place,
                self.store,
                self.display,
            )
        book.write(RunEnded(time=now(), seconds=time.monotonic() - start, interrupted=interrupted))

    def _report(self) -> tuple[Results, Written]:
        results = read_results(self.directory)
        times.remember(self.store, results)
        prune_now_and_then(self.store, self.display)
        return results, write_reports(results, self.directory, self.junit)


def read_results(directory: Path) -> Results:
    """Return what the journal in *directory* says.

    Raises UserError where there is none, where it is damaged, and where it ends before the plan.
    """
    records = journal.read(directory)
    check_planned(records, directory)
    return verdict.results(records)


def check_planned(records: list[Record], directory: Path) -> None:
    """Raise UserError where the run was cut off before it knew what it tests."""
    if not any(isinstance(record, RunStarted) for record in records):
        raise UserError(
            "this run was cut off before it had a plan, so it has nothing to report",
            where=str(directory / journal.FILE_NAME),
            hint=f"take it up again: harness run --resume {directory}",
        )


def request_of(records: list[Record], where: Path) -> Requested:
    """Return what the user asked for when the run began; raises UserError where nobody knows."""
    if records and isinstance(records[0], Requested):
        return records[0]
    raise UserError(
        "this run does not say what was asked for, so it cannot be taken up again",
        where=str(where / journal.FILE_NAME),
        hint="start a new one",
    )


_SAME = {
    "source": "the kernel's source",
    "base_commit": "the kernel's source",
    "series_commit": "the series",
    "config_digest": "the kernel's configuration",
    "toolchain": "the toolchain",
}


def _check_same(head: RunStarted, prepared: Prepared) -> None:
    """Raise UserError unless what is ready now is what the plan was made for."""
    for fact, what in _SAME.items():
        then, today = getattr(head.kernel, fact), getattr(prepared.facts, fact)
        if then != today:
            _changed(what, f"{then} then, {today} now")
    then_names = [test.name for test in head.tests]
    if then_names != [test.name for test in prepared.tests]:
        _changed("the plan", "other tests than then")
    for planned, test in zip(head.tests, prepared.tests, strict=True):
        for field in msgspec.structs.fields(type(test)):
            if field.name in ("rerun", "build_log"):
                continue
            if getattr(planned, field.name) != getattr(test, field.name):
                _changed(f"the test {test.name}", f"its {field.name} is another than then")


def _changed(what: str, why: str) -> None:
    raise UserError(
        f"{what} has changed since the run began",
        why=why,
        hint="start a new run; `harness report` renders the old one as far as it went",
    )


@contextlib.contextmanager
def _term_interrupts() -> Iterator[None]:
    """Let SIGTERM interrupt as SIGINT does, which takes the compilers with it."""

    def interrupt(number: int, _frame: object) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
