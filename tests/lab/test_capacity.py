# SPDX-License-Identifier: GPL-2.0-only
"""How many guests fit, and which of the tests begins first."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from harness.lab import capacity
from harness.model.records import KernelBuilt
from harness.model.results import Kernel, Machine, Results, Test
from harness.model.spec import GuestTable
from harness.outcome import Outcome
from harness.run import times
from harness.store import Store

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("memory_mib", "free_mib", "jobs"),
    [
        (512, 1_000_000, len(os.sched_getaffinity(0))),
        (4096, 512 + 4196, 1),
        (4096, 512 + 4195, 1),
        (4096, 0, 1),
    ],
)
def test_as_many_guests_as_memory_and_processors_carry(
    memory_mib: int, free_mib: int, jobs: int
) -> None:
    guests = [GuestTable(memory_mib=64), GuestTable(memory_mib=memory_mib)]
    assert capacity.jobs(guests, free_mib) == jobs


def test_two_fit_where_there_is_room_for_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert capacity.jobs([GuestTable(memory_mib=900)], 512 + 2000) == 2
    assert capacity.jobs([GuestTable(memory_mib=900)], 512 + 1999) == 1


def test_a_control_group_can_leave_less_than_the_machine_has(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    4194304 kB\n")
    assert capacity.available_mib(tmp_path, tmp_path) == 4096
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1048576\n")
    assert capacity.available_mib(tmp_path, tmp_path) == 4096
    (tmp_path / "memory.max").write_text(f"{3 << 20}\n")
    assert capacity.available_mib(tmp_path, tmp_path) == 2


def said(name: str, seconds: float | None) -> Results:
    return Results(
        run="r",
        started="",
        kernel=Kernel(release="", source="", base_commit=""),
        machine=Machine(),
        tests=(Test(name=name, suite="s", program="p", outcome=Outcome.PASS, total_s=seconds),),
    )


def test_what_tests_took_is_kept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert times.load(store).tests == {}
    times.remember(store, said("s:a", 1.5), ())
    times.remember(store, said("s:b", 2.0), ())
    times.remember(store, said("s:a", 3.0), ())
    times.remember(store, said("s:c", None), ())
    assert times.load(store).tests == {"s:a": 3.0, "s:b": 2.0}
    (store.place("times") / "times.json").write_text("[")
    assert times.load(store).tests == {}


def test_what_a_run_over_several_kernels_took_serves_the_next(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run = said("3@s:a", 9.0)
    (test,) = run.tests
    times.remember(store, said("s:a", 1.0), ())
    times.remember(store, said("s:b", 2.0), ())
    mine = msgspec.structs.replace(test, kernel="3")
    times.remember(store, msgspec.structs.replace(run, tests=(mine,)), ())
    known = times.load(store)
    assert known.of_tests("3", ["s:a", "s:b", "s:new"]) == {"s:a": 9.0, "s:b": 2.0}
    # What is not known is taken for a middle one.
    assert known.expected("3", ["s:a", "s:b", "s:new"]) == 9.0 + 2.0 + 5.5
    assert known.expected("3", ["s:new"]) is None
    assert known.expected("3", []) == 0.0
    assert known.of_suites("3", ["s"]) == 11.0
    assert known.of_suites("3", ["t"]) is None


def test_what_did_not_run_takes_no_time(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run = said("s:a", 9.0)
    (test,) = run.tests
    for more in ({"reused": "r0"}, {"same_as": "base"}):
        other = msgspec.structs.replace(test, **more)
        times.remember(store, msgspec.structs.replace(run, tests=(other,)), ())
    assert times.load(store).tests == {}


def test_builds_are_expected_to_take_what_they_took(tmp_path: Path) -> None:
    store = Store(tmp_path)
    facts = Kernel(release="", source="", base_commit="", series_name="v10")
    records = [
        KernelBuilt(kernel=name, facts=facts, seconds=seconds)
        for name, seconds in (("base", 200.0), ("1", 20.0), ("2", 30.0), ("3", 0.3))
    ]
    times.remember(store, said("s:a", 1.0), records)
    known = times.load(store)
    assert known.of_build("v10", "base") == 200.0
    assert known.of_build("v10", "2") == 30.0
    # What was in the cache says nothing, and a middle one stands for it.
    assert known.of_build("v10", "3") == 30.0
    assert known.of_build("v11", "1") is None
