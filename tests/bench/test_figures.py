# SPDX-License-Identifier: GPL-2.0-only
"""Figures of ``make bench``: medians, bounds, and that the command gets through."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from harness.guest.snapshot import Snapshot
from tools.bench import figures
from tools.bench.figures import Figure
from tools.bench.rounds import Round, Timing

REPOSITORY = Path(__file__).parents[2]
SAVED = cast(Snapshot, SimpleNamespace(disk_bytes=3 << 20))


def rounds(*whole_s: float, first_s: float = 0.08) -> tuple[Round, ...]:
    """Rounds that take so long in all; the agent speaks *first_s* after QEMU is up."""
    return tuple(
        Round(0.02, 0.03, 0.02 + first_s, whole - 0.01, whole, 2048, 1024) for whole in whole_s
    )


def by_name(said: tuple[Figure, ...]) -> dict[str, Figure]:
    return {figure.name.strip(): figure for figure in said}


@pytest.mark.unit
def test_a_median_is_held_against_its_bound() -> None:
    name = "a test in a restored guest, median"
    kept = by_name(figures.of_rounds(rounds(0.2, 0.25, 9.0), SAVED))[name]
    assert (kept.value, kept.reached, kept.note) == (0.25, True, "worst of 3: 9.000 s")
    assert not by_name(figures.of_rounds(rounds(0.2, 0.251, 0.3), SAVED))[name].reached


@pytest.mark.unit
def test_the_parts_of_a_round_are_all_of_it() -> None:
    said = by_name(figures.of_rounds(rounds(0.2), SAVED))
    parts = [
        "QEMU starts and makes its devices",
        "the state is loaded",
        "the program begins to write",
        "the program ends",
        "QEMU is killed and reaped",
    ]
    assert sum(said[part].value for part in parts) == pytest.approx(0.2)
    assert said["memory of a restored guest's QEMU, its own"].value == 2
    assert said["a snapshot on the disk"].value == 3


@pytest.mark.unit
@pytest.mark.parametrize(("first_s", "reached"), [(0.099, True), (0.101, False)])
def test_the_first_frame_counts_from_the_monitor(first_s: float, reached: bool) -> None:
    said = by_name(figures.of_rounds(rounds(0.2, first_s=first_s), SAVED))
    figure = said["from the begin of restoring to the first frame of the agent"]
    assert figure.value == pytest.approx(first_s)
    assert figure.reached is reached


@pytest.mark.unit
def test_ratios_have_the_slower_one_above() -> None:
    slow = Timing((1.0, 2.0, 60.0))
    assert figures.of_virtme(rounds(0.25), slow).value == 8
    assert figures.of_virtme(rounds(0.25), slow).reached
    assert not figures.of_virtme(rounds(0.26), slow).reached
    assert figures.of_booted(Timing((2.0,)), slow).reached
    assert not figures.of_booted(Timing((2.1,)), slow).reached


@pytest.mark.unit
def test_many_tests_against_one_boot_for_each() -> None:
    many, gain = figures.of_many((8.0, 8.0), (5.0, 5.0), Timing((2.0,)), 40)
    assert (many.value, many.reached) == (16, True)
    assert (gain.value, gain.reached) == (1.6, True)
    many, gain = figures.of_many((7.9,), (5.0,), Timing((1.8,)), 40)
    assert (many.reached, gain.reached) == (False, False)


@pytest.mark.proof
def test_the_command_measures_everything() -> None:
    argv = [sys.executable, "-m", "tools.bench", "--json"]
    argv += ["--rounds", "3", "--virtme-rounds", "1"]
    done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, timeout=3600, check=False)
    assert done.returncode in {0, 1}, done.stderr.decode()
    said = json.loads(done.stdout)["figures"]
    assert done.returncode == any(not figure["reached"] for figure in said)
    assert len(said) == 19
    assert all(figure["value"] > 0 for figure in said if "compiler" not in figure["name"])
    assert next(figure["value"] for figure in said if "compiler" in figure["name"]) == 0
