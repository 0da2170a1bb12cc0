# SPDX-License-Identifier: GPL-2.0-only
"""Runs of the series' suites, each stack at most once in a session."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.model import results
from harness.model.results import Results
from tests.v10.tags import REPOSITORY, SELFTESTS, SUITES

Runs = Callable[..., Results]
Directories = Callable[..., Path]


@pytest.fixture(scope="session")
def run_directory(tmp_path_factory: pytest.TempPathFactory) -> Directories:
    """Return what runs suites on a stack, those of the series without options, and says where."""
    done: dict[tuple[str, ...], Path] = {}

    def run(*options: str) -> Path:
        if options not in done:
            out = tmp_path_factory.mktemp("stack")
            argv = [sys.executable, "-m", "harness", "run", "--out", str(out), "--series", *options]
            if "--suite" not in options:
                argv += [word for name in SUITES for word in ("--suite", str(SELFTESTS / name))]
            ended = subprocess.run(
                argv,
                cwd=REPOSITORY,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=3600,
                check=False,
            )
            file = Path(out) / "results.json"
            assert file.exists(), ended.stdout
            print(ended.stdout)  # pytest shows it with a failure
            done[options] = out
        return done[options]

    return run


@pytest.fixture(scope="session")
def run_stack(run_directory: Directories) -> Runs:
    """Return what runs suites on a stack, each at most once, and returns what came out."""

    def run(*options: str) -> Results:
        return results.decode((run_directory(*options) / "results.json").read_bytes())

    return run
