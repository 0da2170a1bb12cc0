# SPDX-License-Identifier: GPL-2.0-only
"""The main job from beginning to end: prepare, run, judge, report."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from harness import __version__
from harness.errors import UserError
from harness.guest.accel import Wanted
from harness.guest.machine import GuestConfig
from harness.kbuild import Kernel
from harness.progress import Progress
from harness.report.files import Written, write_reports
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
    _take(directory)
    if out is None:
        _point(directory.parent / LATEST, directory.name)
    with Journal(directory) as book:
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
            asyncio.run(executor.execute(prepared.suites, prepared.tests))
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


def _take(directory: Path) -> None:
    """Make *directory* ready for a run; what an earlier run left there goes."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            "the run's directory cannot be made", where=str(directory), why=str(error)
        ) from None
    if (directory / journal.FILE_NAME).exists():
        # Only what a run makes is removed: the user may have named a directory with more in it.
        (directory / journal.FILE_NAME).unlink()
        for name in ("results.json", "junit.xml"):
            (directory / name).unlink(missing_ok=True)
        shutil.rmtree(directory / "logs", ignore_errors=True)


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
