# SPDX-License-Identifier: GPL-2.0-only
"""What goes from the cache, and what stays."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from harness import prune
from harness.context import Context
from harness.errors import UserError
from harness.kbuild import Fragments, Slot, slot
from harness.progress import Quiet
from harness.store import Store

pytestmark = [pytest.mark.unit, pytest.mark.slow]
MIB = 1 << 20


def entry(store: Store, kind: str, key: str, age_s: float, size: int = MIB) -> Path:
    path = store.obtain(kind, key, lambda out: fill(out / "file", size), Quiet())
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def fill(path: Path, size: int) -> None:
    path.write_bytes(os.urandom(size))


DAYS = 24 * 3600.0


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    store = Store(tmp_path)
    old = entry(store, "kernel", "a", 9 * DAYS)
    older = entry(store, "snapshot", "b", 10 * DAYS)
    used = entry(store, "kernel", "c", 11 * DAYS)
    assert store.find("kernel", "c") == used
    assert prune.prune(store, 3 * MIB) > MIB
    assert (old.exists(), older.exists(), used.exists()) == (True, False, True)
    prune.prune(store, 0)
    assert (old.exists(), used.exists()) == (False, True), "what was used today stays"


def test_nothing_goes_while_there_is_room(tmp_path: Path) -> None:
    store = Store(tmp_path)
    old = entry(store, "kernel", "a", 99 * DAYS)
    assert prune.prune(store, 2 * MIB) == 0
    assert old.exists()


def test_what_there_is_no_time_for_goes_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE_GIB", "0")
    store = Store(tmp_path)
    entries = [entry(store, "kernel", name, 9 * DAYS) for name in "abc"]
    monkeypatch.setattr(prune, "_TIME_S", 0.0)
    context = Context(store, Quiet())
    prune.prune_now_and_then(context)
    assert all(each.exists() for each in entries)
    monkeypatch.setattr(prune, "_TIME_S", 60.0)
    prune.prune_now_and_then(context)
    assert not any(each.exists() for each in entries)


def build(store: Store, name: str, age_s: float) -> Slot:
    made = slot(store, name, Fragments((), ()))
    made.objects.mkdir()
    fill(made.objects / "vmlinux", MIB)
    os.utime(made.path, (time.time() - age_s,) * 2)
    return made


def test_where_kernels_are_built_goes_too(tmp_path: Path) -> None:
    store = Store(tmp_path)
    old, new = build(store, "old", 9 * DAYS), build(store, "new", 0)
    worked_in, used = build(store, "busy", 8 * DAYS), build(store, "used", 10 * DAYS)
    assert slot(store, "used", Fragments((), ())) == used
    with store.lock(worked_in.name, Quiet()):
        assert MIB <= prune.prune(store, 0) < 2 * MIB
    there = [made.path.exists() for made in (old, new, worked_in, used)]
    assert there == [False, True, True, True]
    prune.prune(store, 0)
    assert not worked_in.path.exists()


def test_what_killed_runs_have_left_goes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    left, in_use = tmp_path / "tmp" / "kernel-1", tmp_path / "tmp" / "kernel-2"
    for path in (left, in_use):
        path.mkdir()
        fill(path / "vmlinux", MIB)
    os.utime(left, (time.time() - 2 * DAYS,) * 2)
    assert prune.prune(store, 1 << 40) == 0
    assert (left.exists(), in_use.exists()) == (False, True)


def test_holes_are_no_size(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def sparse(out: Path) -> None:
        (out / "ram0").touch()
        os.truncate(out / "ram0", 1 << 40)

    path = store.obtain("snapshot", "a", sparse, Quiet())
    os.utime(path, (0, 0))
    assert prune.prune(store, MIB) == 0


def test_it_looks_once_an_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE_GIB", "0.0001")
    store = Store(tmp_path)
    first = entry(store, "kernel", "a", 2 * DAYS)
    prune.prune_now_and_then(Context(store, Quiet()))
    assert not first.exists()
    second = entry(store, "kernel", "b", 2 * DAYS)
    prune.prune_now_and_then(Context(store, Quiet()))
    assert second.exists()
    os.utime(store.place("prune") / "stamp", (time.time() - 3601,) * 2)
    prune.prune_now_and_then(Context(store, Quiet()))
    assert not second.exists()


@pytest.mark.parametrize("text", ["much", "1e999", "nan"])
def test_a_limit_that_is_no_number(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE_GIB", text)
    with pytest.raises(UserError, match="HARNESS_CACHE_GIB"):
        prune.most_bytes()


def test_what_belongs_to_another_user_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    theirs, mine = entry(store, "kernel", "a", 9 * DAYS), entry(store, "kernel", "b", 8 * DAYS)
    discard = Store.discard

    def deny(self: Store, kind: str, key: str) -> None:
        if key == "a":
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(theirs))
        discard(self, kind, key)

    monkeypatch.setattr(Store, "discard", deny)
    assert prune.prune(store, 0) > 0
    assert (theirs.exists(), mine.exists()) == (True, False)


def test_files_that_a_link_leads_to_stay(tmp_path: Path) -> None:
    mine = tmp_path / "mine" / "kernel-1"
    mine.mkdir(parents=True)
    fill(mine / "vmlinux", MIB)
    os.utime(mine, (time.time() - 2 * DAYS,) * 2)
    store = Store(tmp_path / "cache")
    (store.root / "tmp" / "link").symlink_to(mine)
    os.utime(store.root / "tmp" / "link", (0, 0), follow_symlinks=False)
    prune.prune(store, 1 << 40)
    (store.root / "tmp" / "link").unlink()
    (store.root / "tmp").rmdir()
    (store.root / "tmp").symlink_to(tmp_path / "mine")
    prune.prune(store, 1 << 40)
    assert (mine / "vmlinux").exists()
