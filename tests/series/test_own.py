# SPDX-License-Identifier: GPL-2.0-only
"""The project's own series, held to the kernel's rules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness import project, series
from harness.context import Context
from harness.model.spec import KernelSpec
from harness.progress import Quiet
from harness.run.prepare import prepare
from harness.run.request import Request
from harness.source import Source
from harness.store import Store
from tests.conftest import PROJECT_FILE

REPOSITORY = Path(__file__).parents[2]
PATCHES = REPOSITORY / "patches"
OWN = PATCHES / "v10"
STACKS = ("v10", "test-vm", "v11")
ALL_PATCHES = sum(len(series.read(PATCHES / name).patches) for name in STACKS)


@pytest.mark.unit
def test_v10_is_nine_patches() -> None:
    own = series.read(OWN)
    assert (own.version, own.total, len(own.patches)) == (10, 9, 9)
    assert own.patches[0].subject == "mm: Introduce memfd_restricted"


@pytest.mark.unit
@pytest.mark.parametrize("name", STACKS)
def test_all_patches_are_by_one_author(name: str) -> None:
    own = series.read(PATCHES / name)
    for patch in own.patches:
        assert f"Signed-off-by: {patch.author}".encode() in patch.data
    assert len({patch.author for patch in own.patches}) == 1


@pytest.mark.kernel
def test_checkpatch_has_nothing_to_say(linux_source: Source, tmp_path: Path) -> None:
    names = ["scripts/checkpatch.pl", "scripts/spelling.txt", "scripts/const_structs.checkpatch"]
    argv = ["git", f"--git-dir={linux_source.repo}", "archive", linux_source.commit, *names]
    done = subprocess.run(argv, capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", str(tmp_path)], input=done.stdout, check=True)
    for patch in (patch.path for name in STACKS for patch in series.read(PATCHES / name).patches):
        # An iterator over notifiers uses what it is given more than once, as iterators do.
        options = ["--no-tree", "--strict", "--show-types", "--ignore", "MACRO_ARG_REUSE"]
        checked = subprocess.run(
            ["perl", tmp_path / names[0], *options, patch],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert checked.returncode == 0, checked.stdout
        assert "total: 0 errors, 0 warnings, 0 checks" in checked.stdout, checked.stdout


@pytest.mark.proof
@pytest.mark.parametrize("upto", range(1, ALL_PATCHES + 1))
def test_each_patch_builds_without_a_new_warning_and_boots(
    user_store: Store, upto: int, tmp_path: Path
) -> None:
    argv = [sys.executable, "-m", "harness", "run", "--out", str(tmp_path / "run")]
    argv += ["--series", "v11", "--upto", str(upto), "--suite", "memfd"]
    done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, timeout=3600, check=False)
    assert done.returncode == 0, done.stdout.decode()
    request = Request(
        project_file=PROJECT_FILE,
        project=project.load(PROJECT_FILE),
        working_dir=REPOSITORY,
        kernels=(KernelSpec(series=("v11",), upto=upto),),
        suites=("memfd",),
    )
    built = prepare(request, Context(user_store, Quiet()), tmp_path / "again").kernel.meta
    # The kernel knows of no warning of its own with this configuration, so each would be new.
    assert built.warnings == ()
