# SPDX-License-Identifier: GPL-2.0-only
"""Reports, read by programs that others have written for that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.model.results import Case, Test
from harness.outcome import Outcome
from harness.report.formats import FORMATS, View
from tests.report import samples as s
from tests.report.test_sarif import CHECKED

pytestmark = pytest.mark.extra
SAMPLES = [*s.SAMPLES, s.Sample("checked", CHECKED)]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_reader_of_sarif_reads_it(sample: s.Sample) -> None:
    from sarif_pydantic import Sarif

    data = FORMATS["sarif"].render(sample.results, View())
    read = Sarif.model_validate_json(data)
    assert len(read.runs[0].results or []) == len(json.loads(data)["runs"][0]["results"])


def kinds(outcome: Outcome) -> str:
    """Return what JUnit has for *outcome*: docs/results.md."""
    if outcome in (Outcome.SKIP, Outcome.XFAIL):
        return "Skipped"
    if outcome in (Outcome.ERROR, Outcome.NOTRUN):
        return "Error"
    return "" if outcome is Outcome.PASS else "Failure"


@pytest.mark.parametrize("sample", s.SAMPLES, ids=lambda sample: sample.name)
def test_a_reader_of_junit_sees_each_case_once_and_as_it_ended(
    sample: s.Sample, tmp_path: Path
) -> None:
    import junitparser

    path = tmp_path / "junit.xml"
    path.write_bytes(FORMATS["junit"].render(sample.results, View()))
    read = junitparser.JUnitXml.fromfile(str(path))
    found = [
        (case, "".join(type(each).__name__ for each in case.result))
        for suite in read
        for case in suite
    ]
    said = [
        case.outcome
        for test in sample.results.tests
        for case in test.cases or (test,)
        if isinstance(case, Case | Test)
    ]
    told = [kind for _, kind in found]
    # A test that is worse than its cases, and a run that was stopped, have a testcase of their own.
    for outcome in said:
        told.remove(kinds(outcome))
    assert all(kind in ("Failure", "Error") for kind in told)
    red = any(kind in ("Failure", "Error") for _, kind in found)
    assert red == (sample.results.exit_code != 0)
    # GitLab drops what has the same class and name as another one.
    names = [(case.classname, case.name) for case, _ in found]
    assert len(set(names)) == len(names)
    for case, _ in found:
        for result in case.result:
            assert result.message
    totals = read.tests, read.failures, read.errors
    read.update_statistics()
    assert totals == (read.tests, read.failures, read.errors)


def test_a_reader_of_junit_sees_seed_and_rerun_and_finds_the_logs(tmp_path: Path) -> None:
    import junitparser

    path = tmp_path / "junit.xml"
    path.write_bytes(FORMATS["junit"].render(s.ALL, View("runs/1")))
    read = junitparser.JUnitXml.fromfile(str(path))
    properties = {each.name: each.value for suite in read for each in suite.properties()}
    assert any("seed" in name for name in properties)
    assert any("rerun" in name for name in properties)
    attached = [str(case.system_out) for suite in read for case in suite if case.system_out]
    assert any("[[ATTACHMENT|runs/1/tests/fd_memory_test/kernel.log]]" in each for each in attached)
