# SPDX-License-Identifier: GPL-2.0-only
"""How far a run over several kernels is, on a terminal and in a log."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from harness.model.results import Test
from harness.outcome import Outcome
from harness.report import console
from harness.report.board import Board, CellOf, Forecast
from harness.report.live import RichProgress
from harness.report.plain import PlainProgress

pytestmark = pytest.mark.unit

PLAIN = console.Terminal(live=False, colour=False, unicode=True)
LIVE = console.Terminal(live=True, colour=False, unicode=True)


class Clock:
    """A clock that stands still until it is told to move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def ended(outcome: Outcome = Outcome.PASS, suite: str = "s", program: str = "a") -> Test:
    name = f"{suite}:{program}"
    return Test(name=name, suite=suite, program=program, outcome=outcome, total_s=1.0)


def text(board: Board, rows: int = 20) -> list[str]:
    return ["".join(part for part, _ in line).rstrip() for line in board.table(rows)]


def board(clock: Clock, *seconds: tuple[float | None, float | None]) -> Board:
    names = ["base", *map(str, range(1, len(seconds)))]
    forecasts = {name: Forecast(*each) for name, each in zip(names, seconds, strict=True)}
    return Board(forecasts, ["s", "t"], clock)


def test_the_table_has_a_row_for_each_kernel_and_a_column_for_each_suite() -> None:
    clock = Clock()
    table = board(clock, (10.0, 5.0), (10.0, 5.0), (10.0, 5.0), (10.0, 5.0))
    table.building("base")
    clock.now += 12
    table.built("base", {"s": CellOf(3), "t": CellOf(1)}, Forecast(0.0, 5.0))
    table.finished("base", ended())
    table.finished("base", ended(Outcome.FAIL))
    table.finished("base", ended(suite="t"))
    table.building("1")
    clock.now += 3
    table.built("1", {"s": CellOf(3, same_as="base"), "t": CellOf(4, 4)}, Forecast(0.0, 0.0))
    table.building("2")
    table.failed("2", "the kernel does not compile: x.c:1")
    assert text(table) == [
        "kernel  build       s                  t",
        "base    12s         2 of 3, 1 bad      1",
        "1       3.0s        = base             4",
        "2       fails       -                  -",
        "3",
    ]


def test_the_time_left_is_that_of_builds_in_a_row_with_tests_beside_them() -> None:
    clock = Clock()
    # Tests of one kernel run while the next is built.
    assert board(clock, (10.0, 4.0), (10.0, 4.0)).left_s() == 24.0
    # Tests that take longer than builds make the time.
    assert board(clock, (10.0, 30.0), (10.0, 30.0)).left_s() == 70.0
    assert board(clock, (10.0, 4.0), (None, 4.0)).left_s() is None
    assert board(clock, (10.0, 4.0), (10.0, None)).left_s() is None


def test_the_time_left_shrinks_as_kernels_and_tests_end() -> None:
    clock = Clock()
    table = board(clock, (10.0, 4.0), (10.0, 4.0))
    table.building("base")
    clock.now += 6
    assert table.left_s() == 18.0
    clock.now += 60  # longer than expected: it may be there at any moment
    assert table.left_s() == 14.0
    table.built("base", {"s": CellOf(4)}, Forecast(0.0, 4.0))
    for _ in range(4):
        table.finished("base", ended())
    assert table.left_s() == 14.0
    table.building("1")
    table.failed("1", "no")
    assert table.left_s() == 0.0
    assert table.progress == "2 of 2 kernels, 4 of 4 tests, about 0.0s left"


def test_a_kernel_that_is_the_same_takes_no_time() -> None:
    table = board(Clock(), (0.0, 4.0), (0.0, 4.0))
    table.built("base", {"s": CellOf(4)}, Forecast(0.0, 4.0))
    table.built("1", {"s": CellOf(4, same_as="base")}, Forecast(0.0, 0.0))
    assert table.left_s() == 4.0


def test_what_is_under_way_is_shown_where_there_is_no_room_for_all() -> None:
    table = board(Clock(), *[(1.0, 1.0)] * 30)
    for name in ["base", *map(str, range(1, 10))]:
        table.building(name)
        table.built(name, {"s": CellOf(0)}, Forecast(0.0, 0.0))
    table.building("10")
    shown = [line.split()[0] for line in text(table, rows=6)]
    assert shown == ["kernel", "10", "11", "12", "13", "14", "15", "and"]
    shown = [line.split()[0] for line in text(table, rows=24)]
    assert shown == ["kernel", "6", "7", "8", "9", *map(str, range(10, 30)), "and"]


def test_a_log_has_a_line_for_each_kernel_and_for_what_is_not_as_expected() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = PlainProgress(stream, PLAIN, clock=clock, interval_s=20.0)
    kernels = {"base": Forecast(30.0, 10.0), "1": Forecast(30.0, 10.0)}
    with progress.matrix(kernels, ["s"]) as matrix:
        matrix.building("base")
        matrix.built("base", {"s": CellOf(2)}, Forecast(0.0, 10.0))
        tests = matrix.tests("base")
        tests.started("base@s:a")
        clock.now += 21
        progress.tick()
        tests.finished(ended(), "base@s:a")
        failed = msgspec.structs.replace(ended(Outcome.FAIL, program="b"), reason="exit status 1")
        tests.finished(failed, "base@s:b")
        matrix.building("1")
        matrix.failed("1", "the kernel does not compile")
    assert stream.getvalue().splitlines() == [
        "  0 of 2 kernels, 0 of 2 tests, about 40s left; running: base@s:a (21s)",
        "✗ fail     base@s:b" + " " * 52 + "1.0s  exit status 1",
        "kernel base: 1 pass, 1 fail",
        "kernel 1: the kernel does not compile",
    ]


def test_a_terminal_shows_the_table_with_what_runs() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = RichProgress(stream, LIVE, clock=clock)
    with progress.matrix({"base": Forecast(30.0, 10.0)}, ["s"]) as matrix:
        matrix.building("base")
        matrix.built("base", {"s": CellOf(2)}, Forecast(0.0, 10.0))
        matrix.tests("base").started("base@s:a")
        clock.now += 5
        with progress.step("Building the kernel") as step:
            step.update(done=3, total=9)
            drawn = Console(width=80, file=io.StringIO(), force_terminal=False)
            drawn.print(progress.view())
    shown = drawn.file.getvalue()  # type: ignore[attr-defined]
    assert "3/9" in shown
    assert "kernel  build" in shown
    assert "base    0.0s        0 of 2" in shown
    assert "0 of 1 kernel, 0 of 2 tests, about 10s left  5.0s" in shown
    assert "  base@s:a  5.0s" in shown
