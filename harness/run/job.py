# SPDX-License-Identifier: GPL-2.0-only
"""The main job from beginning to end: prepare, run, judge, report."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from harness import __version__, loop
from harness.errors import UserError
from harness.guest.accel import Wanted
from harness.guest.machine import GuestConfig
from harness.kbuild import Kernel
from harness.progress import Progress
from harness.report.files import JUNIT, RESULTS, Written, write_reports
from harness.report.steps import Display
from harness.run import journal, verdict
from harness.run.executor import Executor, now
from harness.run.guests import Foundry
from harness.run.journal import Journal
from harness.run.prepare import Prepared, Request, prepare
from harness.run.records import RunEnded, RunStarted
from harness.run.results import Results
from harness.store import Store

RUNS = "runs"
"""Where runs are kept, below the project's directory."""
LATEST = "latest"
"""A link there to the newest run."""


def run(
    request: Request,
    store: Store,
    display: Display,
    *,
    jobs: int,
    out: Path | None = None,
    junit: Path | None = None,
) -> tuple[Results, Written]:
    """Do what *request* asks for; return what came out and where it is written.

    *out* is the run's directory (default: a new one below ``runs/``).  A run that is interrupted
    by SIGINT or SIGTERM returns what is known, with ``Results.interrupted``; before there was a
    plan it raises KeyboardInterrupt.  Raises UserError and MachineError as the rooms do.
    """
    name = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(2)
    directory = out or request.project_dir / RUNS / name
    with _taken(directory), Journal(directory) as book:
        if out is None:
            _point(directory.parent / LATEST, directory.name)
        with _term_interrupts():
            start = time.monotonic()
            prepared = prepare(request, store, directory, display)
            book.write(
                RunStarted(
                    run=name,
                    time=now(),
                    harness=__version__,
                    command=request.command,
                    kernel=prepared.facts,
                    tests=prepared.tests,
                    notes=prepared.notes,
                )
            )
            interrupted = _execute(prepared, request, store, book, directory, display, jobs)
        book.write(RunEnded(time=now(), seconds=time.monotonic() - start, interrupted=interrupted))
    results = verdict.results(journal.read(directory))
    return results, write_reports(results, directory, junit)


def _execute(
    prepared: Prepared,
    request: Request,
    store: Store,
    book: Journal,
    directory: Path,
    display: Display,
    jobs: int,
) -> bool:
    """Run the tests; return whether they were interrupted."""
    maker = foundry(request, prepared.kernel, store, display)
    with display.tests([test.name for test in prepared.tests]) as watcher:
        executor = Executor(maker, book, directory, watcher, jobs)
        try:
            loop.run(executor.execute(prepared.suites, prepared.tests))
        except KeyboardInterrupt:
            return True
    return False


def foundry(request: Request, kernel: Kernel, store: Store, progress: Progress) -> Foundry:
    """Return what makes guests for *kernel* as the project file describes them."""
    guest = request.project.guest
    return Foundry(
        kernel=kernel,
        config=GuestConfig(
            cpus=guest.cpus,
            memory_mib=guest.memory_mib,
            boot_limit_s=request.project.limits.boot_s,
        ),
        wanted=Wanted(guest.accelerator),
        store=store,
        progress=progress,
    )


@contextlib.contextmanager
def _taken(directory: Path) -> Iterator[None]:
    """Have *directory* for one run alone; what an earlier run left there goes.

    Raises UserError where it cannot be made or written, or where another run is at work in it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise UserError(
            "the run's directory cannot be used", where=str(directory), why=str(error)
        ) from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                "another run is at work in this directory",
                where=str(directory),
                hint="wait for it, or name another directory with --out",
            ) from None
        # Only what a run makes is removed: the user may have named a directory with more in it.
        for name in (journal.FILE_NAME, RESULTS, JUNIT):
            (directory / name).unlink(missing_ok=True)
        shutil.rmtree(directory / "logs", ignore_errors=True)
        yield
    finally:
        os.close(handle)


def _point(link: Path, target: str) -> None:
    """Let *link* name *target*, at no moment missing."""
    draft = link.with_name(f".{link.name}.{target}")
    with contextlib.suppress(OSError):  # a convenience; a file system without links is no error
        draft.symlink_to(target)
        draft.replace(link)


@contextlib.contextmanager
def _term_interrupts() -> Iterator[None]:
    """Let SIGTERM end a run as SIGINT does: a CI that cancels a job wants its guests gone."""

    def interrupt(number: int, _frame: object) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
