# SPDX-License-Identifier: GPL-2.0-only
"""The main job: prepare, run, judge, report; and resuming it."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from harness.context import Context
from harness.errors import HarnessError, UserError
from harness.foreign import translate
from harness.judge import checks, merge
from harness.model.records import Record, Requested, RunEnded, kernel_names
from harness.model.results import Results
from harness.proc import signals
from harness.prune import prune_now_and_then
from harness.report.display import Display
from harness.report.files import Reports, Written
from harness.run import journal, times
from harness.run.coverage import with_coverage
from harness.run.journal import Journal
from harness.run.request import Request
from harness.run.reuse import Verdicts
from harness.run.rundir import RunDirectory
from harness.run.schedule import now
from harness.run.underway import Underway
from harness.store import Store


class Outcome(msgspec.Struct, frozen=True):
    """How a run ended."""

    results: Results
    written: Written | None
    """None where the reports could not be written; :attr:`error` says why."""
    error: Exception | None = None
    """The error that stopped the run after it had a plan, or that prevented its reports."""


class Job(msgspec.Struct, frozen=True):
    """One run: what is asked for, and where everything goes."""

    request: Request
    store: Store
    display: Display
    jobs: int | None
    """The number of guests at a time; None is as many as the machine can run."""
    place: RunDirectory
    reports: Reports

    def run(self, name: str) -> Outcome:
        """Run it from the beginning, under *name*; return the result.

        Once there is a plan, every end writes the reports: a signal gives what is known, with
        ``Results.interrupted``, and an error is returned together with the results.  Before there
        is one, raises KeyboardInterrupt, and UserError and MachineError as the rooms do.
        """
        with Journal(self.place.work) as book, signals.held() as held:
            run = self._underway(name, book)
            book.write(self.request.record(now()))
            return self._go(run, book, held)

    def resume(self) -> Outcome:
        """Go on where the run in the directory was cut off; see :meth:`run`.

        What has ended stays as it is.  Raises UserError where what would be tested now is not what
        was tested then: half a run on each is a run on neither.
        """
        with Journal(self.place.work) as book, signals.held() as held:
            run = self._underway(self.place.path.name, book)
            return self._go(run, book, held)

    def _underway(self, name: str, book: Journal) -> Underway:
        def stands() -> None:
            self.place.planned(book)
            # Also of what is taken up again: the earlier reports told of the run as it was.
            self.reports.begin_in(self.place.path)

        return Underway(
            request=self.request,
            name=name,
            place=self.place,
            book=book,
            store=self.store,
            display=self.display,
            jobs=self.jobs,
            stands=stands,
        )

    def _go(self, run: Underway, book: Journal, held: signals.Held) -> Outcome:
        """Do what is left of *run*; then write down how that went; then, and only then, the rest.

        Signals are held back here, but for the tests and the looking up of lines: what was found
        out must not be lost to a second Ctrl-C, or to the terminal that is closed.
        """
        interrupted, error = False, None
        try:
            with held.let_through():
                run.execute()
            with held.let_through():
                run.mutate()
            with held.let_through():
                run.shorten()
            with held.let_through():
                run.symbolize()
        except KeyboardInterrupt:
            interrupted = True
            if run.ready is None:
                raise
        except Exception as failure:
            error = failure
            if run.ready is None:
                raise
        end = RunEnded(
            time=now(),
            seconds=time.monotonic() - run.begun,
            prepare_s=run.ready - run.begun if run.ready else None,
            interrupted=interrupted,
            error=_words(error),
        )
        outcome = self._report(book, end, error)
        self._tidy(outcome.results, book, held)
        return outcome

    def _report(self, book: Journal, end: RunEnded, error: Exception | None) -> Outcome:
        """Write *end* and the reports; an error of one does not prevent the others."""
        records = book.records()
        try:
            book.write(end)
            book.keep()
        except HarnessError as failure:
            error = error or failure
        results = with_coverage(merge.whole([*records, end]), self.place.path)
        try:
            return Outcome(results, self.reports.write(results), error)
        except HarnessError as failure:
            self.reports.stopped(error or failure)
            return Outcome(results, None, error or failure)

    def _tidy(self, results: Results, book: Journal, held: signals.Held) -> None:
        """Do maintenance for the next run; errors do not affect this one."""
        try:
            with held.let_through():
                context, records = Context(self.store, self.display), book.records()
                times.remember(self.store, results, records)
                if not self.request.watched:
                    verdicts = Verdicts(context, self.request.project.limits.tcg_factor)
                    verdicts.remember(records, self.place.path)
                prune_now_and_then(context)
        except KeyboardInterrupt:
            pass
        except Exception as error:
            meaning = translate(error)
            if meaning is None:
                raise
            self.display.note(f"the cache was not pruned: {meaning.what}: {meaning.where}")


def _words(error: Exception | None) -> str:
    """Return the text of *error* for the reports; empty if there is none."""
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
    return with_coverage(merge.whole(records), directory)


def check_planned(records: list[Record], directory: Path) -> None:
    """Raise UserError if the run was cut off before it had a plan."""
    if not kernel_names(records) and checks.planned(records) is None:
        raise UserError(
            "this run was cut off before it had a plan, so it has nothing to report",
            where=str(directory / journal.FILE_NAME),
            hint=f"resume it: harness run --resume {directory}",
        )


def _resumed(command: Sequence[str]) -> list[str]:
    """Return the command line that resumes the checks which *command* began."""
    return [*command, *(["--resume"] if "--resume" not in command else [])]


def request_of(records: list[Record], where: Path) -> Requested:
    """Return what the user asked for when the run began; raises UserError where it does not say."""
    if records and isinstance(records[0], Requested):
        return records[0]
    if (made := checks.planned(records)) is not None:
        raise UserError(
            "these are checks of a series, not a run of tests",
            where=str(where / journal.FILE_NAME),
            hint=f"resume them: {shlex.join(_resumed(made.command))}",
        )
    raise UserError(
        "this run has no record of its request, so it cannot be resumed",
        where=str(where / journal.FILE_NAME),
        hint="start a new one",
    )
