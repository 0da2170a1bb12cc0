# SPDX-License-Identifier: GPL-2.0-only
"""What a journal says of planted faults: each that was planned, whatever happened."""

from __future__ import annotations

import msgspec
import pytest

from harness.errors import ExitCode
from harness.judge.mutants import mutants
from harness.model.coverage import (
    Coverage,
    FileLines,
    PatchCoverage,
    TestCoverage,
)
from harness.model.mutants import Mutant, MutantRun, Mutants, Status, reaching, score
from harness.model.records import (
    MutantControl,
    MutantEnded,
    MutantsBuilt,
    MutantsEnded,
    MutantsPlanned,
    Record,
)
from harness.outcome import Outcome
from tests.report.samples import program, run

pytestmark = pytest.mark.unit


def fault(number: int, line: int = 10, **more: object) -> Mutant:
    fields: dict[str, object] = {
        "number": number,
        "name": f"mm/a.c:f: x{number} => y",
        "path": "mm/a.c",
        "function": "f",
        "line": line,
        "last_line": line,
        "patch": 1,
        "operator": "condition",
        "before": f"x{number}",
        "after": "y",
        "start": 0,
        "end": 1,
        "text": "y",
        "scopes": ((line, line), (line - 1, line + 1), (1, 50)),
        "diff": "--- a\n+++ b\n@@ -1 +1 @@\n-x\n+y\n",
        **more,
    }
    return Mutant(**fields)  # type: ignore[arg-type]


def ran(test: str, outcome: Outcome = Outcome.PASS) -> MutantRun:
    return MutantRun(test=test, outcome=outcome, reason="because", seconds=0.5)


def told(*records: Record, min_score: float | None = None, count: int = 4) -> Mutants:
    plan = MutantsPlanned(
        time="t", mutants=tuple(fault(n) for n in range(1, count + 1)), min_score=min_score
    )
    found = mutants([plan, *records], {1: "mm: One"})
    assert found is not None
    return found


KILLED = MutantEnded(
    number=1,
    status=Status.KILLED,
    runs=(ran("s:a"), ran("s:b", Outcome.FAIL)),
    reason="fail: because",
    seconds=1.0,
)
SURVIVED = MutantEnded(number=2, status=Status.SURVIVED, runs=(ran("s:a"),))
EQUAL = MutantEnded(number=3, status=Status.EQUIVALENT, reason="says so")


def test_each_planned_fault_comes_out() -> None:
    said = told(KILLED, SURVIVED, EQUAL)
    assert [each.status for each in said.mutants] == [
        Status.KILLED,
        Status.SURVIVED,
        Status.EQUIVALENT,
        Status.NOTRUN,
    ]
    assert said.mutants[0].killer == "s:b"
    assert said.mutants[0].tests == ("s:a", "s:b")
    assert said.mutants[1].killer == ""
    assert [(each.number, each.subject) for each in said.patches] == [(1, "mm: One")]
    assert said.patches[0].counts == dict.fromkeys(
        (Status.KILLED, Status.SURVIVED, Status.EQUIVALENT, Status.NOTRUN), 1
    )


def test_what_was_said_before_a_new_plan_does_not_count() -> None:
    again = MutantsPlanned(time="t", mutants=(fault(1),))
    said = told(KILLED, again)
    assert [each.status for each in said.mutants] == [Status.NOTRUN]


def test_a_journal_without_faults_says_nothing_of_any() -> None:
    assert mutants([], {}) is None


@pytest.mark.parametrize(
    ("statuses", "wanted"),
    [
        ([], None),
        ([Status.EQUIVALENT, Status.INVALID], None),
        ([Status.KILLED, Status.EQUIVALENT, Status.INVALID], 100.0),
        ([Status.KILLED, Status.TIMEOUT], 100.0),
        ([Status.KILLED, Status.SURVIVED], 50.0),
        ([Status.KILLED, Status.UNCOVERED], 50.0),
        ([Status.KILLED, Status.ERROR, Status.NOTRUN, Status.SURVIVED], 25.0),
    ],
)
def test_the_score_is_of_all_that_could_be_noticed(
    statuses: list[Status], wanted: float | None
) -> None:
    assert score(statuses) == wanted


@pytest.mark.parametrize(
    ("records", "wanted", "code"),
    [
        ((KILLED, SURVIVED), None, ExitCode.AS_EXPECTED),
        ((KILLED, SURVIVED), 50.0, ExitCode.AS_EXPECTED),
        ((KILLED, SURVIVED), 50.1, ExitCode.NOT_AS_EXPECTED),
        # What is not known is not enough, however good the others are.
        ((KILLED,), 10.0, ExitCode.NOT_AS_EXPECTED),
        (
            (KILLED, MutantEnded(number=2, status=Status.ERROR)),
            10.0,
            ExitCode.NOT_AS_EXPECTED,
        ),
    ],
)
def test_the_exit_code_asks_for_the_score_only_if_one_is_wanted(
    records: tuple[Record, ...], wanted: float | None, code: ExitCode
) -> None:
    said = told(*records, min_score=wanted, count=2)
    assert run(program("a", Outcome.PASS), mutants=said).exit_code is code


def test_a_test_that_fails_without_a_fault_is_told() -> None:
    said = told(MutantControl(run=ran("s:a", Outcome.FAIL)), MutantControl(run=ran("s:b")))
    assert len(said.notes) == 1
    assert said.notes[0].startswith("s:a is left out")


def test_times_are_added_up() -> None:
    said = told(MutantsBuilt(seconds=20), MutantsEnded(seconds=5), MutantsBuilt(seconds=1), KILLED)
    assert (said.build_s, said.tests_s) == (21, 5)


def test_the_values_survive_json() -> None:
    said = run(program("a", Outcome.PASS), mutants=told(KILLED, SURVIVED, EQUAL))
    again = msgspec.json.decode(msgspec.json.encode(said), type=type(said))
    assert again == said


def coverage(code: tuple[tuple[int, int], ...], **tests: tuple[tuple[int, int], ...]) -> Coverage:
    def lines(spans: tuple[tuple[int, int], ...]) -> tuple[FileLines, ...]:
        return (FileLines(path="mm/a.c", lines=spans),) if spans else ()

    patch = PatchCoverage(
        number=1,
        subject="mm: One",
        changed=lines(((1, 60),)),
        instrumented=lines(code),
        covered=(),
        uncovered=(),
        tests=tuple(tests),
    )
    each = tuple(TestCoverage(name=name, covered=lines(spans)) for name, spans in tests.items())
    return Coverage(patches=(patch,), tests=each)


def test_only_tests_that_run_the_line_are_asked() -> None:
    known = coverage(((5, 20),), here=((10, 10),), beside=((11, 11),), nowhere=())
    assert reaching(fault(1, 10), known) == ("here",)


def test_where_a_line_with_code_does_not_run_no_test_is_asked() -> None:
    known = coverage(((5, 20),), beside=((11, 11),))
    assert reaching(fault(1, 10), known) == ()


def test_for_a_line_without_code_the_next_lines_around_it_count() -> None:
    known = coverage(((9, 9), (30, 30)), beside=((9, 9),), function=((30, 30),))
    assert reaching(fault(1, 10), known) == ("beside",)
    assert reaching(fault(1, 20), known) == ("beside", "function")


def test_where_nothing_has_code_only_what_is_in_no_function_can_matter() -> None:
    known = coverage((), some=())
    assert reaching(fault(1, 10), known) == ()
    assert reaching(fault(1, 10, alone=True), known) == ("some",)


def test_a_test_that_was_not_watched_may_run_anything() -> None:
    known = msgspec.structs.replace(coverage(((10, 10),), here=()), unmeasured=("dark",))
    assert reaching(fault(1, 10), known) == ("dark",)
