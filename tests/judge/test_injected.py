# SPDX-License-Identifier: GPL-2.0-only
"""What came of a call that failed on purpose: the kernel is judged, and not the test."""

from __future__ import annotations

import msgspec
import pytest

from harness.judge import injected, verdict
from harness.model.coverage import FileLines, PatchLines
from harness.model.events import How
from harness.model.faults import (
    BudgetSpent,
    Fault,
    Surveyed,
    Survivor,
    Sweep,
    SweepStarted,
    What,
)
from harness.model.plan import Cell, PlannedTest
from harness.model.records import (
    CellPlanned,
    Decoded,
    Ending,
    KernelBuilt,
    KernelPlanned,
    Record,
    RunEnded,
    RunPlanned,
    RunResumed,
    TestEnded,
    TestStarted,
)
from harness.model.results import Kernel, Results, Test
from harness.outcome import Outcome
from tests.judge.test_verdict import BAD, GOOD, OOPS, SKIPPED, SPLAT, exited, findings, report

pytestmark = pytest.mark.unit

FAILED = b"""\
[    1.0][   T38] FAULT_INJECTION: forcing a failure.
[    1.0][   T38] name failslab, interval 3, probability 100, space 0, times 1
[    1.0][   T38] CPU: 0 PID: 38 Comm: create_test Not tainted 6.1.176 #1
[    1.0][   T38] Call Trace:
[    1.0][   T38]  <TASK>
[    1.0][   T38]  dump_stack_lvl+0x33/0x42
[    1.0][   T38]  should_fail_ex.cold+0x32/0x37
[    1.0][   T38]  kmem_cache_alloc+0x209/0x390
[    1.0][   T38]  ? guessed+0x24/0x1c0
[    1.0][   T38]  new_open+0x24/0x1c0
[    1.0][   T38]  do_syscall_64+0x2b/0x50
[    1.0][   T38]  </TASK>
"""
NO_PAGE = (
    b"[    1.5][   T38] create_test: page allocation failure: order:0, mode:0xdc0(GFP_KERNEL)\n"
)
USUAL = Survivor(cache="filp", count=1, where="alloc_empty_file+0x1/0x2")
LEAK = Survivor(
    cache="kmalloc-64", count=1, where="__kmem_cache_alloc_node+0x1/0x2\nnew_open+0x24/0x1c0"
)
LASTING = Survivor(
    cache="shmem_inode_cache", count=1, where="new_inode+0x1/0x2\ndo_mkdirat+0x3/0x4"
)


def point(nth: int) -> PlannedTest:
    fault = Fault(test="s:p", sweep="slab" if nth else "", nth=nth)
    return PlannedTest(name=fault.name, suite="s", program=f"p{fault.suffix}", fault=fault)


def survey(points: int = 3) -> Surveyed:
    sweep = Sweep(sweep="slab", calls=9, points=tuple(range(1, points + 1)))
    return Surveyed(test="s:p", sweeps=(sweep,), limit_s=5.0, usual=(USUAL,))


def ended(nth: int, ending: Ending, **more: object) -> TestEnded:
    values: dict[str, object] = {
        "name": point(nth).name,
        "ending": ending,
        "report": report(BAD),
        "findings": findings(FAILED),
        "output": BAD.decode() + "new_open: Cannot allocate memory\n",
        "total_s": 1.0,
        "fault_hit": True,
        "left": (USUAL,),
    }
    return TestEnded(**(values | more))  # type: ignore[arg-type]


def run(
    *records: Record, points: int = 3, spent: bool = False, found: Surveyed | None = None
) -> Results:
    tests = tuple(point(nth) for nth in range(points + 1))
    begun = [
        TestStarted(name=each.name, time="", seed="00")
        for each in records
        if isinstance(each, TestEnded)
    ]
    patch = PatchLines(
        number=2, subject="new: Open it", changed=(FileLines(path="fs/new.c", lines=((8, 12),)),)
    )
    return verdict.results(
        [
            found or survey(points),
            SweepStarted(patches=(patch,)),
            RunPlanned(
                run="r",
                time="2026-11-27T00:00:00Z",
                harness="1",
                command=(),
                kernels=(KernelPlanned(facts=Kernel(release="", source="", base_commit="")),),
                cells=(Cell(suite="s"),),
            ),
            CellPlanned(suite="s", tests=tests),
            KernelBuilt(facts=Kernel(release="", source="", base_commit=""), seconds=0.0),
            *begun,
            *records,
            *([BudgetSpent(seconds=60.0)] if spent else []),
            RunEnded(time="", seconds=1.0),
        ]
    )


def told(ended: TestEnded, *more: Record) -> Test:
    return next(each for each in run(ended, *more).tests if each.name == ended.name)


@pytest.mark.parametrize(
    ("ending", "what"),
    [
        (exited(1), "handled: ENOMEM"),
        (exited(2), "handled: ENOMEM"),
        (exited(4), "handled: ENOMEM"),
        (Ending(how="signal", status=11), "handled: ENOMEM"),
    ],
)
def test_a_test_that_fails_as_its_call_did_is_as_it_should_be(ending: Ending, what: str) -> None:
    test = told(ended(1, ending))
    assert (test.outcome, test.reason) == (Outcome.PASS, what)
    assert test.cases == ()
    assert test.injected is not None
    assert test.injected.what is What.HANDLED
    assert test.injected.where == (
        "kmem_cache_alloc+0x209/0x390",
        "new_open+0x24/0x1c0",
        "do_syscall_64+0x2b/0x50",
    )


def test_the_control_is_judged_as_a_test() -> None:
    test = told(ended(0, exited(1), findings=(), fault_hit=False))
    assert test.outcome is Outcome.FAIL


def test_a_report_that_breaks_off_is_no_error_of_a_point() -> None:
    short = report(b"TAP version 13\n1..2\nok 1 one\n")
    assert told(ended(1, exited(0), report=short)).outcome is Outcome.PASS


def test_a_test_that_does_not_notice_says_so() -> None:
    test = told(ended(1, exited(0), report=report(GOOD)))
    assert (test.outcome, test.reason) == (Outcome.PASS, "unnoticed")


def test_a_test_that_skips_has_noticed() -> None:
    test = told(ended(1, exited(4), report=report(SKIPPED), output="# no memory\n"))
    assert (test.outcome, test.reason) == (Outcome.PASS, "handled: exit 4")


def test_a_call_that_was_not_made_is_skipped() -> None:
    test = told(ended(3, exited(0), report=report(GOOD), findings=(), fault_hit=False))
    assert (test.outcome, test.reason) == (
        Outcome.SKIP,
        "this time it made fewer than 3 calls of slab",
    )


@pytest.mark.parametrize(
    ("log", "ending", "outcome", "what"),
    [
        (SPLAT, exited(1), Outcome.SPLAT, What.SPLAT),
        (OOPS, exited(1), Outcome.CRASH, What.CRASH),
        (b"", Ending(how="timeout", status=0), Outcome.TIMEOUT, What.HANG),
        (b"", Ending(how="died", death=How.HANG), Outcome.CRASH, What.HANG),
        (b"", Ending(how="died", death=How.UNKILLABLE), Outcome.TIMEOUT, What.HANG),
        (b"", Ending(how="died", death=How.PANIC), Outcome.CRASH, What.CRASH),
        (b"", Ending(how="died", death=How.QEMU_DIED), Outcome.ERROR, What.UNKNOWN),
        (b"", Ending(how="harness", detail="no disk"), Outcome.ERROR, What.UNKNOWN),
        (b"", Ending(how="not-started", detail="no"), Outcome.ERROR, What.UNKNOWN),
        (b"", Ending(how="exit", status=1, log_complete=False), Outcome.ERROR, What.UNKNOWN),
        (b"", Ending(how="exit", status=1, taint=1 << 9), Outcome.ERROR, What.UNKNOWN),
    ],
)
def test_what_the_kernel_did_counts(
    log: bytes, ending: Ending, outcome: Outcome, what: What
) -> None:
    test = told(ended(1, ending, findings=findings(FAILED + log)))
    assert test.outcome is outcome
    assert test.injected is not None
    assert test.injected.what is what
    assert "FAULT_INJECTION" not in test.kernel_log


def test_the_kernel_may_say_that_there_is_no_page() -> None:
    assert told(ended(1, exited(1), findings=findings(FAILED + NO_PAGE))).outcome is Outcome.PASS
    without = told(ended(0, exited(0), findings=findings(NO_PAGE), report=report(GOOD)))
    assert without.outcome is Outcome.SPLAT


def test_what_is_left_beyond_the_usual_is_a_leak() -> None:
    left = (USUAL, LEAK, LASTING)
    lines = "__kmem_cache_alloc_node+0x1/0x2\nnew_open+0x24/0x1c0 (fs/new.c:9)"
    here = ended(1, exited(1), left=left)
    test = told(
        here,
        Decoded(
            name=here.name,
            reports=tuple(each.report for each in here.findings),
            left=(USUAL.where, lines, LASTING.where),
        ),
    )
    assert test.outcome is Outcome.SPLAT
    assert test.reason == (
        "leak: 1 object of kmalloc-64, allocated in new_open+0x24/0x1c0 (fs/new.c:9)"
    )
    assert test.injected is not None
    assert test.injected.what is What.LEAK
    assert test.injected.leaked == (msgspec.structs.replace(LEAK, where=lines),)


def test_what_is_opened_does_not_last() -> None:
    where = f"{LEAK.where}\ndo_dentry_open+0x1/0x2\npath_openat+0x1/0x2\ndo_filp_open+0x1/0x2"
    opened = msgspec.structs.replace(LEAK, where=where)
    assert told(ended(1, exited(1), left=(opened,))).outcome is Outcome.SPLAT


def test_a_test_that_came_to_its_end_has_removed_what_lasts() -> None:
    whole = ended(1, exited(0), report=report(GOOD), left=(LASTING,))
    assert told(whole).outcome is Outcome.SPLAT
    assert told(ended(1, exited(1), left=(LASTING,))).outcome is Outcome.PASS


@pytest.mark.parametrize(
    "functions", [("alloc_vmap_area",), ("__vmalloc_node_range", "copy_process")]
)
def test_what_the_kernel_gives_back_late_is_no_leak(functions: tuple[str, ...]) -> None:
    where = "\n".join(f"{each}+0x1/0x2" for each in functions)
    late = Survivor(cache="vmap_area", count=1, where=where)
    assert told(ended(1, exited(0), report=report(GOOD), left=(late,))).outcome is Outcome.PASS


def test_it_is_told_where_leaks_are_not_looked_for() -> None:
    results = run()
    assert results.injections is not None
    assert results.injections.notes == ()
    silent = msgspec.structs.replace(survey(), usual=None)
    spoilt = Surveyed(test="s:q", spoilt="without a fault it is crash")
    said = injected.told(results, (silent, spoilt), ())
    assert said.injections is not None
    first, second = said.injections.notes
    assert first == "not tried: s:q: without a fault it is crash"
    assert "never freed was not looked for" in second


def test_nothing_follows_from_what_is_left_where_the_usual_is_not_known() -> None:
    silent = msgspec.structs.replace(survey(), usual=None)
    results = run(ended(1, exited(1), left=None), found=silent)
    assert [each.outcome for each in results.tests if each.name == point(1).name] == [Outcome.PASS]


def test_a_guest_that_does_not_say_what_is_left_is_no_pass() -> None:
    point = told(ended(1, exited(1), left=None))
    assert point.outcome is Outcome.ERROR
    assert point.injected is not None
    assert point.injected.what is What.UNKNOWN


def test_each_patch_has_the_lines_at_which_calls_have_failed() -> None:
    first, second = ended(1, exited(1)), ended(2, exited(1), left=(LEAK,))
    shown = tuple(
        each.report.replace(
            "new_open+0x24/0x1c0", "new_open+0x24/0x1c0 (include/x.h:1, fs/new.c:9)"
        )
        for each in first.findings
    )
    decoded = [Decoded(name=each.name, reports=shown) for each in (first, second)]
    results = run(first, second, *decoded)
    assert results.injections is not None
    (patch,) = results.injections.patches
    (taken,) = patch.taken
    assert (patch.number, taken.path, taken.line, taken.function, taken.points) == (
        2,
        "fs/new.c",
        9,
        "new_open",
        2,
    )
    assert taken.outcomes == {"handled": 1, "leak": 1}
    assert taken.point == "s:p@slab#2"
    assert results.tests[1].injected is not None
    assert results.tests[1].injected.patches == (2,)


def test_all_that_is_planned_is_told() -> None:
    results = run(ended(0, exited(0), findings=(), report=report(GOOD)), ended(1, exited(1)))
    assert [test.outcome for test in results.tests] == [
        Outcome.PASS,
        Outcome.PASS,
        Outcome.NOTRUN,
        Outcome.NOTRUN,
    ]
    assert results.injections is not None
    (sweep,) = results.injections.sweeps
    assert (sweep.calls, sweep.planned) == (9, 3)
    assert sweep.outcomes == {"handled": 1, "not begun": 2}


def test_what_is_beyond_the_budget_is_skipped_until_the_run_goes_on() -> None:
    control = ended(0, exited(0), findings=(), report=report(GOOD))
    results = run(control, spent=True)
    assert {(test.outcome, test.reason) for test in results.tests[1:]} == {
        (Outcome.SKIP, "beyond the budget of 60 s")
    }
    again = run(control, BudgetSpent(seconds=60.0), RunResumed(time=""))
    assert {test.outcome for test in again.tests[1:]} == {Outcome.NOTRUN}
