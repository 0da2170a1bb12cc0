# SPDX-License-Identifier: GPL-2.0-only
"""The project's own series, held to the kernel's rules."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from harness import series
from harness.outcome import Outcome
from harness.run import results
from harness.source import Source

REPOSITORY = Path(__file__).parents[2]
OWN = REPOSITORY / "patches" / "v10"


@pytest.mark.unit
def test_it_is_the_beginning_of_nine_by_one_author() -> None:
    own = series.read(OWN, upto=3)
    assert (own.version, own.total, len(own.patches)) == (10, 9, 3)
    assert [patch.subject for patch in own.patches] == [
        "mm: Introduce memfd_restricted",
        "KVM: Introduce per-page memory attributes",
        "KVM: Extend the memslot",
    ]
    for patch in own.patches:
        assert f"Signed-off-by: {patch.author}".encode() in patch.data


@pytest.mark.kernel
def test_checkpatch_has_nothing_to_say(linux_source: Source, tmp_path: Path) -> None:
    names = ["scripts/checkpatch.pl", "scripts/spelling.txt", "scripts/const_structs.checkpatch"]
    argv = ["git", f"--git-dir={linux_source.repo}", "archive", linux_source.commit, *names]
    done = subprocess.run(argv, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(tmp_path, filter="data")
    for patch in sorted(OWN.glob("000[1-9]-*.patch")):
        checked = subprocess.run(
            ["perl", tmp_path / names[0], "--no-tree", "--strict", "--show-types", patch],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert checked.returncode == 0, checked.stdout
        assert "total: 0 errors, 0 warnings, 0 checks" in checked.stdout, checked.stdout


@pytest.mark.proof
@pytest.mark.parametrize("upto", [1, 2])
def test_each_patch_builds_on_its_own(upto: int, tmp_path: Path) -> None:
    """Nothing selects RESTRICTEDMEM before patch 3: the call is absent and every case skips."""
    argv = [sys.executable, "-m", "harness", "run", "--upto", str(upto), "--out", str(tmp_path)]
    done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, timeout=3600, check=False)
    assert done.returncode == 0, done.stdout.decode()
    said = results.decode((tmp_path / "results.json").read_bytes())
    assert set(said.case_counts) == {Outcome.SKIP}
