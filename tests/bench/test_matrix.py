# SPDX-License-Identifier: GPL-2.0-only
"""The matrix part of ``make bench``: what it edits, and what tests that do nothing take."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from unidiff.patch import PatchSet

from harness import series
from harness.errors import UserError
from harness.series import Series
from harness.store import Store
from tools.bench import matrix

pytestmark = pytest.mark.unit

REPOSITORY = Path(__file__).parents[2]
V10 = REPOSITORY / "patches" / "v10"


def test_one_patch_is_changed_and_is_a_patch_still(tmp_path: Path) -> None:
    whole = series.read(V10)
    tried: list[Series] = []

    def applies(each: Series) -> None:
        tried.append(each)
        if len(tried) < 3:
            raise UserError("a later patch does not apply")

    matrix._edit(whole, tmp_path / "edited", applies)
    assert len(tried) == 3
    edited = series.read(tmp_path / "edited")
    other = [
        now.number
        for then, now in zip(whole.patches, edited.patches, strict=True)
        if then.sha256 != now.sha256
    ]
    assert other == [matrix.EDITED]
    # Counts of hunks are those of their lines, or this raises.
    now, then = (
        PatchSet(each.patches[matrix.EDITED - 1].data.decode()) for each in (edited, whole)
    )
    assert sum(file.added for file in now) == sum(file.added for file in then) + 1


def test_tests_that_do_nothing_are_all_reported() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.bench.overhead", "3", "20"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
        timeout=120,
    )
    said = json.loads(done.stdout)
    assert said["tests"] == 60
    assert said["journal_bytes"] > 60 * 200
    assert said["report_bytes"] > 60 * 200
    assert said["run_kib"] <= said["reports_kib"]


@pytest.mark.parametrize(("took", "reached"), [(1600, True), (1601, False)])
def test_a_matrix_may_take_as_long_as_its_parts(took: float, reached: bool) -> None:
    figure = matrix.against_tip(10, took, build=240, tests=100)
    assert figure.reached is reached
    assert "4.7 times the tip alone" in figure.note


def test_a_copy_of_a_cache_leaves_files_alone_that_git_watches(tmp_path: Path) -> None:
    store = Store(tmp_path / "mine")
    repository = store.place("git") / "linux.git"
    (repository / "objects").mkdir(parents=True)
    for name in ("shallow", "objects/pack"):
        (repository / name).write_text("one\n")
    before = (repository / "shallow").stat()
    copy = matrix.cache_with_source(tmp_path / "copy", store) / "places" / "git" / "linux.git"
    assert (repository / "shallow").stat() == before
    assert (copy / "shallow").read_text() == "one\n"
    assert (copy / "objects" / "pack").samefile(repository / "objects" / "pack")
