# SPDX-License-Identifier: GPL-2.0-only
"""File and line for the kernel's reports, looked up after the tests have run.

The addresses in a report mean something only together with the kernel that printed it, and the
place where that was built moves on; so what was found out is put into the journal.  A run does it
only for what a person is going to read: tests that did not end as expected.  All others are
decoded on demand (``harness report --decode``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from harness import kbuild
from harness.context import Context
from harness.errors import UserError
from harness.judge import verdict
from harness.kbuild import Kernel, Slot
from harness.kbuild.lines import decode_reports, find_slot
from harness.model.ids import ONLY, KernelName
from harness.model.records import (
    Decoded,
    GuestReady,
    Record,
    RunStarted,
    TestEnded,
    kernel_names,
    of_kernel,
    standing,
)
from harness.run import journal, rundir
from harness.run.journal import Journal


def decode_unexpected(
    records: Sequence[Record],
    book: Journal,
    kernel: Kernel,
    place: Callable[[], Slot],
    context: Context,
    name: KernelName = ONLY,
) -> None:
    """Write to *book* the decoded reports of what did not end as expected on *kernel*.

    *name* is what the run calls it.  *place* returns where it was built, with its sources.
    """
    # The failed call of every point is shown with lines.
    points = {
        test.name
        for each in (of_kernel(records, name) if name in kernel_names(records) else ())
        if isinstance(each, RunStarted)
        for test in each.tests
        if test.fault
    }
    unexpected = {
        (test, attempt)
        for test, attempt, outcome in verdict.outcomes(records, name)
        if not outcome.as_expected or test in points
    }
    tests = _undecoded(of_kernel(records, name)) if unexpected else []
    _decode(
        [each for each in tests if (each.name, each.attempt) in unexpected],
        book,
        kernel,
        place,
        context,
    )


def decode_all(directory: Path, context: Context) -> None:
    """Add to the journal in *directory* the decoded reports of all tests that have none yet.

    Raises UserError where the kernel of the run, or what it was built from, is no longer there.
    """
    with rundir.locked(directory):
        records = journal.read(directory)
        with Journal(directory) as book:
            for name in kernel_names(records):
                _decode_kernel(of_kernel(records, name), directory, book, context)


def _decode_kernel(
    records: Sequence[Record], directory: Path, book: Journal, context: Context
) -> None:
    tests = _undecoded(records)
    if not tests:
        return
    shown = next((each.build_id for each in records if isinstance(each, GuestReady)), "")
    kernel = kbuild.find(context.store, shown) if shown else None
    if kernel is None:
        raise UserError(
            "the kernel of this run is no longer in the cache, so nothing can be decoded",
            where=str(directory),
            why=f"build ID {shown}" if shown else "no guest has shown the kernel's build ID",
            hint="run the tests again",
        )

    def place() -> Slot:
        found = find_slot(kernel, context.store)
        if found is None:
            raise UserError(
                "the directory in which this kernel was built is gone or holds another one now",
                where=str(directory),
                hint="run the tests again, and ask for the lines before the next build",
            )
        return found

    _decode(tests, book, kernel, place, context)


def _undecoded(records: Sequence[Record]) -> list[TestEnded]:
    records = standing(records)
    done = {(each.name, each.attempt) for each in records if isinstance(each, Decoded)}
    return [
        each
        for each in records
        if isinstance(each, TestEnded)
        and (each.findings or each.left)
        and (each.name, each.attempt) not in done
    ]


def _decode(
    tests: Sequence[TestEnded],
    book: Journal,
    kernel: Kernel,
    place: Callable[[], Slot],
    context: Context,
) -> None:
    if not tests:
        return
    # All at once: the same function stands in many reports.
    reports = [text for test in tests for text in _texts(test)]
    found = decode_reports(kernel, place(), context, reports)
    if found.note:
        context.note(found.note)
    upcoming = iter(found.reports)
    for test in tests:
        lines = tuple(next(upcoming) for _ in _texts(test))
        if lines != _texts(test):
            count = len(test.findings)
            book.write(
                Decoded(
                    kernel=test.kernel,
                    name=test.name,
                    attempt=test.attempt,
                    reports=lines[:count],
                    left=lines[count:],
                )
            )


def _texts(test: TestEnded) -> tuple[str, ...]:
    """Return what is to be decoded of a test: the kernel's reports, and where objects come from."""
    return (
        *(finding.report for finding in test.findings),
        *(survivor.where for survivor in test.left or ()),
    )
