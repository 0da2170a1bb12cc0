# SPDX-License-Identifier: GPL-2.0-only
"""The files that a run leaves behind: whole, or the ones that were there before."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from harness.errors import MachineError
from harness.run.results import Results, encode

RESULTS = "results.json"
JUNIT = "junit.xml"


@dataclass(frozen=True)
class Written:
    """Where the reports of a run are."""

    results: Path
    junit: Path


def write_reports(results: Results, directory: Path, junit: Path | None = None) -> Written:
    """Write ``results.json`` into *directory*, and the JUnit file there or to *junit*.

    The JSON goes first: every other report can be made from it again.  Raises MachineError when a
    file cannot be written.
    """
    from harness.report.junit import render

    written = Written(directory / RESULTS, junit or directory / JUNIT)
    write_atomically(written.results, encode(results))
    write_atomically(written.junit, render(results))
    return written


def write_atomically(path: Path, data: bytes) -> None:
    """Replace the file *path* by *data*; a reader sees the old file or the new one, never half.

    Raises MachineError where that fails, and leaves no temporary file.
    """
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = file.name
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # Temporary files are private to the user; a report is as readable as any file.
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise MachineError(
            "a report cannot be written", where=str(path), why=str(error.strerror or error)
        ) from error
