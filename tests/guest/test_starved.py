# SPDX-License-Identifier: GPL-2.0-only
"""A guest that is not let run is not one that hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.guest.starved import Starvation

pytestmark = pytest.mark.unit
STAT = "cpu  1 2 3 4 5 6 7 {} 0 0\ncpu0 0 0\n"


def machine(proc: Path, waits: dict[str, int], steal: int = 0) -> None:
    for thread, ns in waits.items():
        (proc / "7/task" / thread).mkdir(parents=True, exist_ok=True)
        (proc / "7/task" / thread / "schedstat").write_text(f"99 {ns} 5\n")
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


def test_what_the_hypervisor_took_counts(tmp_path: Path, clock: list[float]) -> None:
    machine(tmp_path, {"7": 0})
    watch = Starvation(7, tmp_path)
    clock[0] += 2.0
    ticks = os.sysconf("SC_CLK_TCK") * (os.cpu_count() or 1)
    machine(tmp_path, {"7": 0}, steal=ticks)
    assert watch.fraction() == pytest.approx(0.5)


def test_a_kernel_that_does_not_count_starves_nobody(tmp_path: Path, clock: list[float]) -> None:
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
