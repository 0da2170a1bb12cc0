# SPDX-License-Identifier: GPL-2.0-only
"""File and line for what the kernel complained of, looked up once the tests have run.

The addresses in a report mean something only together with the kernel that printed it, and the
place where that was built moves on; so what was found out is put into the journal.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.kbuild.lines import decode_reports
from harness.progress import Progress
from harness.run.journal import Journal
from harness.run.prepare import Prepared
from harness.run.records import Decoded, Record, TestEnded
from harness.store import Store


def decode(
    records: Sequence[Record],
    book: Journal,
    prepared: Prepared,
    store: Store,
    progress: Progress,
) -> None:
    """Write to *book* the decoded reports of all tests in *records* that have none yet."""
    done = {(each.name, each.attempt) for each in records if isinstance(each, Decoded)}
    tests = [
        each
        for each in records
        if isinstance(each, TestEnded) and each.findings and (each.name, each.attempt) not in done
    ]
    if not tests:
        return
    # All at once: the same function stands in many reports.
    reports = [finding.report for test in tests for finding in test.findings]
    found = decode_reports(prepared.kernel, prepared.place, store, reports, progress)
    if found.note:
        progress.note(found.note)
    upcoming = iter(found.reports)
    for test in tests:
        lines = tuple(next(upcoming) for _ in test.findings)
        if lines != tuple(finding.report for finding in test.findings):
            book.write(Decoded(name=test.name, attempt=test.attempt, reports=lines))
