# SPDX-License-Identifier: GPL-2.0-only
"""Figures of tests in every report, and those that cannot be read in none less."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from harness.judge import verdict
from harness.ktap import parse
from harness.lab.observe import CappedLog, Observer
from harness.model.events import Exit, Stdout
from harness.model.plan import Cell, PlannedTest
from harness.model.records import (
    CellPlanned,
    Ending,
    KernelBuilt,
    KernelPlanned,
    Record,
    RunEnded,
    RunPlanned,
    TestEnded,
)
from harness.model.results import Kernel, Results, encode
from harness.outcome import Outcome
from harness.report import console, html, junit
from harness.report.kernels import by_kernel

pytestmark = pytest.mark.unit

FACTS = Kernel(release="6.1.0", source="s", base_commit="c")
OUTPUT = (
    b"TAP version 13\n1..1\n# metric: moved 4096 pages better=less\n# metric: x 1 sec\nok 1 a\n"
)


def ended(tmp_path: Path, output: bytes, *, status: int = 0, attempt: int = 1) -> TestEnded:
    """Return the record of a test that printed *output*."""
    with CappedLog(tmp_path / "o") as log, CappedLog(tmp_path / "k") as kernel:
        observer = Observer(log, kernel)
        observer.hear(Stdout(output))
        observer.hear(Exit(status, None, False, 0.25, 1.5, 2048, 2.0, log_complete=True))
        report, findings, tail = observer.close()
        metrics, faults = observer.metrics()
    return TestEnded(
        name="s:p",
        attempt=attempt,
        ending=Ending(how="exit", status=status),
        report=report,
        findings=findings,
        output=tail,
        total_s=1.0,
        metrics=metrics,
        metric_faults=faults,
    )


def results(*records: TestEnded) -> Results:
    test = PlannedTest(name="s:p", suite="s", program="p", path="p")
    head: list[Record] = [
        RunPlanned(
            run="r",
            time="2026-07-01T03:00:00.000Z",
            harness="0",
            command=(),
            kernels=(KernelPlanned(facts=FACTS),),
            cells=(Cell(suite="s"),),
            repeat=len(records),
        ),
        CellPlanned(suite="s", tests=(test,)),
        KernelBuilt(facts=FACTS, seconds=1.0),
    ]
    end = RunEnded(time="2026-07-01T03:01:00.000Z", seconds=60.0)
    return verdict.results([*head, *records, end])


def test_a_test_has_what_it_printed_and_what_it_used(tmp_path: Path) -> None:
    (test,) = results(ended(tmp_path, OUTPUT)).tests
    assert {each.name: (each.value, each.unit, each.better) for each in test.metrics} == {
        "moved": (4096, "pages", "less"),
        "user_time": (0.25, "s", "less"),
        "system_time": (1.5, "s", "less"),
        "wall_time": (2.0, "s", "less"),
        "peak_memory": (2048, "KiB", "less"),
    }
    assert [each.by for each in test.metrics] == ["test", *["agent"] * 4]


@pytest.mark.parametrize(("status", "outcome"), [(0, Outcome.PASS), (1, Outcome.FAIL)])
def test_what_cannot_be_read_is_told_and_changes_no_outcome(
    tmp_path: Path, status: int, outcome: Outcome
) -> None:
    told = results(ended(tmp_path, OUTPUT, status=status))
    assert told.tests[0].outcome is outcome
    assert len(told.tests[0].metric_faults) == 1
    for verbose in (False, True):
        stream = io.StringIO()
        console.print_summary(told, stream, verbose=verbose)
        assert "Metric not read: # metric: x 1 sec: 'sec' is not a unit" in stream.getvalue()
    assert b'name="s:p.metric-fault.1"' in junit.render(told)
    assert b"metric that cannot be read" in html.render(by_kernel(told))


def test_every_report_has_the_figures(tmp_path: Path) -> None:
    told = results(ended(tmp_path, OUTPUT))
    stream = io.StringIO()
    console.print_summary(told, stream, verbose=True)
    assert "    moved 4,096 pages  (less is better)\n" in stream.getvalue()
    assert "user_time 0.25 s, system_time 1.5 s" in stream.getvalue()
    assert b'name="s:p.metric.moved" value="4096 pages (better: less)"' in junit.render(told)
    assert b"metric moved" in html.render(by_kernel(told))
    (written,) = json.loads(encode(told))["tests"]
    assert written["metrics"][0] == {
        "name": "moved",
        "value": 4096,
        "unit": "pages",
        "better": "less",
        "by": "test",
        "exact": False,
    }


def test_each_attempt_keeps_its_own(tmp_path: Path) -> None:
    other = OUTPUT.replace(b"4096", b"5000")
    (test,) = results(ended(tmp_path, OUTPUT), ended(tmp_path, other, attempt=2)).tests
    assert [attempt.metrics[0].value for attempt in test.attempts] == [4096, 5000]


def test_a_record_of_a_journal_before_metrics_is_read() -> None:
    old = TestEnded(name="s:p", ending=Ending(how="exit", status=0), report=parse(b""), total_s=1.0)
    assert results(old).tests[0].metrics == ()
