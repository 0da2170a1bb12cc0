# SPDX-License-Identifier: GPL-2.0-only
"""Many attempts, one result; and what is left of them after a run was cut off."""

from __future__ import annotations

import pytest

from harness import ktap
from harness.judge import verdict
from harness.model.plan import ENDLESS, PlannedTest
from harness.model.records import Ending, Record, RunEnded, RunStarted, TestEnded, TestStarted
from harness.model.results import Kernel, Test
from harness.outcome import Outcome
from harness.run.attempts import Attempts

pytestmark = pytest.mark.unit
TESTS = (
    PlannedTest(name="s:a", suite="s", program="a"),
    PlannedTest(name="s:b", suite="s", program="b"),
    PlannedTest(name="s:x", suite="s", program="x", broken="x.c:1: error"),
)


def head(repeat: int, *, until_fail: bool = False) -> RunStarted:
    return RunStarted(
        run="r",
        time="2026-07-01T03:00:00.000Z",
        harness="0",
        command=(),
        kernel=Kernel(release="6.1.0", source="s", base_commit="c"),
        tests=TESTS,
        repeat=repeat,
        until_fail=until_fail,
    )


def attempt(number: int, status: int) -> list[Record]:
    report = ktap.Parser().close()
    return [
        TestStarted(name="s:a", attempt=number, time="t", seed=f"{number:064x}"),
        TestEnded(
            name="s:a",
            attempt=number,
            ending=Ending(how="exit", status=status),
            report=report,
            guest_s=0.5,
            total_s=1.0,
        ),
    ]


def result(start: RunStarted, *records: Record) -> Test:
    return verdict.results([start, *records, RunEnded(time="t", seconds=1.0)]).tests[0]


def several(start: RunStarted, *statuses: int) -> Test:
    records = [each for n, status in enumerate(statuses, 1) for each in attempt(n, status)]
    return result(start, *records)


def test_all_passed_is_a_pass() -> None:
    test = several(head(3), 0, 0, 0)
    assert (test.outcome, test.reason) == (Outcome.PASS, "")
    assert [each.outcome for each in test.attempts] == [Outcome.PASS] * 3
    assert test.total_s == 3.0
    assert len({each.seed for each in test.attempts}) == 3


@pytest.mark.parametrize(
    ("statuses", "outcome", "reason"),
    [
        ((0, 1, 0), Outcome.FAIL, "2/3 passed; exit status 1"),
        ((0, 0, 4), Outcome.SKIP, "2/3 passed; exit status 4: no reason given"),
        ((4, 0, 1), Outcome.FAIL, "1/3 passed; exit status 1"),
        ((1, 1, 1), Outcome.FAIL, "0/3 passed; exit status 1"),
        ((4, 4, 4), Outcome.SKIP, "exit status 4: no reason given"),
        ((0, 0), Outcome.NOTRUN, "2/3 passed; 1 attempts were not begun"),
        ((1, 0), Outcome.FAIL, "1/3 passed; exit status 1"),
    ],
)
def test_an_unstable_or_unfinished_test_is_never_a_pass(
    statuses: tuple[int, ...], outcome: Outcome, reason: str
) -> None:
    test = several(head(3), *statuses)
    assert (test.outcome, test.reason) == (outcome, reason)


def test_an_attempt_that_was_cut_off_is_not_run() -> None:
    test = result(head(2), *attempt(1, 0), attempt(2, 0)[0])
    assert test.outcome is Outcome.NOTRUN
    assert test.reason.startswith("1/2 passed; the test had begun when the run was cut off")


def test_until_a_failure_no_more_is_planned_than_that() -> None:
    assert several(head(9, until_fail=True), 0, 0, 1).reason == "2/3 passed; exit status 1"
    assert several(head(9, until_fail=True), 0, 0).outcome is Outcome.NOTRUN
    assert several(head(ENDLESS, until_fail=True), 0, 0).outcome is Outcome.PASS
    assert several(head(ENDLESS, until_fail=True), 0, 1).outcome is Outcome.FAIL
    cut = result(head(ENDLESS, until_fail=True), *attempt(1, 0), attempt(2, 0)[0])
    assert (cut.outcome, len(cut.attempts)) == (Outcome.PASS, 1)


def test_what_does_not_run_has_no_attempts() -> None:
    said = verdict.results([head(3)])
    assert [test.outcome for test in said.tests] == [Outcome.NOTRUN, Outcome.NOTRUN, Outcome.ERROR]


def begin(attempts: Attempts, most: int = 20) -> list[tuple[str, int]]:
    begun = [attempts.begin(lambda _: True) for _ in range(most)]
    return [(each[0].program, each[1]) for each in begun if each is not None]


def test_every_attempt_is_run_once_in_rounds() -> None:
    assert begin(Attempts(head(2))) == [("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    attempts = Attempts(head(1))
    assert not attempts.over
    assert begin(attempts) == [("a", 1), ("b", 1)]
    assert attempts.over


def test_the_longest_known_test_is_first_and_an_unknown_one_before_it() -> None:
    assert begin(Attempts(head(2), {"s:a": 1.0, "s:b": 9.0}), 3) == [("b", 1), ("a", 1), ("b", 2)]
    assert begin(Attempts(head(1), {"s:a": 1.0})) == [("b", 1), ("a", 1)]


def test_what_does_not_fit_yet_is_left_for_later() -> None:
    attempts = Attempts(head(2))
    assert begin_of(attempts, "b") == ("b", 1)
    assert begin_of(attempts, "b") == ("b", 2)
    assert begin_of(attempts, "b") is None
    assert not attempts.over
    assert begin(attempts) == [("a", 1), ("a", 2)]
    assert begin_of(Attempts(head(ENDLESS)), "c") is None


def begin_of(attempts: Attempts, program: str) -> tuple[str, int] | None:
    found = attempts.begin(lambda test: test.program == program)
    return (found[0].program, found[1]) if found else None


def test_without_a_guest_nothing_of_its_group_is_left() -> None:
    attempts = Attempts(head(ENDLESS))
    attempts.dropped(TESTS[0].group)
    assert attempts.over
    assert begin(attempts) == []


def test_what_has_ended_is_not_run_again() -> None:
    attempts = Attempts(head(2))
    attempts.ended("s:a", 1, Outcome.FAIL)
    attempts.ended("s:b", 2, Outcome.PASS)
    assert attempts.labels() == ["s:x", "s:b [1/2]", "s:a [2/2]"]
    assert begin(attempts) == [("b", 1), ("a", 2)]


def test_a_failure_ends_what_goes_until_one_also_while_it_runs() -> None:
    attempts = Attempts(head(ENDLESS, until_fail=True))
    assert [number for _, number in begin(attempts, 5)] == [1, 1, 2, 2, 3]
    attempts.ended("s:b", 2, Outcome.FAIL)
    assert begin(attempts, 2) == [("a", 4), ("a", 5)]
    attempts.ended("s:a", 4, Outcome.CRASH)
    assert begin(attempts) == []
    assert attempts.labels() == []
