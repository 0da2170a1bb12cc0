# SPDX-License-Identifier: GPL-2.0-only
"""The fuzzer: in every test run the same inputs, in the proofs new ones for ten minutes.

What a gate lets through must not depend on luck, so the sample has a fixed seed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "limit",
    [
        pytest.param(["--inputs", "2000"], marks=pytest.mark.unit),
        pytest.param(["600"], marks=pytest.mark.proof),
    ],
    ids=["sample", "long"],
)
def test_the_fuzzer_finds_nothing(limit: list[str], tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "tests.ktap.fuzz_ktap", *limit],
        cwd=tmp_path,
        env={"PYTHONHASHSEED": "0", "PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=900,
        check=False,
    )
    text = done.stdout.decode(errors="replace")
    assert done.returncode == 0, text[-3000:]
    assert "Done" in text
    # An input that breaks a promise belongs into the corpus.
    assert list(tmp_path.iterdir()) == []
