# SPDX-License-Identifier: GPL-2.0-only
"""How the agent's C files stand to each other."""

from __future__ import annotations

import subprocess
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from harness.guest.agent import SOURCES

pytestmark = pytest.mark.unit


def symbols(file: Path, kind: str) -> set[str]:
    """Return the global symbols of an object file: *kind* is an option of nm."""
    argv = ["nm", "--extern-only", "--just-symbols", kind, str(file)]
    done = subprocess.run(argv, check=True, timeout=60, capture_output=True, text=True)
    return set(done.stdout.split())


def test_no_files_use_each_other_in_a_circle(tmp_path: Path) -> None:
    sources = sorted(SOURCES.glob("*.c"))
    argv = ["gcc", "-c", *map(str, sources)]
    subprocess.run(argv, cwd=tmp_path, check=True, timeout=60)
    objects = [tmp_path / f"{source.stem}.o" for source in sources]
    home = {symbol: file.stem for file in objects for symbol in symbols(file, "--defined-only")}
    uses = {
        file.stem: {home[symbol] for symbol in symbols(file, "--undefined-only") if symbol in home}
        for file in objects
    }
    # Else the files were not told apart, and nothing was seen.
    assert {"setup", "quiesce"} <= uses["agent"]
    TopologicalSorter(uses).prepare()  # raises CycleError
    # The header lists the files in such an order.
    shown = [
        line[3:-5]
        for line in (SOURCES / "agent.h").read_text().splitlines()
        if line.endswith(".c */")
    ]
    for file, used in uses.items():
        assert used <= set(shown[: shown.index(file)] if file in shown else shown), file
