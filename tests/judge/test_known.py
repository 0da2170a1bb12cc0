# SPDX-License-Identifier: GPL-2.0-only
"""What an entry excuses, and everything that it does not."""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec
import pytest

from harness import klog, ktap
from harness.judge.verdict import judge_test
from harness.klog.allow import Allowance
from harness.model.events import How
from harness.model.expectations import Expectation
from harness.model.plan import PlannedTest
from harness.model.records import Ending, TestEnded
from harness.model.results import Test
from harness.outcome import Outcome

pytestmark = pytest.mark.unit
TODAY = date(2026, 7, 1)
BAD = b"TAP version 13\n1..3\nok 1 one\n# x.c:7: wrong\nnot ok 2 two\nok 3 three\n"
GOOD = BAD.replace(b"not ok", b"ok")
WARNING = b"[    1.0] ------------[ cut here ]------------\n[    1.0] WARNING: CPU: 0 PID: 9 at mm/x.c:5 f+0x1/0x2\n"  # noqa: E501
OOPS = b"[    1.0] BUG: kernel NULL pointer dereference, address: 0000000000000028\n"


def entry(
    test: str,
    outcome: str | tuple[str, ...] = "fail",
    until: date = date(2030, 1, 1),
    **looks: object,
) -> Expectation:
    """Return an entry; without *looks* one for ``BAD`` and exit status 1."""
    looks = looks or ({"says": "wrong"} if "/" in test else {"says": "wrong", "ends": "exit 1"})
    values = {"outcome": outcome, "series": ("v10",), "reason": "C3", "owner": "me"}
    return Expectation(test=test, until=until, **(values | looks))  # type: ignore[arg-type]


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
    today: date = TODAY,
) -> Test:
    parser, scanner = ktap.Parser(), klog.Scanner()
    parser.feed(output)
    scanner.feed(log)
    ended = TestEnded(
        name="s:p",
        ending=ending or Ending(how="exit", status=status),
        report=parser.close(),
        findings=scanner.close(),
        output=output.decode(),
        total_s=1.0,
    )
    plan = PlannedTest(name="s:p", suite="s", program="p", expect=entries, allow=allow)
    return judge_test(plan, today, None, ended)


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
    ("known", "status", "output", "ending"),
    [
        (entry("p"), 1, BAD, None),
        (entry("p", ends="exit 5"), 5, b"", None),
        (entry("p", ends="exit 5", says="^x: gone"), 5, b"x: gone\n", None),
        (entry("p", "timeout", ends="timeout"), 1, b"", Ending(how="timeout", status=0)),
        (entry("p", "crash", ends="panic"), 1, b"", Ending(how="died", death=How.PANIC)),
    ],
)
def test_a_known_failure_of_a_program(
    known: Expectation, status: int, output: bytes, ending: Ending | None
) -> None:
    test = judged(output, known, status=status, ending=ending)
    assert test.outcome is Outcome.XFAIL
    assert "C3 (me, until 2030-01-01)" in test.reason
    assert all(case.outcome.as_expected for case in test.cases)


def test_a_known_splat_of_a_program() -> None:
    known = entry("p", "splat", ends="exit 0", kernel=r"warning: WARNING: mm/x\.c:N f")
    assert judged(GOOD, known, status=0, log=WARNING).outcome is Outcome.XFAIL


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


NULL = "oops: BUG: kernel NULL pointer dereference, address: N"
CRASHED = Ending(how="died", death=How.CRASHED)
PANIC = b"[    2.0] Kernel panic - not syncing: out of coffee\n"
STALL = b"[    3.0] watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [p:37]\n"
OTHER = b"[    1.0] BUG: unable to handle page fault for address: 0000000000000028\n"
CUT = b"TAP version 13\n1..3\nok 1 one\n# x.c:7: wrong\n"


@pytest.mark.parametrize(
    ("known", "what", "more"),
    [
        # The findings of issue 9, and their siblings.
        (entry("p", "crash", ends="crashed", kernel=NULL), "by reset", {"ending": "reset"}),
        (entry("p", "crash", ends="crashed", kernel=NULL), "by hang", {"ending": "hang"}),
        (entry("p", "crash", ends="crashed", kernel=NULL), "by panic", {"ending": "panic"}),
        (
            entry("p", "crash", ends="crashed", kernel=NULL),
            "reported 'oops: BUG: unable to handle page fault",
            {"ending": "crashed", "log": OTHER},
        ),
        (entry("p", "crash", ends="crashed", kernel=NULL), "did not report", {"ending": "crashed"}),
        (
            entry("p", "crash", ends="exit 1", kernel=NULL),
            "reported 'warning: WARNING: mm/x.c:N f'",
            {"log": WARNING + OOPS},
        ),
        # The program went on after its crash, and something else hung.
        (
            entry("p", "crash", ends="exit 1", kernel=NULL, says="wrong"),
            "reported 'soft-lockup: ",
            {"log": OOPS + STALL},
        ),
        (entry("p", "crash", ends="hang", stack="spins"), "no stack trace", {"ending": "hang"}),
        (entry("p", ends="exit 1"), "it says 'x: gone'", {"output": b"x: gone\n"}),
        (entry("p"), "power-off", {"ending": "power-off"}),
        (entry("p"), "it ended by signal SIGSEGV", {"signal": 11}),
        (entry("p"), "it ended by exit 99", {"status": 99}),
        (entry("p"), "it says 'x.c:9: other'", {"output": BAD.replace(b"7: wrong", b"9: other")}),
        (
            entry("p"),
            "three: it says 'x.c:9: other'",
            {"output": BAD.replace(b"ok 3", b"# x.c:9: other\nnot ok 3")},
        ),
        (
            entry("p/two"),
            "it says 'x.c:8: too'",
            {"output": BAD.replace(b"not ok 2", b"# x.c:8: too\nnot ok 2")},
        ),
        (entry("p/two", says="^$"), "it says 'x.c:7: wrong'", {}),
        (entry("p/two"), "it says nothing", {"output": BAD.replace(b"# x.c:7: wrong\n", b"")}),
        # A crash that is known, and a case that failed in a way of its own.
        (entry("p", "crash", ends="exit 1", kernel=NULL), "two: it says", {"log": OOPS}),
        (
            entry("p", "crash", ends="crashed", kernel=NULL),
            "test 2: it says",
            {"log": OOPS, "ending": "crashed", "output": CUT},
        ),
        (entry("p", "crash", ends="reset", says="lost"), "none of its", {"ending": "reset"}),
        (
            entry("p", "crash", ends="reset", says="lost", also="wrong"),
            "none of its assertions matches",
            {"ending": "reset", "output": CUT},
        ),
        # The kernel's word is not complete.
        (entry("p"), "the end of the kernel log did not arrive", {"log_complete": False}),
        (entry("p"), "has complained (W, warning)", {"taint": 1 << 9}),
        (
            entry("p", "crash", ends="exit 1", kernel=NULL, says="wrong"),
            "has complained (W, warning)",
            {"taint": 1 << 9 | 1 << 7, "log": OOPS},
        ),
        # Cases may be missing.
        (entry("p"), "1 planned case(s)", {"output": BAD.replace(b"ok 3 three\n", b"")}),
        (entry("p"), "has no plan", {"output": BAD.replace(b"1..3\n", b"")}),
        (entry("p", says="wrong", ends="exit 1", cases=4), "it reported 3 cases", {}),
        (entry("p"), "cannot be trusted", {"output": BAD + b"ok 4 four\n"}),
    ],
)
def test_what_looks_otherwise_is_not_as_known(
    known: Expectation, what: str, more: dict[str, object]
) -> None:
    """Every attempt is a failure that an entry for its outcome alone would have excused."""
    options = dict(more)
    output = options.pop("output", b"" if {"ending", "signal"} & set(more) else BAD)
    death, number = options.pop("ending", None), options.pop("signal", None)
    log = options.pop("log", b"")
    if death is not None:
        ending = Ending(how="died", death=How(death))  # type: ignore[arg-type]
    elif number is not None:
        ending = Ending(how="signal", status=number)  # type: ignore[arg-type]
    else:
        ending = Ending(how="exit", **({"status": 1} | options))  # type: ignore[arg-type]
    alone = judged(output, ending=ending, log=log)  # type: ignore[arg-type]
    test = judged(output, known, ending=ending, log=log)  # type: ignore[arg-type]
    assert test.outcome is alone.outcome
    assert not test.outcome.as_expected
    assert "not as known: " in test.reason
    assert what in test.reason
    assert "C3" in test.reason
    assert known.looks in test.reason


@pytest.mark.parametrize(
    ("known", "ending", "log", "output"),
    [
        (entry("p", "crash", ends="crashed", kernel=NULL), CRASHED, OOPS, b""),
        # What follows from a crash, and from a hang, needs no words of its own.
        (entry("p", "crash", ends="crashed", kernel=NULL), CRASHED, OOPS + STALL, b""),
        (
            entry("p", "crash", ends="hang"),
            Ending(how="died", death=How.HANG),
            STALL,
            b"",
        ),
        # Cases that were cut off, and those not begun, are covered; an assertion is named.
        (entry("p", "crash", ends="crashed", kernel=NULL, says="wrong"), CRASHED, OOPS, CUT),
        (
            entry("p", "crash", ends=("reset", "crashed"), kernel=NULL, says=("x", "wrong")),
            CRASHED,
            OOPS,
            CUT,
        ),
        (
            entry("p", ("crash", "fail"), ends=("crashed", "exit 1"), says="wrong"),
            Ending(how="exit", status=1),
            b"",
            BAD,
        ),
        (
            entry("p", "crash", ends="exit 1", kernel=NULL, also="warning: .*", says="wrong"),
            Ending(how="exit", status=1, taint=1 << 9 | 1 << 7),
            WARNING + OOPS,
            BAD,
        ),
        # What may be seen need not be.
        (
            entry("p", "crash", ends="crashed", kernel=NULL, also=("warning: .*", "wrong")),
            CRASHED,
            WARNING + OOPS,
            CUT,
        ),
        (
            entry("p", "crash", ends="crashed", kernel=NULL, also=("warning: .*", "wrong")),
            CRASHED,
            OOPS,
            b"",
        ),
        # Without a plan, the number of cases makes up for it.
        (
            entry("p", ends="exit 1", says="wrong", cases=3),
            Ending(how="exit", status=1),
            b"",
            BAD.replace(b"1..3\n", b""),
        ),
    ],
)
def test_what_looks_as_said_is_known(
    known: Expectation, ending: Ending, log: bytes, output: bytes
) -> None:
    test = judged(output, known, ending=ending, log=log)
    assert (test.outcome, test.reason.partition(":")[0]) == (Outcome.XFAIL, "known")
    assert all(case.outcome.as_expected for case in test.cases)
    # And so does one of several entries.
    other = entry("p", "crash", ends="panic")
    assert judged(output, other, known, ending=ending, log=log).outcome is Outcome.XFAIL
    assert judged(output, known, other, ending=ending, log=log).outcome is Outcome.XFAIL


def test_a_fingerprint_names_a_report_and_no_other() -> None:
    test = judged(b"", ending=CRASHED, log=OOPS)
    mine = entry("p", "crash", ends="crashed", kernel=test.findings[0].fingerprint)
    assert test.findings[0].name == NULL
    assert judged(b"", mine, ending=CRASHED, log=OOPS).outcome is Outcome.XFAIL
    assert judged(b"", mine, ending=CRASHED, log=OTHER).outcome is Outcome.CRASH


def test_a_flood_is_never_as_known() -> None:
    # Two thousand oopses, no two of which look alike.
    lines = [OTHER.replace(b"0000000000000028", b"a%x" % number) for number in range(2000)]
    known = entry("p", "crash", ends="exit 1", kernel="oops: .*", also="flood: .*", says="wrong")
    test = judged(BAD, known, log=b"".join(lines))
    assert "flood" in {each.kind for each in test.findings}
    assert test.outcome is Outcome.CRASH
    assert "too many reports to tell them apart" in test.reason


def test_names_of_reports_do_not_depend_on_the_boot() -> None:
    one = b"[    1.0] ------------[ cut here ]------------\n[    1.0] WARNING: CPU: %d PID: %d at mm/x.c:%d f+0x%x/0x90\n"  # noqa: E501
    names = {
        each.name
        for numbers in ((0, 9, 5, 1), (31, 4711, 60, 0x44))
        for each in judged(GOOD, status=0, log=one % numbers).findings
    }
    assert names == {"warning: WARNING: mm/x.c:N f"}


@pytest.mark.parametrize(
    "output",
    [
        # The known case, and then err(1): what else there is was never begun.
        b"TAP version 13\nok 1 one\n# x.c:7: wrong\nnot ok 2 two\np: gone: EINVAL\n",
        b"ok 1 one\n# x.c:7: wrong\nnot ok 2 two\n",
        # A plan at the top, and none below where it failed.
        b"TAP version 13\n1..1\n    # x.c:7: wrong\n    not ok 1 two\nnot ok 1 group\n",
    ],
)
@pytest.mark.parametrize("status", [0, 1])
def test_a_known_case_excuses_no_program_without_a_plan(output: bytes, status: int) -> None:
    name = "p/group/two" if b"group" in output else "p/two"
    test = judged(output, entry(name), status=status)
    assert test.outcome is Outcome.FAIL
    assert "not as known: it has no plan, so cases may be missing" in test.reason
    assert [case.outcome for case in test.cases][-1] is Outcome.XFAIL


def test_a_case_that_is_known_to_time_out() -> None:
    late = b"TAP version 13\n1..2\nok 1 one\n# two: Test terminated by timeout\n"
    late += b"not ok 2 two # TIMEOUT 30 seconds\n"
    known = entry("p/two", "timeout", says="terminated by timeout")
    assert judged(late, known).outcome is Outcome.XFAIL
    assert judged(late, entry("p/two", says="terminated")).outcome is Outcome.TIMEOUT
    whole = judged(late, known, ending=Ending(how="timeout", status=0))
    assert whole.outcome is Outcome.TIMEOUT


def test_a_known_case_beside_a_known_crash() -> None:
    crash = entry("p", "crash", ends="exit 1", kernel=NULL)
    test = judged(BAD, crash, entry("p/two"), log=OOPS)
    assert test.outcome is Outcome.XFAIL
    # A case that passes against its entry is told, though its program ended as known.
    test = judged(BAD, crash, entry("p/two"), entry("p/three"), log=OOPS)
    assert test.outcome is Outcome.XPASS
    assert "three: passed, but expected to fail" in test.reason


@pytest.mark.parametrize("name", ["p", "p/two"])
def test_what_fails_now_and_then_may_pass(name: str) -> None:
    looks: dict[str, Any] = (
        {"says": "wrong"} if "/" in name else {"says": "wrong", "ends": "exit 1"}
    )
    race = entry(name, sometimes=True, **looks)
    assert judged(GOOD, race, status=0).outcome is Outcome.PASS
    assert judged(BAD, race).outcome is Outcome.XFAIL
    assert judged(GOOD, race, entry(name), status=0).outcome is Outcome.XPASS


@pytest.mark.parametrize(("name", "outcome"), [("p", "crash"), ("p/two", "fail")])
def test_entries_of_old_journals_name_an_outcome_only(name: str, outcome: str) -> None:
    old = {
        "test": name, "outcome": outcome, "series": ["v10"], "reason": "C3", "owner": "me",
        "until": "2030-01-01",
    }  # fmt: skip
    known = msgspec.json.decode(msgspec.json.encode(old), type=Expectation)
    log = OOPS if outcome == "crash" else b""
    assert judged(BAD, known, log=log).outcome is Outcome.XFAIL


def test_allowances_of_old_journals_cover_any_number() -> None:
    old = {
        "kind": "warning", "pattern": "WARNING: .*", "reason": "loud", "owner": "me",
        "until": "2030-01-01",
    }  # fmt: skip
    known = msgspec.json.decode(msgspec.json.encode(old), type=Allowance)
    assert judged(GOOD, status=0, log=WARNING * 3, allow=(known,)).outcome is Outcome.PASS


def test_entries_come_back_from_a_journal_as_they_were() -> None:
    """A run that is taken up again compares them."""
    known = entry(
        "p",
        ("crash", "fail"),
        ends=("hang", "exit 1"),
        kernel=("a", "b"),
        says="x",
        cases=2,
    )
    assert msgspec.json.decode(msgspec.json.encode(known), type=Expectation) == known


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


@pytest.mark.parametrize(
    ("taint", "flag"),
    [
        (1 << 9 | 1 << 7, "D, oops"),
        (1 << 9 | 1 << 5, "B, bad page"),
        (1 << 9 | 1 << 14, "L, soft lockup"),
        (1 << 4, "M, machine check"),
    ],
)
def test_an_allowed_message_answers_for_its_own_flag_only(taint: int, flag: str) -> None:
    ending = Ending(how="exit", status=0, taint=taint)
    test = judged(GOOD, ending=ending, log=WARNING, allow=(allowance(),))
    assert test.outcome is Outcome.ERROR
    assert f"the kernel has complained ({flag})" in test.reason


def test_an_allowed_oops_answers_for_no_warning() -> None:
    allow = Allowance(
        kind="oops", pattern="BUG: .*", reason="on purpose", owner="me", until=date(2030, 1, 1)
    )
    for taint, outcome in ((1 << 7, Outcome.PASS), (1 << 9, Outcome.ERROR)):
        ending = Ending(how="exit", status=0, taint=taint)
        assert judged(GOOD, ending=ending, log=OOPS, allow=(allow,)).outcome is outcome


def test_a_message_that_comes_more_often_than_allowed_counts() -> None:
    once = msgspec.structs.replace(allowance(), times=1)
    assert judged(GOOD, status=0, log=WARNING, allow=(once,)).outcome is Outcome.PASS
    test = judged(GOOD, status=0, log=WARNING * 3, allow=(once,))
    assert test.outcome is Outcome.SPLAT
    assert "allowed once in a test, and it appeared more often (3 of this kind)" in test.reason


@pytest.mark.parametrize("name", ["p", "p/two"])
def test_an_entry_for_what_was_posted_holds_for_ever(name: str) -> None:
    known = msgspec.structs.replace(entry(name), until=None, posted=True)
    for day in (TODAY, date(2028, 11, 27), date(2999, 1, 1)):
        test = judged(BAD, known, today=day)
        assert test.outcome is Outcome.XFAIL
        assert "C3 (me, as posted)" in test.cases[1].reason
