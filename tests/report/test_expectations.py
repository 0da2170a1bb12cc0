# SPDX-License-Identifier: GPL-2.0-only
"""Entries from a run: filled in, they make the same run as expected, and no other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import msgspec
import pytest

from harness import klog, ktap
from harness.errors import UserError
from harness.judge import verdict
from harness.model import expectations
from harness.model.events import How
from harness.model.plan import PlannedTest
from harness.model.records import Ending, Record, RunEnded, RunStarted, TestEnded
from harness.model.results import Kernel, Results
from harness.outcome import Outcome
from harness.report.expectations import render

pytestmark = pytest.mark.unit

HEAD = b"TAP version 13\n1..3\nok 1 one\n"
BAD = HEAD + b"# x.c:7:two:Expected 0 (0) == get(0x7f00dead0) (-14)\nnot ok 2 two\nok 3 three\n"
ODD = HEAD + b'not ok 2 a *case* [x] # it\'s "odd" \xc3\xa9\nok 3 three\n'
CUT = HEAD + b"# x.c:9:two:Expected 1 (1) == n (23456)\n"
OOPS = b"[    1.0] BUG: kernel NULL pointer dereference, address: 00000000000000%02x\n"
WARNING = b"[    0.9] ------------[ cut here ]------------\n[    0.9] WARNING: CPU: 0 PID: 9 at mm/x.c:5 f+0x1/0x2\n"  # noqa: E501
HUNG = b"""\
[   12.000000] watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [p:37]
[   30.000000] Kernel panic - not syncing: NMI: Not continuing
[   30.000000] CPU: 0 PID: 36 Comm: p
[   30.000000] Call Trace:
[   30.000000]  panic+0x10e/0x281
[   30.000000]  ? spin+0x10/0x20
[   30.000000]  store_all+0x28/0x40
[   30.000000]  my_ioctl.constprop.0+0xe01/0x1770
[   30.000000]  __x64_sys_ioctl+0x82/0xa0
[   30.000000]  do_syscall_64+0x2b/0x50
"""
LOUD = b"TAP version 13\nok 1 one\n# x.c:7:two:lost 17\nnot ok 2 two\n"


def exited(status: int) -> Ending:
    return Ending(how="exit", status=status)


def died(how: How) -> Ending:
    return Ending(how="died", death=how)


RUNS: dict[str, tuple[Ending, bytes, bytes]] = {
    "assertion": (exited(1), BAD, b""),
    "odd": (exited(1), ODD, b""),
    "silent": (exited(1), HEAD + b"not ok 2 two\nok 3 three\n", b""),
    "status": (exited(99), b"p: open: No such file\n", b""),
    "mute": (exited(2), b"", b""),
    "planless": (exited(1), LOUD, b""),
    "segv": (Ending(how="signal", status=11), CUT, b""),
    "timeout": (Ending(how="timeout", status=0), CUT, b""),
    "panic": (died(How.PANIC), HEAD, b"[    1.0] Kernel panic - not syncing: lost 5\n"),
    "reset": (died(How.RESET), CUT, b""),
    "off": (died(How.POWER_OFF), HEAD, b""),
    "hang": (died(How.HANG), HEAD, HUNG),
    "hang elsewhere": (died(How.HANG), HEAD, HUNG.replace(b"my_ioctl", b"my_read")),
    "hang at once": (died(How.HANG), HEAD.replace(b"ok 1 one\n", b""), HUNG),
    "oops": (exited(1), BAD, WARNING + OOPS % 0x46),
    "crashed": (died(How.CRASHED), CUT, OOPS % 0x28),
    "splat": (exited(0), HEAD + b"ok 2 two\nok 3 three\n", WARNING),
}


def judged(names: Sequence[str], known: expectations.Expectations | None = None) -> Results:
    plans, ends = [], []
    for name in names:
        ending, output, log = RUNS[name]
        parser, scanner = ktap.Parser(), klog.Scanner()
        parser.feed(output)
        scanner.feed(log)
        expect = expectations.for_program(known, name, "mine")[0] if known else ()
        plans.append(PlannedTest(name=f"s:{name}", suite="s", program=name, expect=expect))
        ends.append(
            TestEnded(
                name=f"s:{name}",
                ending=ending,
                report=parser.close(),
                findings=scanner.close(),
                output=output.decode(),
                total_s=1.0,
            )
        )
    start = RunStarted(
        run="r1",
        time="2026-07-01T03:00:00.000Z",
        harness="0",
        command=(),
        kernel=Kernel(release="6.1", source="s", base_commit="c", series_name="mine"),
        tests=tuple(plans),
    )
    records: list[Record] = [start, *ends, RunEnded(time="2026-07-01T03:00:09.000Z", seconds=9)]
    return verdict.results(records)


def fill_in(text: str, path: Path) -> expectations.Expectations:
    text = text.replace('reason = ""', 'reason = "known"')
    path.write_text(text.replace('owner = ""', 'owner = "me"\nuntil = 2030-01-31'))
    return expectations.load(path)


@pytest.mark.parametrize("name", RUNS)
def test_filled_in_they_say_what_the_run_said(name: str, tmp_path: Path) -> None:
    said = judged([name])
    assert not said.tests[0].outcome.as_expected
    known = fill_in(render(said), tmp_path / "expectations.toml")
    again = judged([name], known)
    assert again.tests[0].outcome is Outcome.XFAIL, again.tests[0].reason
    assert all(case.outcome.as_expected for case in again.tests[0].cases)


@pytest.mark.parametrize("name", RUNS)
def test_they_excuse_nothing_that_differs(name: str, tmp_path: Path) -> None:
    known = fill_in(render(judged([name])), tmp_path / "expectations.toml")
    for other in RUNS:
        if other == name:
            continue
        entries = msgspec.structs.replace(
            known,
            expect=tuple(
                msgspec.structs.replace(entry, test=entry.test.replace(name, other, 1))
                for entry in known.expect
            ),
        )
        assert not judged([other], entries).tests[0].outcome.as_expected, other


def test_they_are_refused_as_long_as_they_are_not_filled_in(tmp_path: Path) -> None:
    path = tmp_path / "expectations.toml"
    text = render(judged(["assertion"]))
    for done, where in (
        (text, "expect[0].reason"),
        (text.replace('reason = ""', 'reason = "r"'), "expect[0].owner"),
        (text.replace('reason = ""', 'reason = "r"').replace('""', '"o"'), "expect[0].until"),
    ):
        path.write_text(done)
        with pytest.raises(UserError) as caught:
            expectations.load(path)
        assert caught.value.where == f"{path}: {where}"


def test_entries_contain_nothing_that_differs_from_run_to_run(tmp_path: Path) -> None:
    found = fill_in(
        render(judged(["assertion", "oops", "segv", "hang"])), tmp_path / "e.toml"
    ).expect
    case, oops, segv, hang = found
    assert (case.test, case.says) == (
        "assertion/two",
        r"Expected 0 \(0\) == get\(\w+\) \(-14\)",
    )
    assert oops.kernel == "oops: BUG: kernel NULL pointer dereference, address: N"
    assert oops.also == r"warning: WARNING: mm/x\.c:N f"
    assert (hang.ends, hang.stack, hang.kernel, hang.also) == ("hang", "my_ioctl", (), ())
    assert segv.says == r"Expected 1 \(1\) == n \(\w+\)"


def test_a_run_in_which_nothing_failed(tmp_path: Path) -> None:
    RUNS["good"] = (exited(0), HEAD + b"ok 2 two\nok 3 three\n", b"")
    try:
        said = judged(["good"])
    finally:
        del RUNS["good"]
    assert "No test failed" in render(said)
    assert fill_in(render(said), tmp_path / "e.toml").expect == ()


def test_a_test_that_no_guest_ran_has_no_entry() -> None:
    said = judged(["panic"])
    failed = msgspec.structs.replace(said.tests[0], ending="", cases=(), findings=())
    assert "No test failed" in render(msgspec.structs.replace(said, tests=(failed,)))


def test_what_is_no_text_can_be_expected(tmp_path: Path) -> None:
    said = judged(["assertion"])
    odd = msgspec.structs.replace(
        said.tests[0].cases[1], name="s:assertion/t\udcff\U000e0001: x", text="\udcff \U000e0001"
    )
    test = msgspec.structs.replace(said.tests[0], cases=(odd,))
    text = render(msgspec.structs.replace(said, tests=(test,)))
    (known,) = fill_in(text.encode().decode(), tmp_path / "e.toml").expect
    assert expectations.matches(known.case, "t\udcff\U000e0001: x")
    assert re.search(str(known.says), "\udcff \U000e0001")


def test_each_suite_has_a_heading() -> None:
    said = judged(["assertion", "oops"])
    other = msgspec.structs.replace(said.tests[1], suite="t")
    text = render(msgspec.structs.replace(said, tests=(said.tests[0], other)))
    assert text.index("# Suite s\n") < text.index("assertion") < text.index("# Suite t\n")
    assert date.today().isoformat() not in text
