# SPDX-License-Identifier: GPL-2.0-only
"""Two runs held against each other, case by case."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import pytest

from harness.judge.changes import changes
from harness.judge.merge import comparable
from harness.model.changes import Kind
from harness.model.results import Results
from harness.outcome import Outcome
from harness.report.changes import told
from harness.report.console import print_lines
from harness.report.terminal import Terminal
from harness.run.job import read_results
from tests.matrixrun import Posted, write_matrix
from tests.report import samples as s

pytestmark = pytest.mark.unit

PASS, SKIP, FAIL, CRASH, XFAIL = (
    Outcome.PASS,
    Outcome.SKIP,
    Outcome.FAIL,
    Outcome.CRASH,
    Outcome.XFAIL,
)


def run(outcome: Outcome | None, reason: str = "") -> Results:
    """Return a run of one test with one case of that *outcome*; None is a run without it."""
    if outcome is None:
        return s.run()
    case = s.case("p", "c", outcome, reason)
    return s.run(s.program("p", outcome, cases=(case,), reason=reason))


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (PASS, PASS, Kind.SAME),
        (PASS, XFAIL, Kind.SAME),
        (SKIP, SKIP, Kind.SAME),
        (None, SKIP, Kind.SAME),
        (SKIP, None, Kind.SAME),
        (PASS, FAIL, Kind.REGRESSION),
        (XFAIL, CRASH, Kind.REGRESSION),
        (SKIP, FAIL, Kind.REGRESSION),
        (None, FAIL, Kind.NEW_FAILURE),
        (FAIL, CRASH, Kind.OTHER_FAILURE),
        (FAIL, FAIL, Kind.STILL_FAILING),
        (FAIL, PASS, Kind.FIXED),
        (FAIL, SKIP, Kind.FIXED),
        (None, PASS, Kind.NEW),
        (SKIP, PASS, Kind.NEW),
        (PASS, SKIP, Kind.LOST),
        (PASS, None, Kind.GONE),
        (FAIL, None, Kind.GONE),
    ],
)
def test_each_way_to_change(before: Outcome | None, after: Outcome | None, kind: Kind) -> None:
    found = changes(run(before, "why"), run(after, "why"))
    assert [each.kind for each in found.cases] == [kind]
    assert found.worse is (kind in (Kind.REGRESSION, Kind.NEW_FAILURE))


def test_another_reason_is_another_failure() -> None:
    (found,) = changes(run(FAIL, "line 3"), run(FAIL, "line 7")).cases
    assert found.kind is Kind.OTHER_FAILURE


def test_a_crash_of_the_program_is_no_case_of_it() -> None:
    good = s.run(s.program("p", PASS, cases=(s.case("p", "c", PASS),)))
    dead = s.run(s.program("p", CRASH, cases=(s.case("p", "c", PASS),), reason="oops"))
    found = changes(good, dead)
    assert [(each.name, each.kind) for each in found.cases] == [
        ("kvm:p/c", Kind.SAME),
        ("kvm:p", Kind.REGRESSION),
    ]
    assert found.worse


def test_a_run_that_does_not_say_all_is_not_taken_for_a_good_one() -> None:
    good = run(PASS)
    cut = msgspec.structs.replace(good, interrupted=True)
    stopped = msgspec.structs.replace(good, error="no space is left")
    for after, why in ((cut, "interrupted"), (stopped, "no space"), (run(None), "no test")):
        found = changes(good, after)
        assert why in found.unknown
        stream = io.StringIO()
        print_lines(told(found), stream)
        assert "INCOMPLETE" in stream.getvalue()
        assert "NOT WORSE, AS FAR AS KNOWN" in stream.getvalue()
    assert changes(good, good).unknown == ""


def test_what_is_worse_comes_first_with_both_reasons() -> None:
    stream = io.StringIO()
    print_lines(told(changes(run(PASS), run(FAIL, "it says 7"))), stream)
    text = stream.getvalue()
    assert "Regression: 1 case" in text
    assert "after:  fail: it says 7" in text
    assert "run again: harness run kvm:p" in text
    assert text.splitlines()[-1] == "WORSE: 1 regression"
    nothing = io.StringIO()
    print_lines(told(changes(run(None), run(None))), nothing)
    assert "neither run has a case" in nothing.getvalue()


def test_of_a_matrix_beside_one_kernel_the_last_is_compared(tmp_path: Path) -> None:
    patches = [Posted("mm: One"), Posted("mm: Two")]
    rows = {"memfd:a_test": "..F", "memfd:b_test": "FF."}
    matrix = read_results(write_matrix(tmp_path / "matrix", patches, rows))
    tip = {"memfd:a_test": ".", "memfd:b_test": "."}
    single = read_results(write_matrix(tmp_path / "one", patches, tip, patch_by_patch=False))
    found = changes(*comparable(single, matrix))
    assert {each.name: each.kind for each in found.cases} == {
        "memfd:a_test/size.it": Kind.REGRESSION,
        "memfd:b_test/size.it": Kind.SAME,
    }
    assert (found.before, found.after) == ("one", "matrix, kernel 2")
    back = changes(*comparable(matrix, single))
    assert [each.kind for each in back.cases] == [Kind.FIXED, Kind.SAME]
    assert comparable(matrix, matrix) == (matrix, matrix)


def test_a_name_is_not_broken_in_two() -> None:
    name = "a_case_whose_name_is_longer_than_the_terminal_is_wide_" * 2
    case = s.case("p", name, FAIL)
    found = changes(s.run(), s.run(s.program("p", FAIL, cases=(case,))))
    stream = io.StringIO()
    print_lines(told(found), stream, Terminal(False, False, False, 80))
    assert f"  kvm:p/{name}\n" in stream.getvalue()


def test_a_program_that_is_no_worse_than_its_cases_any_more_is_fixed() -> None:
    cases = (s.case("p", "c", PASS),)
    crashed = s.run(s.program("p", CRASH, cases=cases, started="2026-07-01T03:00:00Z"))
    good = s.run(s.program("p", PASS, cases=cases))
    found = {each.name: each.kind for each in changes(crashed, good).cases}
    assert found == {"kvm:p/c": Kind.SAME, "kvm:p": Kind.FIXED}
