# SPDX-License-Identifier: GPL-2.0-only
"""The coverage of earlier runs, and the selection of tests by it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from harness.errors import UserError
from harness.lab import probes
from harness.model.coverage import Coverage
from harness.run import journal
from harness.run.job import read_results
from harness.run.request import Request

_HINT = "harness run --coverage makes such a run"


class LastCoverage(msgspec.Struct, frozen=True):
    """The coverage of a run."""

    directory: Path
    coverage: Coverage


def last_coverage(runs: Path) -> LastCoverage:
    """Return the coverage of the newest run below *runs* that has one.

    Raises UserError where there is none.
    """
    for directory in newest(runs):
        found = coverage_of(directory)
        if found is not None:
            return LastCoverage(directory, found)
    raise UserError("no run has watched which lines its tests ran", where=str(runs), hint=_HINT)


def coverage_of(directory: Path) -> Coverage | None:
    """Return the coverage of the run in *directory*; None if it has none, or no plan."""
    if not (directory / probes.COVERAGE).is_dir() or not journal.is_one(directory):
        return None
    try:
        return read_results(directory).coverage
    except UserError:
        return None


def newest(runs: Path) -> Iterator[Path]:
    """Yield the runs below *runs*, the newest first: their names begin with the time."""
    if runs.is_dir():
        each = [path for path in runs.iterdir() if path.is_dir() and not path.is_symlink()]
        yield from sorted(each, reverse=True)


def left_to(request: Request, last: LastCoverage) -> Request:
    """Return *request* without the tests that ran no changed line of its patch.

    Tests that were not watched stay.  Raises UserError where *last* is of another series, or has no
    such patch.
    """
    number = request.for_patch
    assert number is not None  # noqa: S101  the caller's condition
    patch = last.coverage.patch(number)
    subjects = [each.subject for each in request.stack(request.kernels[0]).patches]
    if patch is None or number > len(subjects):
        raise UserError(
            f"there is no patch {number}",
            where="--for-patch",
            why=f"the series has {len(subjects)}, and that of the last coverage "
            f"{len(last.coverage.patches)}",
        )
    if patch.subject != subjects[number - 1]:
        raise UserError(
            "the last coverage is of another series",
            where=str(last.directory),
            why=f'its patch {number} is "{patch.subject}", here it is "{subjects[number - 1]}"',
            hint=_HINT,
        )
    left_out = tuple(test.name for test in last.coverage.tests if test.name not in patch.tests)
    return msgspec.structs.replace(request, left_out=left_out)
