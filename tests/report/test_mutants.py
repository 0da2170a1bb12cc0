# SPDX-License-Identifier: GPL-2.0-only
"""What each report says of planted faults."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import msgspec
import pytest

from harness.model.mutants import Mutants, Status
from harness.model.records import MutantEnded, MutantsEnded
from harness.model.results import Results
from harness.outcome import Outcome
from harness.report import html, junit, markdown
from harness.report.mutants import mutant_lines, shown_score, words
from harness.report.summary import summary
from tests.judge.test_mutants import EQUAL, KILLED, SURVIVED, told
from tests.report.samples import HOSTILE, program, run

pytestmark = pytest.mark.unit

BAD = MutantEnded(number=4, status=Status.INVALID, reason="expected ; before }")


def results(said: Mutants) -> Results:
    return run(program("a", Outcome.PASS), mutants=said)


def text(said: Mutants) -> str:
    return "\n".join("".join(piece for piece, _ in line) for line in mutant_lines(said))


def test_the_console_shows_the_fault_that_no_test_noticed_and_who_ran_it() -> None:
    said = text(told(KILLED, SURVIVED, EQUAL, BAD, MutantsEnded(seconds=4)))
    assert "No test noticed (1):" in said
    assert "mm/a.c:10 in f()" in said
    assert "-x" in said
    assert "+y" in said
    assert "ran it: s:a" in said
    assert (
        "4 planted faults: 1 killed, 1 survived, 1 equivalent, 1 does not compile; noticed 50.0 %"
        "; 30 a minute" in said
    )


def test_a_score_is_never_rounded_up() -> None:
    assert shown_score(99.99) == "99.9"
    assert shown_score(100.0) == "100.0"


def test_the_verdict_says_why_the_score_is_not_enough() -> None:
    said = results(told(KILLED, SURVIVED, min_score=80, count=2))
    lines = ["".join(piece for piece, _ in line) for line in summary(said)]
    assert "Not enough: the tests notice 50.0 % of the planted faults, and 80 % are wanted" in lines
    assert lines[-1].startswith("NOT AS EXPECTED (exit 1)")


@pytest.mark.parametrize("wanted", [None, 50.0, 80.0])
def test_junit_fails_exactly_where_the_exit_code_does(wanted: float | None) -> None:
    said = results(told(KILLED, SURVIVED, min_score=wanted, count=2))
    root = ET.fromstring(junit.render(said))  # noqa: S314
    bad = root.findall(".//error") + root.findall(".//failure")
    assert bool(bad) is bool(said.exit_code)
    assert len(root.findall(".//testcase")) == junit.count_testcases(said)
    found = {each.get("name"): each.get("value") for each in root.iter("property")}
    assert found["mutants.score"] == "50.0"
    assert found["mutants.killed"] == "1"
    assert found["mutants.1"] == "survived: mm/a.c:10 in f(): x2 => y"


def test_markdown_has_a_row_for_what_was_not_noticed() -> None:
    page = markdown.render(results(told(KILLED, SURVIVED, count=2))).decode()
    assert "| survived | `mm/a.c:10 in f()` | `x2 => y` |" in page


def test_the_page_has_each_fault_with_its_diff() -> None:
    page = html.render({"": results(told(KILLED, SURVIVED, EQUAL, BAD))}).decode()
    assert page.count("try it again") == 4
    assert "noticed by s:b" in page
    assert "these tests ran it: s:a" in page
    assert page.index(">survived<") < page.index(">killed</span> mm")


def test_a_run_without_faults_has_no_word_of_them() -> None:
    said = run(program("a", Outcome.PASS))
    assert b"mutants" not in junit.render(said)
    assert "lanted fault" not in html.render({"": said}).decode()


def test_foreign_text_does_no_harm() -> None:
    said = told(SURVIVED, count=2)
    bad = msgspec.structs.replace(
        said.mutants[1],
        before=HOSTILE,
        after=HOSTILE,
        path=HOSTILE,
        diff=f"--- a\n+++ b\n-{HOSTILE}\n",
        reason=HOSTILE,
        tests=(HOSTILE,),
    )
    said = msgspec.structs.replace(said, mutants=(bad,), notes=(HOSTILE,))
    shown = text(said)
    assert "\x1b" not in shown
    assert "\0" not in shown
    page = html.render({"": results(said)}).decode()
    assert "<b>&amp;" not in page
    ET.fromstring(junit.render(results(said)))  # noqa: S314
    markdown.render(results(said))


def test_what_is_not_known_is_told_as_such() -> None:
    said = told(KILLED, MutantEnded(number=2, status=Status.ERROR, reason="the guest"), count=2)
    assert "It is not known whether the tests notice (1):" in text(said)
    assert "1 error" in words(said)


def test_the_console_names_the_lines_that_no_test_runs() -> None:
    dark = [MutantEnded(number=n, status=Status.UNCOVERED) for n in (1, 2, 3, 4)]
    assert "No test runs (4):\n  mm/a.c:10\n" in text(told(*dark))
