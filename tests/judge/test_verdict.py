# SPDX-License-Identifier: GPL-2.0-only
"""Three witnesses, one outcome: nothing but agreement on pass is a pass."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from harness import klog, ktap
from harness.judge import verdict
from harness.judge.witnesses import judge
from harness.model.events import How
from harness.model.plan import PlannedTest
from harness.model.records import (
    Decoded,
    Ending,
    GuestFailed,
    GuestReady,
    Record,
    RunEnded,
    RunStarted,
    TestEnded,
    TestStarted,
)
from harness.model.results import Kernel, Machine
from harness.model.spec import GuestTable
from harness.outcome import Outcome
from harness.report import junit

pytestmark = pytest.mark.unit

GOOD = b"TAP version 13\n1..2\nok 1 one\nok 2 two\n"
BAD = b"TAP version 13\n1..2\nok 1 one\n# io_test.c:7:two: wrong\nnot ok 2 two\n"
SKIPPED = b"TAP version 13\n1..2\nok 1 one # SKIP no call\nok 2 two # SKIP no call\n"
SHORT = b"TAP version 13\n1..2\nok 1 one\n"
GAVE_UP = b"TAP version 13\n1..3\nok 1 one\nok 2 # SKIP no device\n"
GAVE_UP_IN_A_GAP = b"TAP version 13\n1..3\nok 1 one\nok 3 # SKIP no device\n"
FORGED = GOOD + b"ok 3 more\n"
GLUED = GOOD + b"waiting...not ok 2 two\n"
# What a program prints that plans no number of tests, by way of 6.1's kselftest.h.
NO_PLAN = (
    b"# polling\nok 1 one\n# Planned tests != run tests (0 != 1)\n"
    b"# Totals: pass:1 fail:0 xfail:0 xpass:0 skip:0 error:0\n"
)
BAILED = b"TAP version 13\n1..4\nok 1 one\nBail out! open: No such device\n"
FAILED_AND_BAILED = b"TAP version 13\n1..4\nnot ok 1 one\nBail out! open: No such device\n"
SKIPPED_MUTE = b"TAP version 13\n1..2\nok 1 one # SKIP\nok 2 two # SKIP\n"
PARENT_FAILED = b"KTAP version 1\n1..1\n  KTAP version 1\n  1..1\n  ok 1 low\nnot ok 1 top\n"
XFAILED = b"TAP version 13\n1..1\nnot ok 1 one # XFAIL known\n"
SPLAT = (
    b"[    1.000000] ------------[ cut here ]------------\n"
    b"[    1.000000] WARNING: CPU: 0 PID: 9 at mm/x.c:5 f+0x1/0x2\n"
)
STARVED = (
    b"[    1.000000] Out of memory: Killed process 31 (hog) total-vm:511572kB, anon-rss:421404kB,"
    b" file-rss:4kB, shmem-rss:0kB, UID:0 pgtables:868kB oom_score_adj:0\n"
)
OOPS = b"[    1.000000] BUG: kernel NULL pointer dereference, address: 0000000000000028\n"


def report(data: bytes) -> ktap.Report:
    parser = ktap.Parser()
    parser.feed(data)
    return parser.close()


def findings(data: bytes) -> tuple[klog.Finding, ...]:
    scanner = klog.Scanner()
    scanner.feed(data)
    return scanner.close()


def exited(status: int) -> Ending:
    return Ending(how="exit", status=status)


TIMEOUT = Ending(how="timeout", status=0)
TAINTED = Ending(how="exit", status=0, taint=1 << 9)
KILLED = Ending(how="signal", status=9)
SEGV = Ending(how="signal", status=11)


def died(how: How) -> Ending:
    return Ending(how="died", death=how, detail="gone")


@pytest.mark.parametrize(
    ("ending", "output", "log", "outcome", "reason"),
    [
        (exited(0), GOOD, b"", Outcome.PASS, ""),
        (exited(0), b"", b"", Outcome.PASS, ""),
        (exited(0), b"no tap here\n", b"", Outcome.PASS, ""),
        (exited(1), b"", b"", Outcome.FAIL, "exit status 1"),
        (exited(2), b"", b"", Outcome.FAIL, "exit status 2"),
        (exited(3), b"", b"", Outcome.XPASS, "exit status 3"),
        (exited(4), b"", b"", Outcome.SKIP, ""),
        (exited(5), b"", b"", Outcome.FAIL, "exit status 5"),
        (exited(255), b"", b"", Outcome.FAIL, "exit status 255"),
        (exited(0), BAD, b"", Outcome.FAIL, "two"),
        (exited(0), GOOD, STARVED, Outcome.PASS, ""),
        (TAINTED, GOOD, b"", Outcome.ERROR, "the kernel has complained (W, warning), but its log"),
        (TAINTED, BAD, b"", Outcome.FAIL, "two"),
        (TAINTED, GOOD, STARVED, Outcome.ERROR, "the kernel has complained"),
        (TAINTED, GOOD, SPLAT, Outcome.SPLAT, "mm/x.c"),
        (Ending(how="exit", status=0, taint=1 << 6), GOOD, b"", Outcome.PASS, ""),
        (
            KILLED,
            b"",
            STARVED,
            Outcome.FAIL,
            "killed by SIGKILL, because the guest was out of memory",
        ),
        (SEGV, b"", STARVED, Outcome.FAIL, "killed by SIGSEGV"),
        (exited(1), BAD, b"", Outcome.FAIL, "two"),
        (exited(1), GOOD, b"", Outcome.FAIL, "no failure"),
        (exited(2), GOOD, b"", Outcome.FAIL, "exit status 2"),
        (exited(2), XFAILED, b"", Outcome.XFAIL, "known"),
        (exited(2), XFAILED, SPLAT, Outcome.SPLAT, "WARNING"),
        (exited(2), b"ok 1 one\nnot ok 2 two # XFAIL known\n", b"", Outcome.FAIL, "exit status 2"),
        (exited(3), GOOD, b"", Outcome.XPASS, "exit status 3"),
        (exited(4), GOOD, b"", Outcome.SKIP, ""),
        (exited(4), BAD, b"", Outcome.FAIL, "two"),
        (exited(4), SHORT, b"", Outcome.ERROR, "cannot be trusted"),
        (exited(4), GAVE_UP, b"", Outcome.SKIP, "no device"),
        (exited(4), GAVE_UP_IN_A_GAP, b"", Outcome.ERROR, "cannot be trusted"),
        (exited(4), b"", b"", Outcome.SKIP, "exit status 4: no reason given"),
        (exited(0), SKIPPED_MUTE, b"", Outcome.SKIP, "one and 1 more: no reason given"),
        (exited(0), b"1..0 # SKIP\n", b"", Outcome.SKIP, "gives no reason"),
        (exited(4), b"1..0 # SKIP no root\n", b"", Outcome.SKIP, "no root"),
        (exited(0), NO_PLAN, b"", Outcome.PASS, "no plan, so the exit status decides"),
        (exited(1), NO_PLAN, b"", Outcome.FAIL, "exit status 1"),
        (exited(0), b"ok 1 one\n", b"", Outcome.PASS, "no plan, so the exit status decides"),
        (exited(0), b"1..1\n" + NO_PLAN, b"", Outcome.ERROR, "(0 != 1)"),
        (exited(1), BAILED, b"", Outcome.FAIL, "Bail out! open: No such device"),
        (exited(0), BAILED, b"", Outcome.ERROR, "Bail out! open: No such device"),
        (exited(4), BAILED, b"", Outcome.ERROR, "Bail out! open: No such device"),
        (SEGV, BAILED, b"", Outcome.FAIL, "killed by SIGSEGV; Bail out! open: No such device"),
        (exited(1), FAILED_AND_BAILED, b"", Outcome.FAIL, "one; Bail out! open: No such device"),
        (exited(1), b"1..2\nBail out!\n", b"", Outcome.FAIL, "Bail out! (no reason given)"),
        (exited(0), GLUED, b"", Outcome.ERROR, "'not ok' after other text"),
        (exited(1), PARENT_FAILED, b"", Outcome.FAIL, "top"),
        (exited(0), GAVE_UP, b"", Outcome.ERROR, "cannot be trusted"),
        (exited(0), b"TAP version 13\n", b"", Outcome.ERROR, "cannot be trusted"),
        (exited(0), SKIPPED, b"", Outcome.SKIP, "no call"),
        (exited(0), XFAILED, b"", Outcome.XFAIL, "known"),
        (exited(0), SHORT, b"", Outcome.ERROR, "cannot be trusted"),
        (exited(1), SHORT, b"", Outcome.FAIL, "exit status 1"),
        (exited(0), FORGED, b"", Outcome.ERROR, ""),
        (SEGV, GOOD, b"", Outcome.FAIL, "SIGSEGV"),
        (SEGV, BAD, b"", Outcome.FAIL, ""),
        (Ending(how="signal", status=99), b"", b"", Outcome.FAIL, "signal 99"),
        (TIMEOUT, GOOD, b"", Outcome.TIMEOUT, "time"),
        (TIMEOUT, BAD, b"", Outcome.TIMEOUT, "time"),
        (TIMEOUT, b"", SPLAT, Outcome.TIMEOUT, "time"),
        (exited(0), GOOD, SPLAT, Outcome.SPLAT, "WARNING"),
        (exited(4), b"", SPLAT, Outcome.SPLAT, "WARNING"),
        (exited(1), BAD, SPLAT, Outcome.FAIL, "two"),
        (exited(0), GOOD, OOPS, Outcome.CRASH, "NULL pointer"),
        (exited(1), BAD, OOPS, Outcome.CRASH, "NULL pointer"),
        (TIMEOUT, GOOD, OOPS, Outcome.CRASH, "NULL pointer"),
        (died(How.PANIC), GOOD, b"", Outcome.CRASH, "panic"),
        (died(How.RESET), GOOD, b"", Outcome.CRASH, "reset"),
        (died(How.HANG), GOOD, b"", Outcome.CRASH, "hang"),
        (died(How.POWER_OFF), GOOD, b"", Outcome.FAIL, "power-off"),
        (died(How.UNKILLABLE), GOOD, b"", Outcome.TIMEOUT, "unkillable"),
        (died(How.QEMU_DIED), GOOD, b"", Outcome.ERROR, "qemu-died"),
        (died(How.PROTOCOL), GOOD, b"", Outcome.ERROR, "protocol"),
        (Ending(how="harness", detail="full"), GOOD, b"", Outcome.ERROR, "full"),
        (Ending(how="not-started", detail="ENOEXEC"), b"", b"", Outcome.ERROR, "ENOEXEC"),
        (
            Ending(how="exit", status=0, log_complete=False),
            GOOD,
            b"",
            Outcome.ERROR,
            "kernel log",
        ),
        (Ending(how="exit", status=1, log_complete=False), BAD, b"", Outcome.FAIL, "two"),
    ],
)
def test_the_worst_witness_counts(
    ending: Ending, output: bytes, log: bytes, outcome: Outcome, reason: str
) -> None:
    got, why = judge(ending, report(output), findings(log))
    assert got is outcome
    assert reason in why
    assert bool(why) or got is Outcome.PASS


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("looking\n# SKIP: no root\nbye\n", "exit status 4: SKIP: no root"),
        ("need root\n\n", "exit status 4: need root"),
        ("", "exit status 4: no reason given"),
    ],
)
def test_a_skip_without_a_report_says_what_the_program_printed(output: str, reason: str) -> None:
    got = judge(exited(4), report(b""), (), output=output)
    assert got == (Outcome.SKIP, reason)


ENDINGS = [
    *(exited(status) for status in (0, 1, 2, 3, 4, 5, 126, 255)),
    SEGV,
    TIMEOUT,
    *(died(how) for how in How),
    Ending(how="harness"),
    Ending(how="not-started"),
    Ending(how="exit", status=0, log_complete=False),
]
OUTPUTS = [b"", GOOD, BAD, SKIPPED, SHORT, FORGED, XFAILED]


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda e: f"{e.how}-{e.status}-{e.death}")
def test_only_agreement_is_a_pass(ending: Ending) -> None:
    for output, log in itertools.product(OUTPUTS, (b"", SPLAT, OOPS)):
        got, _ = judge(ending, report(output), findings(log))
        clean_exit = ending.how == "exit" and ending.status == 0 and ending.log_complete
        if got is Outcome.PASS:
            assert clean_exit
            assert output in (b"", GOOD)
            assert not log


KERNEL = Kernel(release="6.1.0-built", source="s", base_commit="b", build_id="aa")


def planned(name: str, **more: str) -> PlannedTest:
    suite, program = name.split(":")
    return PlannedTest(name=name, suite=suite, program=program, **more)  # type: ignore[arg-type]


def head(*tests: PlannedTest) -> RunStarted:
    return RunStarted(
        run="r",
        time="2026-07-01T03:00:00.000Z",
        harness="0",
        command=(),
        kernel=KERNEL,
        tests=tests,
    )


def begun(name: str) -> TestStarted:
    return TestStarted(name=name, time="t1", seed="5eed")


def ended(name: str, output: bytes = GOOD) -> TestEnded:
    return TestEnded(name=name, ending=exited(0), report=report(output), total_s=0.3)


END = RunEnded(time="t2", seconds=1.5)


def test_every_planned_test_comes_out_once_and_in_order() -> None:
    tests = [planned("s:broken", broken="x.c:1: error: no"), planned("s:script", unfit="a script")]
    tests += [planned(f"s:{name}") for name in ("ran", "begun", "waiting")]
    tests += [planned("t:down")]
    results = verdict.results(
        [
            head(*tests),
            begun("s:ran"),
            ended("s:ran"),
            begun("s:begun"),
            GuestFailed(suite="t", reason="the guest does not boot", kernel_log="panic"),
        ]
    )
    assert [(test.name, test.outcome) for test in results.tests] == [
        ("s:broken", Outcome.ERROR),
        ("s:script", Outcome.SKIP),
        ("s:ran", Outcome.PASS),
        ("s:begun", Outcome.NOTRUN),
        ("s:waiting", Outcome.NOTRUN),
        ("t:down", Outcome.CRASH),
    ]
    assert "x.c:1: error: no" in results.tests[0].reason
    assert results.tests[5].kernel_log == "panic"


def test_a_run_that_was_cut_off_is_no_green_run() -> None:
    records: list[Record] = [head(planned("s:a")), begun("s:a"), ended("s:a")]
    assert verdict.results(records).exit_code != 0
    assert verdict.results([*records, END]).exit_code == 0


def test_the_guest_says_which_kernel_ran() -> None:
    guest = GuestReady(
        suite="s", release="6.1.0-seen", build_id="bb", machine=Machine(qemu="7.2"), seconds=1
    )
    results = verdict.results([head(planned("s:a")), guest, begun("s:a"), ended("s:a"), END])
    assert (results.kernel.release, results.kernel.build_id) == ("6.1.0-seen", "bb")
    assert results.machine.qemu == "7.2"


def test_every_test_says_what_it_ran_on_and_the_run_says_all() -> None:
    small, large = GuestTable(), GuestTable(memory_mib=4096, confidential="sev")
    plans = [
        planned("s:a"),
        msgspec.structs.replace(planned("s:b"), guest=large),
        msgspec.structs.replace(planned("s:c"), unfit="there is no TDX"),
    ]

    def ready(guest: GuestTable, accelerator: str, words: str) -> GuestReady:
        machine = Machine(accelerator=accelerator, qemu="7.2", guest=words)
        return GuestReady(
            suite="s", guest=guest, release="6.1", build_id="bb", machine=machine, seconds=1
        )

    guests = [ready(small, "tcg", "q35"), ready(large, "kvm", "q35, sev")]
    results = verdict.results([head(*plans), *guests, begun("s:a"), ended("s:a"), END])
    assert [(test.accelerator, test.guest) for test in results.tests] == [
        ("tcg", "q35"),
        ("kvm", "q35, sev"),
        ("", ""),
    ]
    assert results.machine == Machine(accelerator="tcg; kvm", qemu="7.2", guest="q35; q35, sev")
    assert b'name="s:b.guest" value="kvm, q35, sev"' in junit.render(results)
    assert results.tests[2].reason == "there is no TDX"


def test_what_was_looked_up_later_stands_in_the_report() -> None:
    plan = PlannedTest(name="s:a", suite="s", program="a")
    found = findings(OOPS)
    ended = TestEnded(name="s:a", ending=exited(0), report=report(b""), findings=found, total_s=1.0)
    decoded = Decoded(name="s:a", reports=(found[0].report + " (mm/x.c:5)",))
    wrong = Decoded(name="s:a", reports=())
    for more, lines in (((), False), ((decoded,), True), ((wrong,), False)):
        (test,) = verdict.results([head(plan), ended, *more]).tests
        assert ("(mm/x.c:5)" in test.kernel_log) is lines
        assert test.outcome is Outcome.CRASH


def test_cases_carry_their_names_and_the_assertion() -> None:
    results = verdict.results([head(planned("s:a")), begun("s:a"), ended("s:a", BAD), END])
    good, bad = results.tests[0].cases
    assert (good.name, good.outcome, good.text) == ("s:a/one", Outcome.PASS, "")
    assert (bad.name, bad.outcome) == ("s:a/two", Outcome.FAIL)
    assert "io_test.c:7:two: wrong" in bad.text
    assert "wrong" in bad.reason


def test_what_a_program_skips_by_its_exit_is_skipped_everywhere() -> None:
    output = b"TAP version 13\n1..50\nok 1 one\nok 2 # SKIP no device\n"
    record = TestEnded(name="s:a", ending=exited(4), report=report(output), total_s=1.0)
    results = verdict.results([head(planned("s:a")), begun("s:a"), record, END])
    (test,) = results.tests
    assert (test.outcome, test.reason) == (Outcome.SKIP, "test 2: no device")
    assert results.case_counts == {Outcome.PASS: 1, Outcome.SKIP: 49}
    assert all(case.reason for case in test.cases[1:])
    assert results.exit_code == 0


def test_a_journal_without_a_plan_is_refused() -> None:
    with pytest.raises(ValueError, match="plan"):
        verdict.results([END])
