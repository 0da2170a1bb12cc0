# SPDX-License-Identifier: GPL-2.0-only
"""One run, one answer: console, JUnit, results.json and exit status agree, whatever happened."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import klog
from harness.errors import ExitCode
from harness.judge import verdict
from harness.ktap import parse
from harness.model.events import How
from harness.model.expectations import Expectation
from harness.model.plan import PlannedTest
from harness.model.records import Ending, Record, RunEnded, RunStarted, TestEnded, TestStarted
from harness.model.results import Kernel, Results, decode, encode
from harness.outcome import Outcome
from harness.report import console, junit

pytestmark = pytest.mark.unit

_LOGS = (
    b"",
    b"[    1.000000] ------------[ cut here ]------------\n"
    b"[    1.000000] WARNING: CPU: 0 PID: 9 at mm/x.c:5 f+0x1/0x2\n",
    b"[    1.000000] BUG: kernel NULL pointer dereference, address: 0000000000000028\n",
)
_RESULTS = st.lists(
    st.sampled_from(
        [
            "ok {} a",
            "ok {} b # SKIP no device",
            "ok {} # SKIP",
            "not ok {} c",
            "not ok {} d # XFAIL known",
            "ok {} e # TODO later",
            "not ok {} f # TIMEOUT",
            "ok 1234567890 g",
            "texttoken not ok {} h",
            "Bail out! no device",
            "    # Subtest: i",
            "    ok 1 j # SKIP",
            "    not ok 1 k",
            "# Planned tests != run tests (0 != 1)",
            "",
        ]
    ),
    max_size=8,
)
_HEADS = st.sampled_from(["", "TAP version 13", "KTAP version 1"])
_PLANS = st.sampled_from(["", "1..0", "1..0 # SKIP no root", "1..1", "1..3", "1..12"])
_ENDINGS = st.one_of(
    st.builds(
        Ending,
        how=st.just("exit"),
        status=st.sampled_from([0, 1, 2, 3, 4, 5]),
        log_complete=st.sampled_from([True, True, False]),
        taint=st.sampled_from([0, 0, 1 << 9]),
    ),
    st.builds(Ending, how=st.just("died"), death=st.sampled_from(How)),
    st.sampled_from(
        [
            Ending(how="signal", status=11),
            Ending(how="timeout", status=0),
            Ending(how="not-started", detail="ENOEXEC"),
            Ending(how="harness", detail="no room"),
        ]
    ),
)
_ENTRIES = st.lists(
    st.builds(
        Expectation,
        test=st.sampled_from(["t", "t/a", "t/c", "t/h", "t/f", "t/i/k"]),
        outcome=st.sampled_from(["fail", "timeout", "splat", "crash"]),
        series=st.just(("*",)),
        reason=st.just("known"),
        owner=st.just("me"),
        until=st.just(date(2099, 1, 1)),
    ),
    max_size=2,
)


@st.composite
def _records(draw: st.DrawFn, name: str) -> tuple[PlannedTest, TestStarted, TestEnded]:
    results = draw(_RESULTS)
    lines = [draw(_HEADS), draw(_PLANS), *(line.format(n) for n, line in enumerate(results, 1))]
    output = "".join(f"{line}\n" for line in lines if line)
    scanner = klog.Scanner()
    scanner.feed(draw(st.sampled_from(_LOGS)))
    ended = TestEnded(
        name=name,
        ending=draw(_ENDINGS),
        report=parse(output.encode()),
        findings=scanner.close(),
        output=output,
        total_s=1.0,
    )
    plan = PlannedTest(name=name, suite="s", program="t", expect=tuple(draw(_ENTRIES)))
    return plan, TestStarted(name=name, time="t", seed="5eed"), ended


@st.composite
def _runs(draw: st.DrawFn) -> Results:
    tests = [draw(_records(f"s:t{n}")) for n in range(draw(st.integers(1, 3)))]
    head = RunStarted(
        run="r",
        time="2026-07-01T03:00:00.000Z",
        harness="0",
        command=(),
        kernel=Kernel(release="6.1", source="s", base_commit="b"),
        tests=tuple(plan for plan, *_ in tests),
    )
    records: list[Record] = [head]
    for _, started, ended in tests:
        records += [started, ended]
    return verdict.results([*records, RunEnded(time="t", seconds=1.0)])


@given(_runs())
def test_every_report_gives_the_same_answer(results: Results) -> None:
    bad = [test for test in results.tests if not test.outcome.as_expected]
    for test in results.tests:
        for case in test.cases:
            assert case.outcome.as_expected or case.outcome.severity <= test.outcome.severity
        assert test.reason or test.outcome is Outcome.PASS
    assert (results.exit_code is ExitCode.AS_EXPECTED) == (not bad)
    assert decode(encode(results)) == results

    root = ET.fromstring(junit.render(results))  # noqa: S314  our own text
    red = {
        testcase.get("classname")
        for testcase in root.iter("testcase")
        if testcase.find("failure") is not None or testcase.find("error") is not None
    }
    assert red == {test.name for test in bad}
    skipped = {
        testcase.get("classname")
        for testcase in root.iter("testcase")
        if testcase.find("skipped") is not None
    }
    assert skipped >= {test.name for test in results.tests if test.outcome is Outcome.SKIP}

    stream = io.StringIO()
    plain = console.Terminal(live=False, colour=False, unicode=True)
    console.print_summary(results, stream, terminal=plain)
    lines = stream.getvalue().splitlines()
    assert f"(exit {int(results.exit_code)})" in lines[-1]
    named = [line for line in lines if line.startswith("Not as expected: ")]
    assert len(named) == bool(bad)
    assert all(test.name in named[0] for test in bad)
