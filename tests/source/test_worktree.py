# SPDX-License-Identifier: GPL-2.0-only
"""Work trees: moved without touching what stays, repaired when broken."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.context import Context
from harness.errors import MachineError
from harness.proc.git import git
from harness.progress import Quiet
from harness.source import Source, resolve
from harness.source.worktree import checkout
from harness.store import Store
from tests.kerneltree import Recorder, commit, make_repository, replace

pytestmark = pytest.mark.unit


@pytest.fixture
def sources(tmp_path: Path, store: Store) -> tuple[Source, Source]:
    linux = make_repository(tmp_path / "linux")
    one = resolve("linux#HEAD", Context(store, Quiet()), relative_to=tmp_path)
    replace(linux / "mm/memory.c", "a + 3", "a + 4")
    (linux / "mm/sub").mkdir()
    (linux / "mm/sub/new.c").write_text("int n;\n")
    commit(linux, "two")
    return one, resolve("linux#HEAD", Context(store, Quiet()), relative_to=tmp_path)


def state(path: Path) -> dict[str, bytes]:
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and file.name != ".git"
    }


def test_move_keeps_times_of_what_stays(sources: tuple[Source, Source], store: Store) -> None:
    one, two = sources
    path = store.place("worktrees") / "a"
    checkout(one.repo, one.commit, path, Quiet())
    first = state(path)
    times = {name: (path / name).stat().st_mtime_ns for name in first}
    progress = Recorder()
    checkout(two.repo, two.commit, path, progress)
    assert progress.steps == []
    assert state(path).keys() - first.keys() == {"mm/sub/new.c"}
    changed = {name for name in first if (path / name).stat().st_mtime_ns != times[name]}
    assert changed == {"mm/memory.c"}
    checkout(one.repo, one.commit, path, Quiet())
    assert state(path) == first
    assert not (path / "mm/sub").exists()


def test_edits_and_leftovers_are_removed(sources: tuple[Source, Source], store: Store) -> None:
    one, _ = sources
    path = store.place("worktrees") / "a"
    checkout(one.repo, one.commit, path, Quiet())
    first = state(path)
    replace(path / "mm/memory.c", "a + 3", "a + 7")
    (path / "mm/shmem.c").unlink()
    (path / ".config").write_text("x")
    (path / ".gitignore").write_text("*\n")
    (path / "include/config/deep").mkdir(parents=True)
    make_repository(path / "nested")
    checkout(one.repo, one.commit, path, Quiet())
    assert state(path) == first
    assert not (path / "include/config").exists()
    assert not (path / "nested").exists()


def admin(source: Source) -> Path:
    (found,) = (source.repo / "worktrees").iterdir()
    return found


def stale_lock(source: Source, path: Path) -> None:
    (admin(source) / "index.lock").write_bytes(b"")


def no_link(source: Source, path: Path) -> None:
    (path / ".git").unlink()


def pruned(source: Source, path: Path) -> None:
    shutil.rmtree(admin(source))


def bad_index(source: Source, path: Path) -> None:
    (admin(source) / "index").write_bytes(b"garbage")


def gone(source: Source, path: Path) -> None:
    shutil.rmtree(path)


@pytest.mark.parametrize("harm", [stale_lock, no_link, pruned, bad_index, gone])
def test_broken_work_tree_is_repaired(
    sources: tuple[Source, Source], store: Store, harm: Callable[[Source, Path], None]
) -> None:
    one, two = sources
    path = store.place("worktrees") / "a"
    checkout(one.repo, one.commit, path, Quiet())
    harm(one, path)
    progress = Recorder()
    checkout(two.repo, two.commit, path, progress)
    assert (path / "mm/sub/new.c").is_file()
    assert git("status", "--porcelain", cwd=path).stdout == b""
    assert bool(progress.steps) is (harm is not stale_lock)
    assert len(list((one.repo / "worktrees").iterdir())) == 1


def test_a_strangers_directory_is_not_removed(
    sources: tuple[Source, Source], tmp_path: Path
) -> None:
    one, _ = sources
    path = tmp_path / "precious"
    path.mkdir()
    (path / "thesis").write_text("x")
    with pytest.raises(MachineError, match="something else"):
        checkout(one.repo, one.commit, path, Quiet())
    assert (path / "thesis").exists()
    repository = make_repository(tmp_path / "mine")
    with pytest.raises(MachineError, match="something else"):
        checkout(one.repo, one.commit, repository, Quiet())
    assert (repository / ".git").exists()


def test_missing_commit_is_told(sources: tuple[Source, Source], store: Store) -> None:
    one, _ = sources
    with pytest.raises(MachineError, match="cannot be checked out"):
        checkout(one.repo, "0" * 40, store.place("worktrees") / "a", Quiet())


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_a_cache_that_was_moved_keeps_its_work_trees(
    sources: tuple[Source, Source], store: Store, tmp_path: Path, how: str
) -> None:
    one, two = sources
    old = store.place("build", "0123abcd") / "src"
    checkout(one.repo, one.commit, old, Quiet())
    times = {name: (old / name).stat().st_mtime_ns for name in state(old)}
    elsewhere = tmp_path / "elsewhere"
    if how == "moved":
        store.root.rename(elsewhere)
    else:
        shutil.copytree(store.root, elsewhere, symlinks=True)
    repo = elsewhere / one.repo.relative_to(store.root)
    path = elsewhere / old.relative_to(store.root)
    progress = Recorder()
    checkout(repo, two.commit, path, progress)
    assert (progress.steps, progress.notes) == ([], [])
    assert git("rev-parse", "HEAD", cwd=path).text == two.commit
    assert git("rev-parse", "--absolute-git-dir", cwd=path).text.startswith(str(elsewhere))
    changed = {name for name in times if (path / name).stat().st_mtime_ns != times[name]}
    assert changed == {"mm/memory.c"}
    if how == "copied":
        assert git("rev-parse", "HEAD", cwd=old).text == one.commit
        checkout(one.repo, two.commit, old, progress)
        assert progress.steps == []


def test_another_work_tree_of_the_same_name_is_not_taken_over(
    sources: tuple[Source, Source], store: Store, tmp_path: Path
) -> None:
    one, two = sources
    mine = store.place("build", "one") / "src"
    checkout(one.repo, one.commit, mine, Quiet())
    stray = store.place("build", "two") / "src"
    stray.mkdir()
    (stray / ".git").write_text("gitdir: /elsewhere/linux.git/worktrees/src\n")
    with pytest.raises(MachineError):
        checkout(two.repo, two.commit, stray, Quiet())
    assert git("rev-parse", "HEAD", cwd=mine).text == one.commit


def test_while_one_work_tree_is_made_another_one_can_be(
    sources: tuple[Source, Source], store: Store
) -> None:
    one, two = sources
    checkout(one.repo, one.commit, store.place("worktrees") / "a", Quiet())
    (file,) = (one.repo / "worktrees").glob("*/commondir")
    text = file.read_text()
    # As git leaves it for a moment.
    file.write_text("")
    timer = threading.Timer(0.4, file.write_text, [text])
    timer.start()
    path = store.place("worktrees") / "b"
    checkout(two.repo, two.commit, path, Quiet())
    timer.join()
    assert (path / "mm/sub/new.c").is_file()


def test_a_work_tree_that_was_never_finished_is_removed(
    sources: tuple[Source, Source], store: Store
) -> None:
    one, two = sources
    path = store.place("worktrees") / "a"
    checkout(one.repo, one.commit, path, Quiet())
    (file,) = (one.repo / "worktrees").glob("*/commondir")
    file.write_text("")
    long_ago = time.time() - 1000
    os.utime(file, (long_ago, long_ago))
    checkout(two.repo, two.commit, store.place("worktrees") / "b", Quiet())
    checkout(two.repo, two.commit, path, Quiet())
    assert (path / "mm/sub/new.c").is_file()
