# SPDX-License-Identifier: GPL-2.0-only
"""Running ``harness series check``: from a request to checks, their reports and the exit code."""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import click
import msgspec

from harness.cli.options import reports_of
from harness.context import Context
from harness.errors import UserError
from harness.judge import checks as judge
from harness.model.checks import Severity
from harness.model.records import CheckEnded, ChecksPlanned
from harness.model.results import Results
from harness.proc import signals
from harness.report import checks as report
from harness.report.console import make_progress, print_lines
from harness.report.files import Reports
from harness.report.formats import FORMATS, View
from harness.report.terminal import Terminal
from harness.report.verdict import verdict
from harness.run import checking, journal, rundir
from harness.run.journal import Journal
from harness.run.request import Request
from harness.store import Store
from harness.visible import visible


class Wish(msgspec.Struct, frozen=True):
    """What is to be checked, and where the reports go."""

    request: Request
    wanted: tuple[str, ...]
    fail_on: Severity
    out: Path | None
    junit: Path | None
    summary: Path | None
    verbose: bool
    form: str
    """Of what is printed; empty for the lines that a person reads."""
    resume: bool = False
    """Go on with the checks in *out* that were cut off."""


def run(wish: Wish) -> int:
    """Make the checks, write the reports, print what was found, and return the exit code."""
    command = (*wish.request.program, *sys.argv[1:])
    request = msgspec.structs.replace(wish.request, command=command)
    asked = checking.Wish(
        request,
        wish.wanted,
        wish.fail_on,
        lambda number, check: _rerun(request, number, check),
    )
    reports = reports_of(wish.request.working_dir, wish.junit, wish.summary, command)
    with signals.interruptible(), reports.kept_true(), ExitStack() as stack:
        place = stack.enter_context(_directory(wish, reports, stack))
        book = stack.enter_context(Journal(place.work))
        reports.begin_in(place.path)
        context = Context(Store.default(), make_progress(sys.stderr, verbose=wish.verbose))
        interrupt: KeyboardInterrupt | None = None
        error: Exception | None = None
        try:
            error = checking.check(asked, rundir.new_name(), place, book, context)
        except KeyboardInterrupt as signal:
            if judge.planned(book.records()) is None:
                raise
            interrupt = signal
        found = judge.results(book.records())
        written = reports.write(found)
        if written.note:
            click.echo(visible(f"note: {written.note}"), err=True)
        _print(wish, book, found, data=reports.on_stdout)
        if error is not None:
            raise error
        if interrupt is not None:
            if wish.out is not None:
                print_lines([[("continue: ", "dim"), (_again(command), "bold")]], sys.stderr)
            raise interrupt
    return found.exit_code


def _again(command: Sequence[str]) -> str:
    """Return a command line for a shell that resumes the checks which *command* began."""
    return shlex.join([*command, *(["--resume"] if "--resume" not in command else [])])


def _directory(
    wish: Wish, reports: Reports, stack: ExitStack
) -> AbstractContextManager[rundir.RunDirectory]:
    """Return the directory of the checks: that of those which are resumed, or a new one."""
    if wish.out is None:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="checks-"))
        return rundir.fresh(Path(name), reports.junit)
    if not wish.resume:
        return rundir.fresh(wish.out, reports.junit)
    directory = rundir.find(str(wish.out), wish.request.working_dir, None)
    records = journal.read(directory)
    if records and judge.planned(records) is None:
        raise UserError(
            "this is a run of tests, not of checks",
            where=str(directory),
            hint=f"resume it: harness run --resume {directory}",
        )
    return rundir.again(directory)


def _print(wish: Wish, book: Journal, found: Results, *, data: bool) -> None:
    """Print what was found; with *data* another report goes to standard output."""
    records = book.records()
    plan = next(each for each in records if isinstance(each, ChecksPlanned))
    made = {
        (r.result.number, r.result.check): r.result for r in records if isinstance(r, CheckEnded)
    }
    terminal = Terminal.of(sys.stdout)
    shown = report.lines(
        plan,
        {each.name: made[at] for each in plan.checks if (at := (each.number, each.check)) in made},
        found,
        verbose=wish.verbose,
        unicode=terminal.unicode,
    )
    # What is read from standard output is the report and nothing else.
    stream = sys.stderr if wish.form or data else sys.stdout
    print_lines([*shown, *([[]] if shown else []), *verdict(found)], stream)
    if wish.form:
        sys.stdout.buffer.write(FORMATS[wish.form].render(found, View()))


def _rerun(request: Request, number: int, check: str) -> str:
    """Return a command line for a shell that makes this check of this patch again."""
    spec = request.kernels[0]
    argv = [*request.program, "series", "check", *spec.series]
    if request.project_file != request.working_dir / request.project_file.name:
        argv += ["--project", str(request.project_file)]
    argv += ["--source", spec.source] if spec.source is not None else []
    if spec.series_version is not None:
        argv += ["--series-version", str(spec.series_version)]
    argv += [word for name in spec.config for word in ("--config", name)]
    argv += ["--cc", spec.cc] if spec.cc else []
    argv += ["--trust", request.trust] if request.trust else []
    return shlex.join([*argv, "--upto", str(number), "--check", check])
