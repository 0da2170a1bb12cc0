# SPDX-License-Identifier: GPL-2.0-only
"""A run's directory: its names, who may use it, and finding it again."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from harness.errors import UserError
from harness.report.files import JUNIT, RESULTS
from harness.run import journal

RUNS = "runs"
"""Where runs are kept, below the project's directory."""
LATEST = "latest"
"""A link there to the newest run."""


def new_name() -> str:
    """Return the name of a run that begins now."""
    return datetime.now(UTC).strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(2)


def find(wanted: str, working_dir: Path, runs: Path | None) -> Path:
    """Return the directory of the run *wanted*: a path, or a name below *runs*.

    Raises UserError where there is no journal.
    """
    if not wanted:
        raise UserError(
            "the name of the run is empty",
            why="an empty path would mean the current directory",
            hint=f"name the directory of a run, or '{LATEST}' for the newest of this project",
        )
    places = [working_dir / wanted] + ([runs / wanted] if runs else [])
    for place in places:
        if (place / journal.FILE_NAME).is_file():
            return place.resolve()
    raise UserError(
        f"there is no run '{wanted}'",
        where=", ".join(str(place) for place in places),
        why=f"no {journal.FILE_NAME} there",
        hint=f"name the directory of a run, or '{LATEST}' for the newest of this project",
    )


@contextlib.contextmanager
def taken(directory: Path, *, fresh: bool) -> Iterator[None]:
    """Have *directory* for one run alone; a *fresh* one begins without what an earlier left there.

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
        if fresh:
            # Only what a run makes is removed: the user may have named a directory with more in it.
            for name in (journal.FILE_NAME, RESULTS, JUNIT):
                (directory / name).unlink(missing_ok=True)
            shutil.rmtree(directory / "logs", ignore_errors=True)
        yield
    finally:
        os.close(handle)


def point(link: Path, target: str) -> None:
    """Let *link* name *target*, at no moment missing."""
    draft = link.with_name(f".{link.name}.{target}")
    with contextlib.suppress(OSError):  # a convenience; a file system without links is no error
        draft.symlink_to(target)
        draft.replace(link)
