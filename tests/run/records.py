# SPDX-License-Identifier: GPL-2.0-only
"""What the journal of a run that is at work says so far."""

from __future__ import annotations

from pathlib import Path

from harness.model.records import TestEnded, TestStarted
from harness.run import journal


def begun(out: Path, test: str) -> bool:
    """Return whether *test* has begun in the run with the directory *out*."""
    return _has(out, TestStarted, test)


def ended(out: Path, test: str) -> bool:
    """Return whether an attempt of *test* has ended in the run with the directory *out*."""
    return _has(out, TestEnded, test)


def _has(out: Path, kind: type[TestStarted | TestEnded], test: str) -> bool:
    if not (out / journal.FILE_NAME).exists():
        return False
    return any(isinstance(each, kind) and each.name == test for each in journal.read(out))
