# SPDX-License-Identifier: GPL-2.0-only
"""What ``harness series check`` prints, from a journal."""

from __future__ import annotations

import io

import pytest

from harness.judge import checks as judge
from harness.model.checks import CheckResult, Finding, PlannedCheck, Severity
from harness.model.records import CheckEnded, ChecksPlanned, Record
from harness.model.results import Kernel
from harness.report import checks as report
from harness.report.console import print_lines, print_summary

pytestmark = pytest.mark.unit

KERNEL = Kernel(
    release="", source="Linux", base_commit="c", series="mm: Do it", patches=("mm: One", "mm: Two")
)


def journal(*made: CheckResult, titles: tuple[str, ...]) -> list[Record]:
    checks = tuple(
        PlannedCheck(number=number, check=check, title=title, patch="a.patch", rerun="again")
        for number, title in enumerate(titles, 1)
        for check in ("signed-off", "builds", "boots", "headers")
    )
    plan = ChecksPlanned(
        run="r",
        time="2026-07-01T03:00:00.000Z",
        harness="0",
        command=("harness", "series", "check"),
        kernel=KERNEL,
        checks=checks,
        fail_on=Severity.ERROR,
    )
    return [plan, *(CheckEnded(result=each) for each in made)]


def printed(records: list[Record]) -> list[str]:
    plan = records[0]
    assert isinstance(plan, ChecksPlanned)
    each = {
        (found.result.number, found.result.check): found.result
        for found in records
        if isinstance(found, CheckEnded)
    }
    made = {c.name: each[c.number, c.check] for c in plan.checks if (c.number, c.check) in each}
    stream = io.StringIO()
    print_lines(report.lines(plan, made, judge.results(records), unicode=False), stream)
    return stream.getvalue().splitlines()


def good(number: int, *checks: str) -> list[CheckResult]:
    return [CheckResult(number=number, check=check) for check in checks]


def test_what_was_not_made_for_one_reason_takes_one_line() -> None:
    bad = CheckResult(
        number=1, check="boots", findings=(Finding(Severity.ERROR, "its kernel reports it"),)
    )
    records = journal(
        *good(1, "signed-off", "builds"),
        bad,
        *good(2, "signed-off"),
        titles=('patch 1/2 "mm: One"', 'patch 2/2 "mm: Two"'),
    )
    assert printed(records) == [
        '! patch 1/2 "mm: One"',
        "  ! fail   boots",
        "      error: its kernel reports it",
        "  ! notrun headers  the run ended before its turn",
        '! patch 2/2 "mm: Two"',
        "  ! notrun builds, boots, headers  the run ended before its turn",
    ]


def test_a_patch_of_a_stack_has_the_number_that_its_checks_have() -> None:
    every = [each for number in (1, 2) for each in good(number, "signed-off", "builds", "boots")]
    skip = [CheckResult(number=n, check="headers", skipped="no tool") for n in (1, 2)]
    records = journal(*every, *skip, titles=('patch 1/1 "mm: One"', 'patch 1/1 "mm: Two"'))
    assert printed(records) == [
        '+ patch 1/1 "mm: One"',
        "  - skip   headers  no tool",
        '+ 2: patch 1/1 "mm: Two"',
        "  - skip   headers  no tool",
    ]


def test_a_report_says_that_it_is_about_a_series_and_no_kernel() -> None:
    stream = io.StringIO()
    print_summary(judge.results(journal(titles=("patch 1/1",))), stream)
    assert stream.getvalue().startswith("Series mm: Do it (2 patches)\n")
