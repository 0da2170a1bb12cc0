# SPDX-License-Identifier: GPL-2.0-only
"""The fuzzer for a few seconds in every test run, and for long in the proofs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "seconds",
    [pytest.param(5, marks=pytest.mark.unit), pytest.param(600, marks=pytest.mark.proof)],
)
def test_the_fuzzer_finds_nothing(seconds: int, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "tests.ktap.fuzz_ktap", str(seconds)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=seconds + 120,
        check=False,
    )
    text = done.stdout.decode(errors="replace")
    assert done.returncode == 0, text[-3000:]
    assert "Done" in text
    # An input that breaks a promise belongs into the corpus.
    assert list(tmp_path.iterdir()) == []
