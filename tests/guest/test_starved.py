# SPDX-License-Identifier: GPL-2.0-only
"""A guest that is not let run is not one that hangs."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.guest.qemu import _by_own_clock, _disturbed
from harness.guest.starved import MUTE_LIMIT_S, TICK_S, GuestTime, Starvation
from harness.model.events import STARVED_WITHIN_S, GuestDied, Heartbeat, How

pytestmark = [pytest.mark.unit, pytest.mark.slow]
STAT = "cpu  1 2 3 4 5 6 7 {} 0 0\ncpu0 0 0\n"


def machine(proc: Path, waits: dict[str, int], steal: int = 0, state: str = "S") -> None:
    for thread, ns in waits.items():
        (proc / "7/task" / thread).mkdir(parents=True, exist_ok=True)
        (proc / "7/task" / thread / "schedstat").write_text(f"99 {ns} 5\n")
        (proc / "7/task" / thread / "stat").write_text(f"{thread} (a ) name) {state} 1 7 7\n")
    (proc / "stat").write_text(STAT.format(steal))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_the_thread_that_waited_most_counts(tmp_path: Path, clock: list[float]) -> None:
    machine(tmp_path, {"7": 0, "8": 5_000_000_000})
    watch = Starvation(7, tmp_path)
    clock[0] += 2.0
    machine(tmp_path, {"7": 100_000_000, "8": 6_500_000_000})
    assert watch.fraction() == pytest.approx(0.75)
    clock[0] += 2.0
    assert watch.fraction() == 0.0


def test_a_thread_that_is_new_has_no_past(tmp_path: Path, clock: list[float]) -> None:
    machine(tmp_path, {"7": 0})
    watch = Starvation(7, tmp_path)
    clock[0] += 1.0
    machine(tmp_path, {"7": 0, "9": 8_000_000_000})
    assert watch.fraction() == 0.0


def test_a_wait_that_is_not_over_counts_and_its_end_does_not_count_again(
    tmp_path: Path, clock: list[float]
) -> None:
    """The kernel adds a wait of 10 s to its figures when the thread runs again."""
    machine(tmp_path, {"7": 0, "8": 0}, state="R")
    watch, lost = Starvation(7, tmp_path), []
    for _ in range(9):
        clock[0] += 1.0
        watch.fraction()
        lost.append(watch.lost_s)
    # Whether it waited before it was first seen to is not known yet.
    assert lost == [0.0, *[1.0] * 8]
    clock[0] += 1.0
    machine(tmp_path, {"7": 0, "8": 10_000_000_000}, state="R")
    assert watch.fraction() == 1.0
    assert sum(lost) + watch.lost_s == pytest.approx(10.0)


def test_who_was_woken_just_now_has_not_waited(tmp_path: Path, clock: list[float]) -> None:
    machine(tmp_path, {"7": 0}, state="S")
    watch = Starvation(7, tmp_path)
    for state in "SRSR":
        clock[0] += 1.0
        machine(tmp_path, {"7": 0}, state=state)
        assert watch.fraction() == 0.0


def test_what_the_hypervisor_took_counts(tmp_path: Path, clock: list[float]) -> None:
    machine(tmp_path, {"7": 0})
    watch = Starvation(7, tmp_path)
    clock[0] += 2.0
    ticks = os.sysconf("SC_CLK_TCK") * (os.cpu_count() or 1)
    machine(tmp_path, {"7": 0}, steal=ticks)
    assert watch.fraction() == pytest.approx(0.5)


def test_without_scheduler_statistics_no_starvation_is_assumed(
    tmp_path: Path, clock: list[float]
) -> None:
    watch = Starvation(7, tmp_path)
    clock[0] += 1.0
    assert watch.fraction() == 0.0


def test_two_processes_on_one_processor_have_half_of_it_each() -> None:
    cpu = {min(os.sched_getaffinity(0))}
    spin = [sys.executable, "-c", "while True: pass"]
    both = [subprocess.Popen(spin) for _ in range(2)]
    try:
        for each in both:
            os.sched_setaffinity(each.pid, cpu)
        time.sleep(0.3)
        watch = Starvation(both[0].pid)
        time.sleep(1.0)
        starved = watch.fraction()
        os.kill(both[0].pid, signal.SIGSTOP)
        time.sleep(0.3)
        watch.fraction()
        time.sleep(0.5)
        stopped = watch.fraction()
    finally:
        for each in both:
            each.kill()
            each.wait()
    assert starved > 0.25
    # Who does not want to run does not wait: a guest that hangs idle is seen to hang.
    assert stopped < 0.2


class Machine:
    """One process as /proc shows it, and a clock."""

    def __init__(self, proc: Path) -> None:
        self.proc = proc
        self.now = 50.0
        self.ran_ns = self.waited_ns = 0
        self.state = "S"
        self.show()

    def show(self) -> None:
        machine(self.proc, {"7": 0})
        (self.proc / "7/task/7/schedstat").write_text(f"{self.ran_ns} {self.waited_ns} 5\n")
        (self.proc / "7/stat").write_text(f"7 (a ) name) {self.state} 1 7 7\n")

    def pass_time(self, seconds: float, runs: float = 0.01, waits: float = 0.0) -> None:
        self.now += seconds
        self.ran_ns += int(seconds * runs * 1e9)
        self.waited_ns += int(seconds * waits * 1e9)
        self.show()


@pytest.fixture
def watched(tmp_path: Path) -> tuple[Machine, GuestTime]:
    process = Machine(tmp_path)
    time_of_guest = GuestTime(7, clock=lambda: process.now, proc=tmp_path)
    process.pass_time(TICK_S)
    assert time_of_guest.passed() == TICK_S
    return process, time_of_guest


def test_time_passes_for_a_guest_that_runs(watched: tuple[Machine, GuestTime]) -> None:
    process, guest = watched
    for _ in range(4):
        process.pass_time(TICK_S)
        assert guest.passed() == pytest.approx(TICK_S)
    assert (guest.stood_still_s, guest.unseen_s, guest.mute_s) == (0, 0, 0)


def test_the_worst_of_all_windows_counts(watched: tuple[Machine, GuestTime]) -> None:
    """Half of the host for ever is little for each window, however long the test takes."""
    process, guest = watched
    for _ in range(int(100 / TICK_S)):
        process.pass_time(TICK_S, waits=0.5)
        guest.passed()
    assert guest.starved_s == pytest.approx(STARVED_WITHIN_S / 2)
    for _ in range(int(10 / TICK_S)):
        process.pass_time(TICK_S, waits=0.99)
        guest.passed()
    worst = guest.starved_s
    assert worst == pytest.approx(9.9 + 5.0)
    for _ in range(int(60 / TICK_S)):
        process.pass_time(TICK_S)
        guest.passed()
    assert guest.starved_s == worst
    # One wait that is longer than all of it is seen when it is over.
    process.pass_time(70, waits=1.0)
    guest.passed()
    assert guest.starved_s == STARVED_WITHIN_S


STALL = b"[    9.000000] rcu: INFO: rcu_sched detected stalls on CPUs/tasks:\n"
OOPS = b"[    9.000000] BUG: kernel NULL pointer dereference, address: 0000000000000008\n"


@pytest.mark.parametrize(
    ("waits", "log", "again"),
    [(0.9, STALL, True), (0.9, OOPS, False), (0.9, b"", False), (0.5, STALL, False)],
)
def test_a_boot_is_repeated_for_what_a_starved_kernel_says_of_time(
    watched: tuple[Machine, GuestTime], waits: float, log: bytes, again: bool
) -> None:
    process, guest = watched
    for _ in range(int(30 / TICK_S)):
        process.pass_time(TICK_S, waits=waits)
        guest.passed()
    assert bool(_disturbed(guest, log)) is again


def test_a_guest_whose_clock_stands_still_meanwhile_loses_nothing() -> None:
    died = GuestDied(How.PANIC, "it did", stood_still_s=30.0, starved_s=19.0)
    assert _by_own_clock(died) == GuestDied(How.PANIC, "it did")
    assert _by_own_clock(Heartbeat(1.0)) == Heartbeat(1.0)


@pytest.mark.parametrize("state", ["T", "t"])
def test_none_passes_while_it_is_stopped(watched: tuple[Machine, GuestTime], state: str) -> None:
    process, guest = watched
    process.state = state
    for _ in range(8):
        process.pass_time(TICK_S, runs=0)
        assert guest.passed() == 0
    assert guest.stood_still_s == guest.mute_s == pytest.approx(8 * TICK_S)
    process.state = "S"
    process.pass_time(TICK_S)
    assert guest.passed() == pytest.approx(TICK_S)
    assert guest.mute_s == 0


def test_one_that_is_stopped_for_ever_comes_to_an_end(watched: tuple[Machine, GuestTime]) -> None:
    process, guest = watched
    process.state = "T"
    left = 5.0
    for _ in range(int((MUTE_LIMIT_S - 10) / TICK_S)):
        process.pass_time(TICK_S, runs=0)
        left -= guest.passed()
    assert (left, guest.stuck) == (5.0, "")
    for _ in range(int(20 / TICK_S)):
        process.pass_time(TICK_S, runs=0)
        left -= guest.passed()
    assert left < 0
    assert guest.stuck == "QEMU neither runs nor answers its monitor, for 60 s"


def test_who_was_stopped_together_with_it_counts_two_ticks(
    watched: tuple[Machine, GuestTime],
) -> None:
    process, guest = watched
    process.pass_time(25, runs=0)
    assert guest.passed() == 2 * TICK_S
    assert guest.stood_still_s == pytest.approx(25 - 2 * TICK_S)
    assert guest.unseen_s == 0


def test_who_was_stopped_alone_does_not_know(watched: tuple[Machine, GuestTime]) -> None:
    process, guest = watched
    process.pass_time(25)
    assert guest.passed() == 2 * TICK_S
    assert guest.stood_still_s == 0
    assert guest.unseen_s == pytest.approx(25 - 2 * TICK_S)


def test_no_answer_from_the_monitor_is_no_time_of_the_guest(tmp_path: Path) -> None:
    process = Machine(tmp_path)
    answers: list[asyncio.Future[object]] = []

    async def work() -> None:
        def answer() -> asyncio.Future[object]:
            answers.append(asyncio.get_running_loop().create_future())
            return answers[-1]

        guest = GuestTime(7, answer, clock=lambda: process.now, proc=tmp_path)
        await guest.tick(0)
        process.pass_time(TICK_S, runs=0)
        assert await guest.tick(0, in_doubt=True) == 0
        process.pass_time(TICK_S, runs=0)
        assert await guest.tick(0, in_doubt=True) == 0
        assert guest.stood_still_s == pytest.approx(2 * TICK_S)
        # One question at a time.
        assert len(answers) == 1
        answers[0].set_result(None)
        process.pass_time(TICK_S)
        assert await guest.tick(0) == pytest.approx(TICK_S)
        await guest.close()

    asyncio.run(work())
