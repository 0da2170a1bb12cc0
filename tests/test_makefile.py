# SPDX-License-Identifier: GPL-2.0-only
"""``make clean`` removes what is ours and nothing else."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit
MAKEFILE = Path(__file__).parents[1] / "Makefile"


def test_clean_leaves_what_is_no_run_that_has_ended(tmp_path: Path) -> None:
    shutil.copy(MAKEFILE, tmp_path)
    for name in ("runs/ended/logs/a.log", "runs/ended/journal.jsonl", "runs/at-work/journal.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    for name in ("runs/notes.txt", "runs/mine/data", "elsewhere/journal.jsonl", ".venv/bin/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    (tmp_path / "runs" / "link").symlink_to("../elsewhere")
    (tmp_path / "runs" / "latest").symlink_to("ended")
    handle = os.open(tmp_path / "runs" / "at-work", os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        argv = ["make", "-C", str(tmp_path), "clean"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    finally:
        os.close(handle)
    assert "a run is at work in runs/at-work" in done.stdout
    there = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert there == {
        "Makefile",
        "runs/at-work/journal.jsonl",
        "runs/notes.txt",
        "runs/mine/data",
        "elsewhere/journal.jsonl",
    }
    assert not (tmp_path / "runs" / "latest").is_symlink()
    assert (tmp_path / "runs" / "link").is_symlink()


def test_clean_of_runs_that_have_all_ended_leaves_nothing(tmp_path: Path) -> None:
    shutil.copy(MAKEFILE, tmp_path)
    (tmp_path / "runs" / "one, two").mkdir(parents=True)
    (tmp_path / "runs" / "one, two" / "journal.jsonl").touch()
    (tmp_path / "runs" / "latest").symlink_to("one, two")
    argv = ["make", "-s", "-C", str(tmp_path), "clean"]
    subprocess.run(argv, capture_output=True, timeout=60, check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["Makefile"]
