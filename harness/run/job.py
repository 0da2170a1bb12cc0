# SPDX-License-Identifier: GPL-2.0-only
"""The main job from beginning to end: prepare, run, judge, report; and the same taken up again."""

from __future__ import annotations

import dataclasses
import itertools
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness import __version__
from harness.errors import HarnessError, UserError
from harness.foreign import translate
from harness.judge import verdict
from harness.lab import capacity
from harness.model.records import Record, Requested, RunEnded, RunResumed, RunStarted
from harness.model.results import Results
from harness.proc import signals
from harness.prune import prune_now_and_then
from harness.report.display import Display
from harness.report.files import Reports, Written
from harness.run import journal, times
from harness.run.attempts import Attempts
from harness.run.journal import Journal
from harness.run.prepare import Prepared, prepare
from harness.run.request import Request
from harness.run.rundir import RunDirectory
from harness.run.schedule import Executor, now
from harness.run.symbolize import decode_unexpected
from harness.store import Damaged, Store

_MOST_REPAIRS = 2
"""A machine on which the cache is damaged again and again is not to be trusted with anything."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    results: Results
    written: Written | None
    """None where the reports could not be written; :attr:`error` says why."""
    error: Exception | None = None
    """What stopped the run after it had a plan, or kept its reports from being written."""


@dataclass(frozen=True)
class Job:
    """One run: what is asked for, and where everything goes."""

    request: Request
    store: Store
    display: Display
    jobs: int | None
    """How many guests run at a time; None is as many as the machine carries."""
    place: RunDirectory
    reports: Reports

    def run(self, name: str) -> Outcome:
        """Do it from the beginning, under *name*; return what came out.

        Once there is a plan, every end writes the reports: a signal gives what is known, with
        ``Results.interrupted``, and an error is returned together with the results.  Before there
        is one, raises KeyboardInterrupt, and UserError and MachineError as the rooms do.
        """
        with Journal(self.place.work) as book, signals.held() as held:
            begun = time.monotonic()
            book.write(self.request.record(now()))
            prepared = self._prepare(held)
            head = self._head(name, prepared)
            book.write(head)
            self.place.planned(book)
            return self._finish(prepared, head, book, begun, held)

    def resume(self) -> Outcome:
        """Go on where the run in the directory was cut off; see :meth:`run`.

        What has ended stays as it is.  Raises UserError where what would be tested now is not what
        was tested then: half a run on each is a run on neither.
        """
        with Journal(self.place.work) as book, signals.held() as held:
            begun = time.monotonic()
            head = next((each for each in book.records() if isinstance(each, RunStarted)), None)
            prepared = self._prepare(held)
            if head is None:
                head = self._head(self.place.path.name, prepared)
                book.write(head)
            else:
                _check_same(head, prepared)
                book.write(RunResumed(time=now()))
            self.place.planned(book)
            self.reports.begin_in(self.place.path)
            return self._finish(prepared, head, book, begun, held)

    def _prepare(self, held: signals.Held) -> Prepared:
        with held.let_through():
            return self._ready(self.place.work)

    def _ready(self, out: Path) -> Prepared:
        """Make everything ready, with logs in *out*; also what is damaged in the cache."""
        notes: list[str] = []
        while True:
            try:
                prepared = prepare(self.request, self.store, out, self.display)
            except Damaged as damage:
                if len(notes) == _MOST_REPAIRS:
                    raise
                notes.append(self._tell(damage))
                continue
            return dataclasses.replace(prepared, notes=(*prepared.notes, *notes))

    def _tell(self, damage: Damaged) -> str:
        """Show and return a note that says what was damaged."""
        note = f"{damage.what} and is mended: {'; '.join(damage.why.splitlines())}"
        self.display.note(note)
        return note

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

    def _finish(
        self,
        prepared: Prepared,
        head: RunStarted,
        book: Journal,
        begun: float,
        held: signals.Held,
    ) -> Outcome:
        """Run what is left, and write down how that went; then, and only then, all the rest.

        Signals are held back here, but for the tests and the looking up of lines: what was found
        out must not be lost to someone's second Ctrl-C, or to the terminal that is closed.
        """
        ready = time.monotonic()
        interrupted, error = False, None
        try:
            with held.let_through():
                self._execute(prepared, head, book)
            with held.let_through():
                self._decode(prepared, book)
        except KeyboardInterrupt:
            interrupted = True
        except Exception as failure:
            error = failure
        end = RunEnded(
            time=now(),
            seconds=time.monotonic() - begun,
            prepare_s=ready - begun,
            interrupted=interrupted,
            error=_words(error),
        )
        outcome = self._report(book, end, error)
        self._tidy(outcome.results, held)
        return outcome

    def _execute(self, prepared: Prepared, head: RunStarted, book: Journal) -> None:
        """Run what is left; again what ran in guests that were made from damaged entries."""
        try:
            for repairs in itertools.count():
                try:
                    self._run_left(prepared, head, book)
                except Damaged as damage:
                    if repairs == _MOST_REPAIRS:
                        raise
                    self._tell(damage)
                    prepared = self._ready(self.place.path)
                    _check_same(head, prepared)
                else:
                    return
        except HarnessError as error:
            again = f"then go on with what is left: harness run --resume {self.place.path}"
            error.hint = "; ".join(part for part in (error.hint, again) if part)
            raise

    def _run_left(self, prepared: Prepared, head: RunStarted, book: Journal) -> None:
        """Run every attempt that has no end; raises Damaged where guests tell nothing."""
        attempts = Attempts(head, times.load(self.store))
        for name, attempt, outcome in verdict.outcomes(book.records()):
            attempts.ended(name, attempt, outcome)
        factor = self.request.project.limits.tcg_factor
        jobs = self.jobs or capacity.jobs([test.guest for test in head.tests if test.runnable])
        out = self.place.path
        with self.display.tests(attempts.labels()) as watcher:
            executor = Executor(prepared.foundry, book, out, watcher, jobs, head, factor)
            signals.run(executor.execute(prepared.suites, attempts))

    def _decode(self, prepared: Prepared, book: Journal) -> None:
        try:
            decode_unexpected(
                book.records(), book, prepared.kernel, prepared.place, self.store, self.display
            )
        except HarnessError as error:
            # A help for the reader; every test has ended and is judged.
            self.display.note(f"no lines were looked up for kernel reports: {error.what}")

    def _report(self, book: Journal, end: RunEnded, error: Exception | None) -> Outcome:
        """Write *end* and the reports; where one cannot be written, the others are all the same."""
        records = book.records()
        try:
            book.write(end)
            book.keep()
        except HarnessError as failure:
            error = error or failure
        results = verdict.results([*records, end])
        try:
            return Outcome(results, self.reports.write(results), error)
        except HarnessError as failure:
            self.reports.stopped(error or failure)
            return Outcome(results, None, error or failure)

    def _tidy(self, results: Results, held: signals.Held) -> None:
        """Do what the next run has something of; whatever goes wrong, this one is over."""
        try:
            with held.let_through():
                times.remember(self.store, results)
                prune_now_and_then(self.store, self.display)
        except KeyboardInterrupt:
            pass
        except Exception as error:
            meaning = translate(error)
            if meaning is None:
                raise
            self.display.note(f"the cache was not tidied up: {meaning.what}: {meaning.where}")


def _words(error: Exception | None) -> str:
    """Return what the reports say of *error*; empty for none."""
    if error is None:
        return ""
    meaning = translate(error)
    return str(meaning) if meaning else f"a fault of the harness itself: {error!r}"


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
