# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel says before a test counts against it, and is told once."""

from __future__ import annotations

import datetime
import io
import tomllib
import xml.etree.ElementTree as ET

import msgspec
import pytest

from harness import klog, ktap
from harness.errors import ExitCode
from harness.judge import verdict
from harness.klog.allow import Allowance
from harness.lab.boot import observe_boot
from harness.model.events import BootFlag, Hello, How
from harness.model.expectations import Expectation
from harness.model.plan import PlannedTest
from harness.model.records import Boot, Ending, GuestReady, Record, RunEnded, RunStarted, TestEnded
from harness.model.results import Kernel, Machine, Results
from harness.model.spec import GuestTable
from harness.outcome import Outcome
from harness.report import console, expectations, junit

pytestmark = pytest.mark.unit

WARNING = (
    b"[    0.400000] ------------[ cut here ]------------\n"
    b"[    0.400000] WARNING: CPU: 0 PID: 1 at init/bad.c:7 bad_init+0x1/0x2\n"
    b"[    0.400000] Call Trace:\n"
    b"[    0.400000]  do_one_initcall+0x5/0x10\n"
    b"[    0.400000] ---[ end trace 0000000000000000 ]---\n"
)
OOPS = b"[    0.500000] BUG: kernel NULL pointer dereference, address: 0000000000000028\n"
LOCKDEP = (
    b"[    0.600000] WARNING: possible recursive locking detected\n"
    b"[    0.600000] 6.1.0 #1 Not tainted\n"
    b"[    0.600000] stack backtrace:\n"
)
WARNED, DIED = 1 << 9, 1 << 7
GOOD = b"TAP version 13\n1..1\nok 1 one\n"
CLEAN = b"[    0.000000] Linux version 6.1.0\n[    0.100000] Run /init as init process\n"


def hello(taint: int = 0, flags: int = 0) -> Hello:
    return Hello(0, 0, b"", "Linux", "6.1.0", "#1", "x86_64", taint, flags)


def boot(log: bytes, taint: int = 0, flags: int = 0) -> Boot:
    return observe_boot(CLEAN + log, hello(taint, flags), "logs/s/=boot.kernel.log")


def planned(name: str, **more: object) -> PlannedTest:
    suite, _, program = name.partition(":")
    return PlannedTest(name=name, suite=suite, program=program, **more)  # type: ignore[arg-type]


def ready(suite: str, of: Boot | None) -> GuestReady:
    return GuestReady(
        suite=suite,
        guest=GuestTable(),
        release="6.1.0",
        build_id="ab",
        machine=Machine(accelerator="tcg"),
        seconds=1.0,
        boot=of,
    )


def ended(name: str, ending: Ending | None = None, own: Boot | None = None) -> TestEnded:
    parser = ktap.Parser()
    parser.feed(GOOD)
    return TestEnded(
        name=name,
        ending=ending or Ending(how="exit", status=0),
        report=parser.close(),
        total_s=0.1,
        boot=own,
    )


def judged(tests: list[PlannedTest], *records: Record) -> Results:
    head = RunStarted(
        run="r",
        time="2026-11-22T14:00:00Z",
        harness="0",
        command=("harness", "run"),
        kernel=Kernel(release="6.1.0", source="s", base_commit="c"),
        tests=tuple(tests),
    )
    end = RunEnded(time="2026-11-22T14:01:00Z", seconds=60.0)
    return verdict.results([head, *records, end])


def one(of: Boot, ending: Ending | None = None, **more: object) -> Results:
    return judged([planned("s:a", **more)], ready("s", of), ended("s:a", ending))


@pytest.mark.parametrize(
    ("log", "taint", "outcome", "reason"),
    [
        (b"", 0, Outcome.PASS, ""),
        (WARNING, WARNED, Outcome.SPLAT, "at boot: WARNING: CPU: 0 PID: 1 at init/bad.c:7"),
        (OOPS, DIED, Outcome.CRASH, "at boot: BUG: kernel NULL pointer dereference"),
        (LOCKDEP, 0, Outcome.SPLAT, "at boot: WARNING: possible recursive locking"),
        (b"", WARNED, Outcome.ERROR, "at boot, the kernel has complained (W, warning), but its"),
        (LOCKDEP, WARNED, Outcome.ERROR, "(W, warning), but its log does not say of what"),
        (WARNING, WARNED | DIED, Outcome.ERROR, "(D, oops)"),
        # Flags that say what the kernel is, not what it complains of.
        (b"", 1 << 12 | 1 << 0, Outcome.PASS, ""),
    ],
)
def test_a_boot_counts_against_every_test(
    log: bytes, taint: int, outcome: Outcome, reason: str
) -> None:
    tests = [planned("s:a"), planned("s:b"), planned("t:c")]
    ends = [ended(test.name) for test in tests]
    said = judged(tests, ready("s", boot(log, taint)), ready("t", boot(b"")), *ends)
    assert [test.outcome for test in said.tests] == [outcome, outcome, Outcome.PASS]
    assert reason in said.tests[0].reason
    assert (said.exit_code is ExitCode.AS_EXPECTED) == (outcome is Outcome.PASS)


@pytest.mark.parametrize(
    ("ending", "outcome"),
    [
        (Ending(how="exit", status=1), Outcome.FAIL),
        (Ending(how="exit", status=4), Outcome.SPLAT),
        (Ending(how="timeout"), Outcome.TIMEOUT),
        (Ending(how="died", death=How.HANG), Outcome.CRASH),
    ],
)
def test_the_worst_of_boot_and_test_counts(ending: Ending, outcome: Outcome) -> None:
    assert one(boot(WARNING, WARNED), ending).tests[0].outcome is outcome


def test_a_guest_that_is_booted_for_its_test_has_a_boot_of_its_own() -> None:
    tests = [planned("s:a"), planned("s:b")]
    said = judged(
        tests,
        ready("s", boot(b"")),
        ended("s:a", own=boot(WARNING, WARNED)),
        ended("s:b", own=boot(b"")),
    )
    assert [test.outcome for test in said.tests] == [Outcome.SPLAT, Outcome.PASS]
    assert [each.suites for each in said.at_boot] == [("s",)]


def test_a_journal_of_an_old_version_knows_no_boot() -> None:
    said = judged([planned("s:a")], ready("s", None), ended("s:a"))
    assert said.tests[0].outcome is Outcome.PASS
    assert said.at_boot == ()
    line = msgspec.json.encode(ready("s", None))
    old = msgspec.json.decode(line)
    del old["boot"]
    assert msgspec.json.decode(msgspec.json.encode(old), type=Record).boot is None


def test_the_report_stands_once_and_tests_point_to_it() -> None:
    tests = [planned("s:a"), planned("s:b"), planned("t:c")]
    ends = [ended(test.name) for test in tests]
    boots = [ready("s", boot(WARNING, WARNED)), ready("t", boot(WARNING, WARNED))]
    said = judged(tests, *boots, *ends)
    (only,) = said.at_boot
    assert only.suites == ("s", "t")
    assert only.log == "logs/s/=boot.kernel.log"
    assert "do_one_initcall" in only.report.report
    assert {test.at_boot for test in said.tests} == {(only.report.fingerprint,)}
    assert all(not test.findings and not test.kernel_log for test in said.tests)
    text = console_of(said)
    assert text.count("do_one_initcall") == 1
    assert "the kernel, at boot  splat" in text
    assert "guests of:  s, t" in text
    root = parsed(said)
    own = [suite for suite in root.iter("testsuite") if suite.get("name") == "kernel"]
    assert [case.get("classname") for case in own[0].iter("testcase")] == ["kernel:boot"]
    assert junit.render(said).count(b"do_one_initcall") == 1
    assert len(list(root.iter("testcase"))) == junit.count_testcases(said)
    assert root.get("failures") == "4"


def parsed(said: Results) -> ET.Element:
    return ET.fromstring(junit.render(said))  # noqa: S314  our own text


def console_of(said: Results) -> str:
    stream = io.StringIO()
    console.print_summary(said, stream, directory="runs/r")
    return stream.getvalue()


def allowance(**more: object) -> Allowance:
    values: dict[str, object] = {
        "kind": "warning",
        "pattern": r"WARNING: CPU: \d+ PID: 1 at init/bad\.c:7 .*",
        "series": ("*",),
        "reason": "known since ever",
        "owner": "me",
        "until": datetime.date(2030, 1, 1),
        "at": "boot",
        "times": 1,
    }
    return Allowance(**{**values, **more})  # type: ignore[arg-type]


def test_what_is_allowed_at_boot_is_told_and_does_not_count() -> None:
    said = one(boot(WARNING, WARNED), allow=(allowance(),))
    assert said.tests[0].outcome is Outcome.PASS
    assert said.at_boot[0].report.allowed == "known since ever"
    assert "Allowed: WARNING: CPU: 0 PID: 1 at init/bad.c:7" in console_of(said)
    root = parsed(said)
    assert (root.get("failures"), root.get("errors")) == ("0", "0")


def test_what_is_allowed_under_a_test_is_not_allowed_before_it() -> None:
    said = one(boot(WARNING, WARNED), allow=(allowance(at="test"),))
    assert said.tests[0].outcome is Outcome.SPLAT


def test_what_is_allowed_at_boot_answers_for_its_own_flag_only() -> None:
    said = one(boot(WARNING, WARNED | DIED), allow=(allowance(),))
    assert said.tests[0].outcome is Outcome.ERROR


def expectation(**more: object) -> Expectation:
    values: dict[str, object] = {
        "test": "a",
        "outcome": "splat",
        "ends": "exit 0",
        "kernel": "warning: .*bad_init.*",
        "at": "boot",
        "series": ("*",),
        "reason": "an initcall of patch 2 warns",
        "owner": "me",
        "until": datetime.date(2030, 1, 1),
    }
    return Expectation(**{**values, **more})  # type: ignore[arg-type]


def test_a_boot_can_be_expected() -> None:
    said = one(boot(WARNING, WARNED), expect=(expectation(),))
    assert said.tests[0].outcome is Outcome.XFAIL, said.tests[0].reason
    root = parsed(said)
    assert (root.get("failures"), root.get("errors")) == ("0", "0")
    assert "the kernel, at boot  xfail" in console_of(said)


def test_an_entry_can_be_had_from_a_run() -> None:
    text = expectations.render(one(boot(WARNING, WARNED)))
    (entry,) = tomllib.loads(text)["expect"]
    assert (entry["at"], entry["ends"], entry["outcome"]) == ("boot", "exit 0", "splat")
    known = expectation(kernel=entry["kernel"], ends=entry["ends"])
    assert one(boot(WARNING, WARNED), expect=(known,)).tests[0].outcome is Outcome.XFAIL


@pytest.mark.parametrize(
    ("entry", "log"),
    [
        (expectation(at="test"), WARNING),
        (expectation(kernel="warning: something else"), WARNING),
        (expectation(), LOCKDEP),
        (expectation(), WARNING + LOCKDEP),
    ],
)
def test_another_boot_than_expected_is_not_known(entry: Expectation, log: bytes) -> None:
    said = one(boot(log, WARNED if WARNING in log else 0), expect=(entry,))
    assert said.tests[0].outcome is Outcome.SPLAT
    assert "not as known" in said.tests[0].reason


def test_what_the_agent_says_is_not_the_kernels() -> None:
    log = b"[    0.900000] harness-agent: BUG: kernel NULL pointer dereference, address: 0\n"
    assert boot(log + b"[    1.0] <7>harness-agent: WARNING: odd\n").findings == ()


@pytest.mark.parametrize(
    ("log", "taint", "flags", "note"),
    [
        (LOCKDEP, 0, BootFlag.LOCKDEP_OFF, "lockdep is off since 'WARNING: possible recursive"),
        (OOPS, DIED, BootFlag.LOCKDEP_OFF, "lockdep is off since 'BUG: kernel NULL pointer"),
        (b"", 0, BootFlag.LOCKDEP_OFF, "lockdep is off: tests cannot"),
        (WARNING, WARNED, 0, "a WARN_ONCE() cannot appear again"),
        (WARNING, WARNED, BootFlag.ONCE_RESET, "the kernel is tainted (W, warning)"),
        (b"", 0, BootFlag.UNQUIET, "did not become idle before the tests"),
    ],
)
def test_what_could_not_come_any_more_is_said(
    log: bytes, taint: int, flags: int, note: str
) -> None:
    said = one(boot(log, taint, flags))
    assert any(note in each and "the guests of s" in each for each in said.notes), said.notes


def test_warnings_that_can_come_again_are_not_missed() -> None:
    said = one(boot(WARNING, WARNED, BootFlag.ONCE_RESET))
    assert not any("WARN_ONCE" in each for each in said.notes)


def test_a_kernel_that_does_not_come_to_rest_may_complain_later() -> None:
    rcu = one(boot(b""), Ending(how="exit", status=0, restless=("rcu",)))
    assert rcu.tests[0].outcome is Outcome.ERROR
    assert "did not become idle" in rcu.tests[0].reason
    busy = one(boot(b""), Ending(how="exit", status=0, restless=("busy",)))
    assert busy.tests[0].outcome is Outcome.PASS
    assert any("still busy" in note and "s:a" in note for note in busy.notes)


LOCKUP = b"[   30.000000] watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [swapper/1:0]\n"
STALL = b"[   30.000000] rcu: INFO: rcu_sched self-detected stall on CPU\n"
TIME_PANIC = b"[   30.000000] Kernel panic - not syncing: softlockup: hung tasks\n"


@pytest.mark.parametrize("log", [LOCKUP, STALL])
def test_what_takes_too_long_on_a_machine_that_stood_still_is_nobodys(log: bytes) -> None:
    def outcome(stood_still_s: float, **more: object) -> tuple[Outcome, str]:
        ending = Ending(**{"how": "exit", "status": 0, **more}, stood_still_s=stood_still_s)  # type: ignore[arg-type]
        told = msgspec.structs.replace(ended("s:a", ending), findings=klog.scan(log))
        test = judged([planned("s:a")], ready("s", boot(b"")), told).tests[0]
        return test.outcome, test.reason

    assert outcome(0.0)[0] is Outcome.SPLAT
    assert outcome(25.0)[0] is Outcome.ERROR
    assert "stood still for 25 s" in outcome(25.0)[1]
    failed = outcome(25.0, status=1)
    assert failed[0] is Outcome.FAIL
    assert "stood still" in failed[1]


@pytest.mark.parametrize("log", [LOCKUP, STALL])
@pytest.mark.parametrize("starved_s", [0.0, 10.0, 13.4])
def test_a_guest_that_had_a_part_of_its_host_is_believed(log: bytes, starved_s: float) -> None:
    """As have those of a run beside each other; 13.4 s: three that all spin on two processors."""
    ending = Ending(how="exit", status=0, starved_s=starved_s)
    told = msgspec.structs.replace(ended("s:a", ending), findings=klog.scan(log))
    test = judged([planned("s:a")], ready("s", boot(b"")), told).tests[0]
    assert test.outcome is Outcome.SPLAT


@pytest.mark.parametrize("log", [LOCKUP, STALL])
def test_what_takes_too_long_for_a_guest_that_had_nothing_is_not_known(log: bytes) -> None:
    ending = Ending(how="exit", status=0, starved_s=18.7)
    told = msgspec.structs.replace(ended("s:a", ending), findings=klog.scan(log))
    test = judged([planned("s:a")], ready("s", boot(b"")), told).tests[0]
    assert test.outcome is Outcome.ERROR
    assert "let the guest run for only 1 of 20 s" in test.reason
    # What else the kernel says counts as ever.
    told = msgspec.structs.replace(told, findings=klog.scan(log + OOPS))
    assert judged([planned("s:a")], ready("s", boot(b"")), told).tests[0].outcome is Outcome.CRASH


def test_a_panic_for_the_time_that_was_lost_is_no_crash() -> None:
    def outcome(log: bytes, stood_still_s: float) -> Outcome:
        ending = Ending(how="died", death=How.PANIC, stood_still_s=stood_still_s)
        told = msgspec.structs.replace(ended("s:a", ending), findings=klog.scan(log))
        return judged([planned("s:a")], ready("s", boot(b"")), told).tests[0].outcome

    starved = Ending(how="died", death=How.PANIC, starved_s=18.7)
    told = msgspec.structs.replace(ended("s:a", starved), findings=klog.scan(TIME_PANIC))
    test = judged([planned("s:a")], ready("s", boot(b"")), told).tests[0]
    assert test.outcome is Outcome.ERROR
    assert outcome(TIME_PANIC, 0.0) is Outcome.CRASH
    assert outcome(TIME_PANIC, 30.0) is Outcome.ERROR
    assert outcome(OOPS, 30.0) is Outcome.CRASH
