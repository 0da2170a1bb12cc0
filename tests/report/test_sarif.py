# SPDX-License-Identifier: GPL-2.0-only
"""SARIF: what checks have found, and nothing that looks clean where nothing was looked at."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.model.results import Remark
from harness.outcome import Outcome
from harness.report.formats import FORMATS, View
from tests.report import samples as s

pytestmark = pytest.mark.unit

FOUND = (
    Remark(severity="error", text="no Signed-off-by: of the author"),
    Remark(severity="warning", text="line over 100 columns", file="mm/foo bar.c", line=7),
    Remark(severity="note", text="a header is new", file="include/uapi/linux/foo.h"),
)
CHECKED = s.run(
    s.program("1-checkpatch", Outcome.FAIL, suite="series", reason="x", remarks=FOUND),
    s.program("1-builds", Outcome.PASS, suite="series"),
    s.program("2-sparse", Outcome.SKIP, suite="series", reason="sparse is not installed"),
)


def log(results: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FORMATS["sarif"].render(results, View()))
    (run,) = found["runs"]
    return dict(run)


def test_each_finding_is_at_its_line() -> None:
    run = log(CHECKED)
    assert [each["level"] for each in run["results"]] == ["error", "warning", "note"]
    whole, at_line, of_file = run["results"]
    assert "locations" not in whole
    assert whole["message"]["text"] == "patch 1: no Signed-off-by: of the author"
    place = at_line["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "mm/foo%20bar.c"
    assert place["region"] == {"startLine": 7}
    assert "region" not in of_file["locations"][0]["physicalLocation"]
    rules = [each["id"] for each in run["tool"]["driver"]["rules"]]
    for each in run["results"]:
        assert rules[each["ruleIndex"]] == each["ruleId"] == "checkpatch"
    (invocation,) = run["invocations"]
    assert invocation["executionSuccessful"]
    assert "sparse is not installed" in str(invocation["toolExecutionNotifications"])


def test_a_finding_is_the_same_one_when_lines_move() -> None:
    def marks(line: int) -> list[Any]:
        remark = Remark(severity="error", text="wrong", file="mm/foo.c", line=line)
        test = s.program("1-checkpatch", Outcome.FAIL, suite="series", remarks=(remark,))
        return [each["partialFingerprints"] for each in log(s.run(test))["results"]]

    assert marks(7) == marks(9)


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.NOTRUN])
def test_a_check_that_was_not_made_is_no_clean_one(outcome: Outcome) -> None:
    run = log(s.run(s.program("1-builds", outcome, suite="series", reason="no compiler")))
    (invocation,) = run["invocations"]
    assert not invocation["executionSuccessful"]
    (told,) = invocation["toolExecutionNotifications"]
    assert (told["level"], "no compiler" in told["message"]["text"]) == ("error", True)


@pytest.mark.parametrize("more", [{"interrupted": True}, {"error": "no disk"}])
def test_a_run_that_was_stopped_has_not_succeeded(more: dict[str, Any]) -> None:
    run = log(s.run(s.program("1-builds", Outcome.PASS, suite="series"), **more))
    assert not run["invocations"][0]["executionSuccessful"]


def test_tests_in_guests_are_there_by_name() -> None:
    bad = {each.name for each in s.ALL.tests if not each.outcome.as_expected}
    unknown = {"mm:odd_test", "mm:late_test"}
    names = {
        each["locations"][0]["logicalLocations"][0]["fullyQualifiedName"]
        for each in log(s.ALL)["results"]
    }
    assert names == bad - unknown
