# SPDX-License-Identifier: GPL-2.0-only
"""A plan in two levels: each cell is reported, also one whose tests are not known."""

from __future__ import annotations

import pytest

from harness.errors import ExitCode
from harness.judge import merge, verdict
from harness.ktap import parse
from harness.model.plan import Cell, PlannedTest
from harness.model.records import (
    CellPlanned,
    Ending,
    KernelBuilt,
    KernelFailed,
    KernelPlanned,
    Record,
    RunEnded,
    RunPlanned,
    TestEnded,
    kernel_names,
    of_kernel,
)
from harness.model.results import Kernel
from harness.outcome import Outcome

pytestmark = pytest.mark.unit

FACTS = Kernel(release="6.1.0", source="s", base_commit="c")
TEST = PlannedTest(name="s:p", suite="s", program="p", path="p")
PLAN = RunPlanned(
    run="r",
    time="2026-07-01T03:00:00.000Z",
    harness="0",
    command=(),
    kernels=(KernelPlanned(name="base", facts=FACTS), KernelPlanned(name="1", facts=FACTS)),
    cells=(Cell(kernel="base", suite="s"), Cell(kernel="1", suite="s")),
)
END = RunEnded(time="2026-07-01T03:01:00.000Z", seconds=60.0)


def built(kernel: str, status: int = 0) -> list[Record]:
    """Return the records of a *kernel* with one test that has ended with *status*."""
    return [
        CellPlanned(kernel=kernel, suite="s", tests=(TEST,)),
        KernelBuilt(kernel=kernel, facts=FACTS, seconds=1.0),
        TestEnded(
            kernel=kernel,
            name="s:p",
            ending=Ending(how="exit", status=status),
            report=parse(b""),
            total_s=1.0,
        ),
    ]


def outcomes(*records: Record) -> dict[str, Outcome]:
    return {test.name: test.outcome for test in merge.whole(records).tests}


def test_each_kernel_has_its_own_tests() -> None:
    records = [PLAN, *built("base"), *built("1", status=1), END]
    assert kernel_names(records) == ("base", "1")
    assert outcomes(*records) == {"base@s:p": Outcome.PASS, "1@s:p": Outcome.FAIL}
    assert verdict.results(records, "base").exit_code is ExitCode.AS_EXPECTED


def test_a_kernel_that_was_not_reached_is_not_green() -> None:
    records = [PLAN, *built("base"), END]
    assert outcomes(*records) == {"base@s:p": Outcome.PASS, "1@s:*": Outcome.NOTRUN}
    assert merge.whole(records).exit_code is ExitCode.NOT_AS_EXPECTED


def test_a_kernel_that_cannot_be_had_is_an_error_with_the_reason() -> None:
    failed = KernelFailed(kernel="1", reason="the kernel does not compile", why="mm/x.c:1")
    records = [PLAN, *built("base"), failed, END]
    (row,) = verdict.results(records, "1").tests
    assert (row.outcome, row.reason) == (
        Outcome.ERROR,
        "the kernel does not compile: mm/x.c:1",
    )
    assert merge.whole(records).exit_code is ExitCode.NOT_AS_EXPECTED
    # Built after all, in a run that was taken up again.
    assert outcomes(*records[:-1], *built("1"), END)["1@s:p"] is Outcome.PASS


def test_what_was_seen_on_one_kernel_is_not_taken_for_another() -> None:
    records = [PLAN, *built("base"), *built("1")[:2], END]
    assert outcomes(*records)["1@s:p"] is not Outcome.PASS


def test_a_kernel_that_is_not_planned_says_nothing() -> None:
    with pytest.raises(ValueError, match="without the kernel '7'"):
        of_kernel([PLAN], "7")
    with pytest.raises(ValueError, match="without a plan"):
        of_kernel([], "")
