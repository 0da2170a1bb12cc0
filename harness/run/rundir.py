# SPDX-License-Identifier: GPL-2.0-only
"""A run's directory: its names, who may use it, and finding it again.

    DIR/journal.jsonl, DIR/logs/     what happened; all reports can be made from it again
    DIR/results.json, DIR/junit.xml  the reports
    DIR/next/                        a run that has no plan yet, where DIR holds an earlier one

A directory that is given with ``--out`` may hold something of the user's.  It is a run's if it has
a journal; any other must be empty.  What an earlier run left is replaced when the new plan stands.
Links are not followed: neither the directory nor its ``logs`` may be one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from harness.errors import UserError
from harness.foreign import told
from harness.model.logfiles import LOGS
from harness.run import journal
from harness.run.journal import Journal

RUNS = "runs"
"""Where runs are kept, below the project's directory."""
LATEST = "latest"
"""A link there to the newest run."""
NEXT = "next"
"""Where a run begins whose directory holds an earlier one."""


class RunDirectory(msgspec.Struct, frozen=True):
    """The locked directory of a run."""

    path: Path
    """Where the run belongs, and where its reports go."""
    work: Path
    """Where its journal and logs are until the plan stands."""

    def planned(self, book: Journal) -> None:
        """Replace what an earlier run left by what *book* and the logs beside it say.

        At any moment the directory holds one journal or the other, never none.
        """
        if self.work == self.path:
            return
        with told("the earlier run cannot be replaced", self.path):
            aside = self.work / "earlier-logs"
            with contextlib.suppress(FileNotFoundError):
                (self.path / LOGS).rename(aside)
            book.move(self.path)
            with contextlib.suppress(FileNotFoundError):
                (self.work / LOGS).rename(self.path / LOGS)
            _remove(self.work)


def new_name() -> str:
    """Return the name of a run that begins now."""
    return datetime.now(UTC).strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(2)


def find(wanted: str, working_dir: Path, runs: Path | None) -> Path:
    """Return the directory of the run *wanted*: a path, or a name below *runs*.

    Where a newer run was cut off before it had a plan, it is that one's, below the earlier one's.
    Raises UserError where there is no journal.
    """
    if not wanted:
        raise UserError(
            "the name of the run is empty",
            why="an empty path would mean the current directory",
            hint=f"name the directory of a run, or '{LATEST}' for the newest of this project",
        )
    # An absolute path names the same place twice.
    places = dict.fromkeys([working_dir / wanted, *([runs / wanted] if runs else [])])
    for place in places:
        with told("the run cannot be read", place, kind=UserError):
            for directory in (place / NEXT, place):
                if (directory / journal.FILE_NAME).is_file():
                    return directory.resolve()
    raise UserError(
        f"there is no run '{wanted}'",
        where=", ".join(str(place) for place in places),
        why=f"no {journal.FILE_NAME} there",
        hint=f"name the directory of a run, or '{LATEST}' for the newest of this project",
    )


@contextlib.contextmanager
def fresh(directory: Path, but: Path | None = None) -> Iterator[RunDirectory]:
    """Have *directory* for a run that begins; nothing of an earlier one is touched yet.

    The directory is made if it is missing.  Raises UserError for a directory that is not a run's
    and holds any file other than *but*, and as :func:`locked`.
    """
    _check_ours(directory, but)
    with locked(directory):
        with told("the run's directory cannot be used", directory, kind=UserError):
            work = directory
            if os.path.lexists(directory / journal.FILE_NAME):
                work = directory / NEXT
                _remove(work)
                work.mkdir()
            # From here on it is the directory of a run.
            (work / journal.FILE_NAME).touch()
        yield RunDirectory(directory, work)


@contextlib.contextmanager
def again(directory: Path) -> Iterator[RunDirectory]:
    """Have *directory*, as :func:`find` returned it, for its run to go on.

    Raises UserError as :func:`locked`, and where its logs are a link.
    """
    above = directory.parent
    path = above if directory.name == NEXT and (above / journal.FILE_NAME).exists() else directory
    with locked(path):
        if (directory / LOGS).is_symlink():
            raise UserError(
                "the logs of this run are a link, which is not followed",
                where=str(directory / LOGS),
                hint="put the directory itself there",
            )
        yield RunDirectory(path, directory)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Lock *directory* for one run.

    Raises UserError where it cannot be made or read, or where another run is at work in it.
    """
    with told("the run's directory cannot be used", directory, kind=UserError):
        directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                "another run is using this directory",
                where=str(directory),
                hint="wait for it, or name another directory with --out",
            ) from None
        yield
    finally:
        os.close(handle)


def point(link: Path, target: str) -> None:
    """Let *link* name *target*, at no moment missing."""
    draft = link.with_name(f".{link.name}.{target}")
    try:
        draft.symlink_to(target)
        draft.replace(link)
    except OSError:
        # A convenience: a file system without links is no error.
        draft.unlink(missing_ok=True)


def _check_ours(directory: Path, but: Path | None) -> None:
    """Raise UserError for a link, and for a directory with anything in it that is not a run's."""
    hint = "name a directory that is new or empty; nothing was changed"
    with told("the run's directory cannot be used", directory, kind=UserError):
        if directory.is_symlink():
            raise UserError(
                "the run's directory is a link, which is not followed",
                where=str(directory),
                why=f"it leads to {directory.readlink()}",
                hint="name the directory itself",
            )
        if not directory.is_dir() or journal.is_one(directory):
            return
        found = next((each for each in _files(directory) if but is None or each != but), None)
    if found is not None:
        raise UserError(
            "the directory is neither empty nor that of a run",
            where=str(directory),
            why=f"it holds {found.relative_to(directory)}, and no journal of a run",
            hint=hint,
        )


def _files(directory: Path) -> Iterator[Path]:
    """Yield everything below *directory* that is not a directory; links are not followed."""

    def fail(error: OSError) -> None:
        raise error

    for below, names, files in os.walk(directory, onerror=fail):
        links = [name for name in names if (Path(below) / name).is_symlink()]
        yield from (Path(below) / name for name in (*files, *links))


def _remove(path: Path) -> None:
    """Remove *path*, whatever it is; a link, and not what it leads to."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path)
