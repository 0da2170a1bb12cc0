# SPDX-License-Identifier: GPL-2.0-only
"""Debian's real kernel source, in the user's own cache."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from harness.context import Context
from harness.proc.git import git
from harness.progress import Quiet
from harness.series import apply, read
from harness.source import resolve
from harness.source.worktree import checkout
from harness.store import Store
from tests.kerneltree import format_patch, replace, sh

pytestmark = pytest.mark.kernel

SPEC = "debian:linux-source-6.1=6.1.176-1"


def test_the_real_tree(tmp_path: Path) -> None:
    store = Store.default()
    source = resolve(SPEC, Context(store, Quiet()), relative_to=tmp_path)
    start = time.monotonic()
    assert resolve(SPEC, Context(store, Quiet()), relative_to=tmp_path) == source
    assert time.monotonic() - start < 1
    if source.note is None:
        # The id of the tree that `git add -A -f` makes of the unpacked package.
        assert source.tree == "1ade9d94fbb862ab00e2307ff89bfe4b3c315196"
    work = tmp_path / "work"
    sh("git", "init", "-q", str(work), cwd=tmp_path)
    text = git("cat-file", "blob", f"{source.commit}:mm/memory.c", repo=source.repo).stdout
    (work / "mm").mkdir()
    (work / "mm/memory.c").write_bytes(text)
    sh("git", "add", "-A", cwd=work)
    sh("git", "commit", "-q", "-m", "base", cwd=work)
    for number in (1, 2):
        replace(work / "mm/memory.c", "#include <linux/mm.h>\n", "#include <linux/mm.h>\n\n")
        sh("git", "commit", "-q", "-a", "-m", f"mm: change {number}", cwd=work)
    format_patch(work, tmp_path / "patches", count=2)
    tree = apply([read(tmp_path / "patches")], source, Context(store, Quiet()))
    path = store.place("worktrees") / "test"
    with store.lock("worktrees-test", Quiet()):
        checkout(source.repo, source.commit, path, Quiet())
        untouched = (path / "mm/shmem.c").stat().st_mtime_ns
        start = time.monotonic()
        for patch in tree.patches:
            checkout(source.repo, patch.commit, path, Quiet())
        # 0.4 s each on two idle cores; the bound is for a busy machine.
        assert time.monotonic() - start < 10
        assert (path / "mm/shmem.c").stat().st_mtime_ns == untouched
        assert git("status", "--porcelain", cwd=path).stdout == b""
