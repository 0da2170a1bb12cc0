# SPDX-License-Identifier: GPL-2.0-only
"""The hosts part of ``make bench``: ratios and bounds, and attempts on simulated workers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools.bench import hosts

pytestmark = pytest.mark.unit

REPOSITORY = Path(__file__).parents[2]


def test_a_ratio_has_the_other_machine_above() -> None:
    figure = hosts.ratio("over SSH", [2.0, 1.0, 9.0], [2.3, 1.0, 9.9], 1.15)
    assert figure.value == pytest.approx(1.15)
    assert figure.reached
    assert not hosts.ratio("over SSH", [2.0], [2.31], 1.15).reached


def test_a_speed_has_that_of_scp_below() -> None:
    assert hosts.speed("a file", [1.0], [0.6]).reached
    assert not hosts.speed("a file", [1.0], [0.59]).reached


@pytest.mark.slow
def test_attempts_on_simulated_workers_all_pass() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.bench.many", "5", "20"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
        timeout=120,
    )
    said = json.loads(done.stdout)
    assert said["attempts"] == 20
    assert said["cpu_s"] > 0
