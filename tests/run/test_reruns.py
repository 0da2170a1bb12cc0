# SPDX-License-Identifier: GPL-2.0-only
"""What differs between two kernels is run again on both until the counts decide."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from pathlib import Path

import pytest

from harness.errors import ExitCode, MachineError
from harness.judge.compare import Change, compare
from harness.judge.merge import split
from harness.judge.sequential import MOST
from harness.model.changes import Kind
from harness.model.counts import Counts
from harness.model.results import Results
from harness.outcome import Outcome
from harness.report.console import print_summary
from harness.run.reruns import MOST_TESTS, Neighbours, Reruns
from tests.run.played import Play, PlayedExecutor, run

pytestmark = pytest.mark.unit

PAIR = {"base": ["t"], "tip": ["t"]}


def neighbours(first: str = "base", most: int = MOST) -> Reruns:
    return Reruns(Neighbours(first, most))


def pair(out: Path, play: Play, jobs: int = 1) -> tuple[Results, PlayedExecutor]:
    """Run the program ``t`` on base and tip, held against each other."""
    executor = PlayedExecutor(play, jobs)
    return run(out, PAIR, executor, neighbours(), base="base"), executor


def flaky(kernel: str, program: str, count: int) -> bool:
    """Fail one in eight; on the tip the first time."""
    return (count + (3 if kernel == "base" else 0)) % 8 != 0


def shown(results: Results) -> str:
    stream = io.StringIO()
    print_summary(results, stream)
    return stream.getvalue()


@pytest.mark.parametrize("jobs", [1, 2, 4])
def test_what_fails_each_time_on_the_tip_alone_is_a_regression(tmp_path: Path, jobs: int) -> None:
    results, executor = pair(tmp_path / "out", lambda kernel, *_: kernel == "base", jobs)
    assert results.against is not None
    (case,) = results.against.cases
    assert case.kind is Kind.REGRESSION
    assert case.before is not None
    assert case.after is not None
    assert case.before.counts.failed == 0
    assert case.after.counts.failed == case.after.counts.runs >= 4
    assert results.exit_code is ExitCode.NOT_AS_EXPECTED
    # No more than is needed: what was under way when the counts decided may come on top.
    assert len(executor.order) <= 2 + 8 + jobs


def test_reruns_take_turns(tmp_path: Path) -> None:
    _, executor = pair(tmp_path / "out", lambda kernel, *_: kernel == "base")
    assert [kernel for kernel, _ in executor.order] == ["base", "tip"] * 5


@pytest.mark.parametrize("jobs", [1, 3])
def test_one_that_fails_one_time_in_eight_is_unstable(tmp_path: Path, jobs: int) -> None:
    results, _ = pair(tmp_path / "out", flaky, jobs)
    assert results.against is not None
    (case,) = results.against.cases
    assert case.kind is Kind.UNSTABLE
    assert results.exit_code is ExitCode.AS_EXPECTED
    text = shown(results)
    assert "Unstable: 1 case" in text
    assert "NO REGRESSION (exit 0)" in text
    assert f"({case.after.counts})" in text if case.after else False


def test_a_failure_that_never_comes_again_is_unstable_and_no_pass(tmp_path: Path) -> None:
    results, _ = pair(tmp_path / "out", lambda kernel, _, count: kernel == "base" or count > 0)
    assert results.against is not None
    assert [case.kind for case in results.against.cases] == [Kind.UNSTABLE]
    tip = next(test for test in results.tests if test.kernel == "tip")
    assert tip.outcome is Outcome.FAIL
    assert tip.reason.startswith(f"{len(tip.attempts) - 1}/{len(tip.attempts)} passed")


def test_a_test_that_passed_once_and_fails_in_a_rerun_has_not_passed(tmp_path: Path) -> None:
    results, _ = pair(tmp_path / "out", flaky)
    base = next(test for test in results.tests if test.kernel == "base")
    assert any(not each.outcome.as_expected for each in base.attempts)
    assert base.outcome is Outcome.FAIL


def test_what_the_tip_mends_is_confirmed_too(tmp_path: Path) -> None:
    results, _ = pair(tmp_path / "out", lambda kernel, *_: kernel == "tip")
    assert results.against is not None
    (case,) = results.against.cases
    assert (case.kind, case.counted) == (Kind.FIXED, True)
    assert results.exit_code is ExitCode.AS_EXPECTED


def test_what_fails_on_both_is_run_once_and_is_not_the_series(tmp_path: Path) -> None:
    results, executor = pair(tmp_path / "out", lambda *_: False)
    assert len(executor.order) == 2
    assert results.against is not None
    assert [case.kind for case in results.against.cases] == [Kind.STILL_FAILING]
    assert results.exit_code is ExitCode.AS_EXPECTED


def test_each_case_of_a_program_has_counts_of_its_own(tmp_path: Path) -> None:
    """One case fails on the tip, one fails now and then, one fails on both."""

    def play(kernel: str, _: str, count: int) -> str:
        bad = {"old"} | ({"new"} if kernel == "tip" else set())
        if not flaky(kernel, "", count):
            bad.add("flaky")
        lines = [
            f"{'not ' if name in bad else ''}ok {number} {name}"
            for number, name in enumerate(("fine", "old", "new", "flaky"), 1)
        ]
        return "\n".join(["TAP version 13", "1..4", *lines, ""])

    results, _ = pair(tmp_path / "out", play)
    assert results.against is not None
    kinds = {case.name: case.kind for case in results.against.cases}
    assert kinds == {
        "s:t/fine": Kind.SAME,
        "s:t/old": Kind.STILL_FAILING,
        "s:t/new": Kind.REGRESSION,
        "s:t/flaky": Kind.UNSTABLE,
    }


def test_a_run_that_is_cut_off_goes_on_with_its_reruns(tmp_path: Path) -> None:
    """Cut off after each attempt in turn, it comes to the same counts as uninterrupted."""
    whole, executor = pair(tmp_path / "whole", lambda kernel, *_: kernel == "base")
    for stop in range(len(executor.order)):
        out = tmp_path / str(stop)
        cut = PlayedExecutor(lambda kernel, *_: kernel == "base", stop_after=stop)
        with contextlib.suppress(MachineError):
            run(out, PAIR, cut, neighbours(), base="base")
        rest = PlayedExecutor(lambda kernel, *_: kernel == "base")
        results = run(out, PAIR, rest, neighbours(), base="base")
        assert results.against == whole.against
        assert Counter(cut.order) + Counter(rest.order) == Counter(executor.order)


def test_in_a_matrix_the_guilty_patch_is_confirmed_and_the_flaky_test_blames_none(
    tmp_path: Path,
) -> None:
    names = ["base", *map(str, range(1, 10))]

    def play(kernel: str, program: str, count: int) -> bool:
        number = names.index(kernel)
        if program == "guilty":
            return number < 5
        return (number * 3 + count) % 8 != 0 if program == "flaky" else True

    executor = PlayedExecutor(play, 2)
    programs = {name: ["guilty", "flaky", "good"] for name in names}
    results = run(tmp_path / "out", programs, executor, neighbours())
    rows = {row.test: row for row in compare(split(results)).rows}
    (step,) = rows["s:guilty"].steps
    assert (step.kernel, step.change) == ("5", Change.BREAKS)
    assert {each.change for each in rows["s:flaky"].steps} == {Change.UNSTABLE}
    assert rows["s:flaky"].unstable
    assert rows["s:flaky"].mended is None
    text = shown(results)
    (line,) = (each for each in text.splitlines() if "breaks s:guilty" in each)
    assert line.startswith("patch 5, 'mm: Patch 5', breaks s:guilty: pass, then fail")
    assert "(run again: 0/" in line
    assert "breaks s:flaky" not in text
    assert "Unstable" in text
    assert "~" in next(each for each in text.splitlines() if each.startswith("s:flaky"))
    # Elsewhere nothing was run twice.
    assert executor.order.count(("2", "guilty")) == executor.order.count(("2", "good")) == 1


def test_a_new_test_that_fails_at_once_is_run_again_alone(tmp_path: Path) -> None:
    kernels = {"base": ["old"], "1": ["old", "new", "shaky"]}

    def play(kernel: str, program: str, count: int) -> bool:
        return program == "old" or (program == "shaky" and count != 0)

    executor = PlayedExecutor(play)
    results = run(tmp_path / "out", kernels, executor, neighbours())
    rows = {row.test: row for row in compare(split(results)).rows}
    assert [step.change for step in rows["s:new"].steps] == [Change.BREAKS]
    assert [step.change for step in rows["s:shaky"].steps] == [Change.UNSTABLE]
    assert executor.order.count(("1", "new")) == 5
    assert executor.order.count(("1", "shaky")) == 2


def test_where_very_many_tests_differ_only_some_are_run_again(tmp_path: Path) -> None:
    programs = [f"t{number}" for number in range(MOST_TESTS + 5)]
    kernels = {"base": programs, "1": programs}
    executor = PlayedExecutor(lambda kernel, *_: kernel == "base")
    results = run(tmp_path / "out", kernels, executor, neighbours())
    again = {program for _, program in executor.order if executor.order.count(("1", program)) > 1}
    assert len(again) == MOST_TESTS
    assert len(compare(split(results)).of("1")) == len(programs)


def test_there_is_an_end_where_the_counts_never_decide(tmp_path: Path) -> None:
    results, executor = pair(
        tmp_path / "out", lambda kernel, _, count: kernel == "base" or count % 3 != 0
    )
    assert max(Counter(executor.order).values()) <= 1 + MOST
    assert results.against is not None
    (case,) = results.against.cases
    assert case.kind is Kind.UNSTABLE


def test_with_none_allowed_the_first_result_stands(tmp_path: Path) -> None:
    executor = PlayedExecutor(flaky)
    results = run(tmp_path / "out", PAIR, executor, Reruns(), base="base")
    assert len(executor.order) == 2
    assert results.against is not None
    (case,) = results.against.cases
    assert (case.kind, case.after.counts if case.after else None) == (Kind.REGRESSION, Counts())


def test_a_kernel_that_does_not_boot_is_no_reason_to_try_again(tmp_path: Path) -> None:
    executor = PlayedExecutor(lambda *_: True, no_guest=frozenset({"tip"}))
    results = run(tmp_path / "out", PAIR, executor, neighbours(), base="base")
    assert len(executor.order) == 1
    assert results.against is not None
    assert [case.kind for case in results.against.cases] == [Kind.REGRESSION]
    assert "panicked" in shown(results)


def test_logs_of_reruns_have_names_of_their_own() -> None:
    from harness.model.logfiles import LogFiles
    from tests.run.played import planned_tests

    tests = planned_tests(["a", "a=2", "a.2"])
    logs = LogFiles(tests, repeated=False)
    names = [logs.of(test, attempt).output for test in tests for attempt in (1, 2, 3)]
    assert len(set(names)) == len(names)
    assert logs.of(tests[0], 1).output == "logs/s/a.output.log"
