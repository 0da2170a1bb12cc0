# SPDX-License-Identifier: GPL-2.0-only
"""What an entry excuses, and everything that it does not."""

from __future__ import annotations

from datetime import date

import pytest

from harness import klog, ktap
from harness.guest.api import How
from harness.klog.allow import Allowance
from harness.outcome import Outcome
from harness.run.records import Ending, PlannedTest, TestEnded
from harness.run.results import Test
from harness.run.verdict import judge_test
from harness.suites.expectations import Expectation

pytestmark = pytest.mark.unit
TODAY = date(2026, 7, 1)
BAD = b"TAP version 13\n1..3\nok 1 one\n# x.c:7: wrong\nnot ok 2 two\nok 3 three\n"
GOOD = BAD.replace(b"not ok", b"ok")
WARNING = b"[    1.0] ------------[ cut here ]------------\n[    1.0] WARNING: CPU: 0 PID: 9 at mm/x.c:5 f+0x1/0x2\n"  # noqa: E501
OOPS = b"[    1.0] BUG: kernel NULL pointer dereference, address: 0000000000000028\n"


def entry(test: str, outcome: str = "fail", until: date = date(2030, 1, 1)) -> Expectation:
    return Expectation(
        test=test,
        outcome=outcome,  # type: ignore[arg-type]
        series=("v10",),
        reason="C3",
        owner="me",
        until=until,
    )


def allowance(until: date = date(2030, 1, 1)) -> Allowance:
    return Allowance(
        kind="warning", pattern="WARNING: .* at mm/x.*", reason="loud", owner="me", until=until
    )


def judged(
    output: bytes,
    *entries: Expectation,
    status: int = 1,
    log: bytes = b"",
    ending: Ending | None = None,
    allow: tuple[Allowance, ...] = (),
) -> Test:
    parser, scanner = ktap.Parser(), klog.Scanner()
    parser.feed(output)
    scanner.feed(log)
    ended = TestEnded(
        name="s:p",
        ending=ending or Ending(how="exit", status=status),
        report=parser.close(),
        findings=scanner.close(),
        total_s=1.0,
    )
    plan = PlannedTest(name="s:p", suite="s", program="p", expect=entries, allow=allow)
    return judge_test(plan, TODAY, None, ended)


def test_without_an_entry_a_failure_is_one() -> None:
    assert judged(BAD).outcome is Outcome.FAIL


@pytest.mark.parametrize("status", [0, 1])
@pytest.mark.parametrize("name", ["p/two", "p/*", "*/t?o"])
def test_a_known_failure_of_a_case_excuses_it_and_its_program(name: str, status: int) -> None:
    test = judged(BAD, entry(name), status=status)
    # The glob also names cases that pass, which is then no longer as expected.
    expected = Outcome.XPASS if name == "p/*" else Outcome.XFAIL
    assert test.outcome is expected
    assert test.cases[1].outcome is Outcome.XFAIL
    assert "C3 (me, until 2030-01-01)" in test.cases[1].reason
    assert "x.c:7" in test.cases[1].reason


@pytest.mark.parametrize(
    ("output", "entries", "more", "outcome"),
    [
        # Another case failed too.
        (BAD.replace(b"ok 3", b"not ok 3"), ["p/two"], {}, Outcome.FAIL),
        # The program has more against it than its case.
        (BAD, ["p/two"], {"status": 5}, Outcome.FAIL),
        (BAD, ["p/two"], {"ending": Ending(how="signal", status=11)}, Outcome.FAIL),
        (BAD, ["p/two"], {"ending": Ending(how="timeout", status=0)}, Outcome.TIMEOUT),
        (BAD, ["p/two"], {"log": OOPS}, Outcome.CRASH),
        (BAD.replace(b"ok 3 three\n", b""), ["p/two"], {}, Outcome.FAIL),
        (BAD + b"ok 4 more\n", ["p/two"], {}, Outcome.FAIL),
        # A program's failure is not a crash, a time-out, a garbled report.
        (BAD, ["p"], {"log": OOPS}, Outcome.CRASH),
        (b"", ["p"], {"ending": Ending(how="died", death=How.PANIC)}, Outcome.CRASH),
        (BAD, ["p"], {"ending": Ending(how="timeout", status=0)}, Outcome.TIMEOUT),
        (GOOD.replace(b"ok 3 three\n", b""), ["p"], {"status": 0}, Outcome.ERROR),
        (b"", ["p"], {"ending": Ending(how="harness", detail="QEMU")}, Outcome.ERROR),
        # A skip says nothing about the entry.
        (b"", ["p"], {"status": 4}, Outcome.SKIP),
        (b"", ["p/two"], {"status": 4}, Outcome.SKIP),
    ],
)
def test_an_entry_excuses_nothing_else(
    output: bytes, entries: list[str], more: dict[str, object], outcome: Outcome
) -> None:
    test = judged(output, *map(entry, entries), **more)  # type: ignore[arg-type]
    assert test.outcome is outcome
    assert judged(output, **more).outcome is outcome  # type: ignore[arg-type]


def test_a_splat_beside_a_known_failure_still_counts() -> None:
    test = judged(BAD, entry("p/two"), log=WARNING)
    assert test.outcome is Outcome.SPLAT
    assert not test.outcome.as_expected


@pytest.mark.parametrize(
    ("entries", "status", "output", "ending"),
    [
        (["p"], 1, BAD, None),
        (["p"], 5, b"", None),
        ([], 1, b"", Ending(how="timeout", status=0)),
        ([], 1, b"", Ending(how="died", death=How.PANIC)),
    ],
)
def test_a_known_failure_of_a_program(
    entries: list[str], status: int, output: bytes, ending: Ending | None
) -> None:
    outcome = "fail" if entries else ("timeout" if ending and ending.how == "timeout" else "crash")
    test = judged(output, entry("p", outcome), status=status, ending=ending)
    assert test.outcome is Outcome.XFAIL
    assert "C3 (me, until 2030-01-01)" in test.reason
    assert all(case.outcome.as_expected for case in test.cases)


def test_a_known_splat_of_a_program() -> None:
    assert judged(GOOD, entry("p", "splat"), status=0, log=WARNING).outcome is Outcome.XFAIL


@pytest.mark.parametrize("name", ["p", "p/two", "*"])
def test_what_passes_against_an_entry_fails_the_run(name: str) -> None:
    test = judged(GOOD, entry(name), status=0)
    assert test.outcome is Outcome.XPASS
    assert "passed, but expected to fail: C3" in test.reason


def test_an_entry_for_a_case_that_is_not_there_is_an_error() -> None:
    assert judged(GOOD, entry("p/four"), status=0).outcome is Outcome.ERROR
    assert "matches no case of this test: p/four" in judged(GOOD, entry("p/four"), status=0).reason
    # Of a program that did not get that far, nobody knows.
    ending = Ending(how="died", death=How.PANIC)
    assert judged(BAD[:30], entry("p/four"), ending=ending).outcome is Outcome.CRASH


@pytest.mark.parametrize(
    ("until", "outcome"),
    [(TODAY, Outcome.XFAIL), (date(2026, 6, 30), Outcome.FAIL)],
)
def test_an_entry_holds_on_its_last_day_and_no_longer(until: date, outcome: Outcome) -> None:
    for name in ("p", "p/two"):
        test = judged(BAD, entry(name, until=until))
        assert test.outcome is outcome
        assert ("expired on 2026-06-30" in test.reason) is (outcome is Outcome.FAIL)
    assert judged(GOOD, entry("p", until=until), status=0).outcome is (
        Outcome.XPASS if outcome is Outcome.XFAIL else Outcome.PASS
    )


def test_an_allowed_message_is_told_and_does_not_count() -> None:
    test = judged(GOOD, status=0, log=WARNING, allow=(allowance(),))
    assert test.outcome is Outcome.PASS
    tainted = Ending(how="exit", status=0, taint=1 << 9)
    told = judged(GOOD, ending=tainted, log=WARNING, allow=(allowance(),))
    assert told.outcome is Outcome.PASS
    assert [(each.kind, each.allowed) for each in test.findings] == [("warning", "loud")]
    both = judged(GOOD, status=0, log=WARNING + OOPS, allow=(allowance(),))
    assert both.outcome is Outcome.CRASH
    assert [each.allowed for each in both.findings] == ["loud", ""]
    late = judged(GOOD, status=0, log=WARNING, allow=(allowance(date(2026, 6, 30)),))
    assert late.outcome is Outcome.SPLAT
    assert late.findings[0].allowed == ""
    assert "allowed until 2026-06-30" in late.reason
