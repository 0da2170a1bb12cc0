# SPDX-License-Identifier: GPL-2.0-only
"""What a journal says of schedules, and how that is told."""

from __future__ import annotations

import msgspec
import pytest

from harness.judge.races import signature, told
from harness.klog import Finding, Severity
from harness.model.ids import ONLY
from harness.model.races import (
    Paced,
    Points,
    Preemption,
    Profile,
    Schedule,
    Shortened,
    Span,
    Stand,
)
from harness.model.results import Case, Kernel, Machine, Results, Test
from harness.outcome import Outcome
from harness.report.races import preempted_lines, preempted_text, race_rows

pytestmark = pytest.mark.unit

POINTS = (Preemption(100, 20), Preemption(5_000, 7))
STORY = Shortened(
    test="s:p",
    seed=2,
    planned=POINTS,
    points=POINTS[1:],
    how="fail: case",
    tries=4,
    shown=3,
    asked=3,
    stands=(
        Stand(
            point=0,
            thread=2,
            where=("inner+0x3", "outer+0x20"),
            others=(
                (1, "__x64_sys_ioctl"),
                (1, "__x64_sys_ioctl > kvm_vm_ioctl"),
                (1, "__x64_sys_ioctl > kvm_vm_ioctl > mutex_lock"),
                (1, "syscall_exit_to_user_mode > amd_clear_divider"),
            ),
        ),
    ),
    rerun="harness run s:p --schedule 5000+7",
    replay="harness replay s:p --schedule 5000+7",
)


def case(name: str, outcome: Outcome) -> Case:
    return Case(name=name, outcome=outcome)


def under(seed: int, outcome: Outcome, points: Points = POINTS) -> Test:
    schedule = Schedule(test="s:p", seed=seed, points=points if seed else ())
    return Test(
        name=schedule.name,
        suite="s",
        program="p",
        outcome=outcome,
        cases=(case(f"{schedule.name}/case", outcome),),
        schedule=schedule,
    )


def results(*tests: Test) -> Results:
    return Results(
        run="r",
        started="",
        kernel=Kernel(release="6.1", source="x", base_commit=""),
        machine=Machine(),
        tests=tests,
    )


def test_a_failure_is_the_same_under_another_schedule() -> None:
    alike = {signature(under(seed, Outcome.FAIL)) for seed in (1, 2)}
    assert alike == {"fail: case"}
    assert signature(under(1, Outcome.PASS)) == ""


def test_the_number_of_a_thread_makes_no_other_failure() -> None:
    title = "WARNING: CPU: {} PID: {} at lib/refcount.c:28 refcount_warn_saturate+0xd8/0xe0"
    found = {
        signature(
            msgspec.structs.replace(
                under(1, Outcome.SPLAT), findings=(finding(title.format(*who)),)
            )
        )
        for who in ((0, 26), (0, 27))
    }
    assert found == {"splat: WARNING: at lib/refcount.c:28 refcount_warn_saturate+0xd8/0xe0"}


def finding(title: str) -> Finding:
    return Finding(
        kind="warning",
        severity=Severity.SPLAT,
        title=title,
        message="",
        location="",
        function="",
        tainted="",
        report=title,
        fingerprint=title,
        rule="warning",
        line=1,
        timestamp=None,
    )


def test_each_schedule_counts_and_the_control_is_none() -> None:
    profile = Profile((Span(0, 50), Span(60, 70)))
    tests = under(0, Outcome.PASS), under(1, Outcome.PASS), under(2, Outcome.FAIL)
    said = told(results(*tests), [Paced(kernel=ONLY, test="s:p", profile=profile), STORY])
    assert said.races is not None
    (row,) = said.races.tests
    assert (row.test, row.planned, row.instructions) == ("s:p", 2, 60)
    assert row.outcomes == {"pass": 1, "fail": 1}
    assert said.races.found == (STORY,)
    assert [test.shortened for test in said.tests] == [None, None, STORY]
    rows = ["".join(text for text, _ in line) for line in race_rows(said.races)]
    assert rows[1].split() == ["s:p", "2", "1", "fail,", "1", "pass"]


def test_what_was_not_tried_is_told() -> None:
    spoilt = Paced(kernel=ONLY, test="s:p", spoilt="as without one it is crash")
    said = told(results(under(1, Outcome.ERROR)), [spoilt])
    assert said.races is not None
    assert said.races.notes == ("not tried: s:p: as without one it is crash",)


def test_a_run_without_schedules_says_nothing_of_them() -> None:
    said = results(under(1, Outcome.PASS))
    assert told(said, []) is said


def test_the_report_says_where_who_stood_back_and_what_ran_instead() -> None:
    (test,) = told(results(under(2, Outcome.FAIL)), [Paced(kernel=ONLY, test="s:p"), STORY]).tests
    text = preempted_text(test)
    assert text.splitlines() == [
        "preempted at 1 point of the 2 that were planned; under it the test failed 3 of 3 times",
        "after 5,000 instructions, for 7:",
        "    thread 2 stood back in inner+0x3",
        "        from outer+0x20",
        "    meanwhile:",
        "        thread 1 ran __x64_sys_ioctl > kvm_vm_ioctl",
        "the same again: harness run s:p --schedule 5000+7",
        "and backwards:  harness replay s:p --schedule 5000+7 --gdb",
    ]
    shown = ["".join(part for part, _ in line) for line in preempted_lines(test)]
    assert shown == [f"  {line}" for line in text.splitlines()]
    assert preempted_text(under(1, Outcome.FAIL)) == ""
