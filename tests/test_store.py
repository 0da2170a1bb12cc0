# SPDX-License-Identifier: GPL-2.0-only
"""The cache: whole or absent, once, and never damaged without notice."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pwd
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.digest import digest, digest_tree
from harness.errors import MachineError, UserError
from harness.progress import Quiet
from harness.store import Store

pytestmark = pytest.mark.unit
QUIET = Quiet()
DIRECTORIES = ("entries", "places", "locks", "tmp")


def fill(text: str) -> object:
    def build(out: Path) -> None:
        (out / "file").write_text(text)
        (out / "below").mkdir()
        (out / "below" / "more").write_text(text * 2)

    return build


def obtain(store: Store, text: str = "x", key: str = "k") -> Path:
    return store.obtain("thing", key, fill(text), QUIET)  # type: ignore[arg-type]


def test_an_entry_is_built_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = obtain(store, "one")
    assert obtain(store, "two") == first
    assert (first / "file").read_text() == "one"


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def fail(out: Path) -> None:
        (out / "half").write_text("x")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.obtain("thing", "k", fail, QUIET)
    assert store.find("thing", "k") is None
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("damage", ["shorter", "other", "absent", "manifest"])
def test_a_damaged_entry_is_built_again(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path)
    entry = obtain(store, "good")
    victim = entry / ("manifest.json" if damage == "manifest" else "below/more")
    if damage == "absent":
        victim.unlink()
    else:
        victim.write_text({"shorter": "good", "other": "evilevil", "manifest": "{"}[damage])
    assert store.find("thing", "k") is None
    assert (obtain(store, "good") / "below" / "more").read_text() == "goodgood"
    assert list((tmp_path / "tmp").iterdir()) == []


def test_an_untouched_entry_with_another_time_is_whole(tmp_path: Path) -> None:
    store = Store(tmp_path)
    entry = obtain(store)
    os.utime(entry / "file", (1, 1))
    assert store.find("thing", "k") == entry


def _slow(root: Path, marks: Path) -> None:
    def build(out: Path) -> None:
        (marks / str(os.getpid())).touch()
        time.sleep(0.5)
        (out / "file").write_text("x")

    Store(root).obtain("thing", "k", build, QUIET)


def test_two_processes_build_one_entry_once(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=_slow, args=(tmp_path / "cache", marks)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(30)
        assert process.exitcode == 0
    assert len(list(marks.iterdir())) == 1


def test_a_full_disk_is_the_machines_fault(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def build(out: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(out))

    with pytest.raises(MachineError) as caught:
        store.obtain("thing", "k", build, QUIET)
    assert "no space" in caught.value.what
    assert "HARNESS_CACHE" in caught.value.hint


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MachineError) as caught:
        Store(tmp_path / "file")
    assert str(tmp_path / "file") in caught.value.where


def test_the_cache_moves_with_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "elsewhere"))
    assert Store.default().root == tmp_path / "elsewhere"


def test_digests_keep_parts_apart() -> None:
    assert digest("ab", "c") != digest("a", "bc")


def test_a_trees_digest_sees_names_bytes_modes_and_links(tmp_path: Path) -> None:
    def made(name: str, *, text: str = "x", mode: int = 0o644, link: str = "") -> str:
        root = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        root.mkdir()
        (root / name).write_text(text)
        (root / name).chmod(mode)
        if link:
            (root / "link").symlink_to(link)
        return digest_tree(root)

    digests = [
        made("a"),
        made("b"),
        made("a", text="y"),
        made("a", mode=0o755),
        made("a", link="a"),
        made("a", link="b"),
    ]
    assert len(set(digests)) == len(digests)
    assert made("a") == digests[0]


def test_a_lock_that_is_taken_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.store._LOCK_NOTICE_S", 0.05)
    store = Store(tmp_path)
    with store.lock("place", Quiet()), store.try_lock("place") as mine:
        assert not mine
    with store.try_lock("place") as mine, store.try_lock("place") as other:
        assert mine
        assert not other
    with store.try_lock("place") as mine:
        assert mine


@pytest.mark.parametrize("part", [".", "places", "places/git", "locks/git.lock", "entries/kernel"])
def test_a_cache_of_another_user_names_him_and_what_to_do(tmp_path: Path, part: str) -> None:
    """What matters is that it cannot be written; here it is this user's, who took that away."""
    root = tmp_path / "my cache"
    Store(root).place("git")
    (root / "entries" / "kernel").mkdir()
    (root / "locks" / "git.lock").touch()
    target = root / part
    target.chmod(0o555)
    script = (
        f"from pathlib import Path; from harness.store import Store; Store(Path({str(root)!r}))"
    )
    argv = [sys.executable, "-c", script]
    if os.getuid() == 0:
        # Without its capabilities, root is a user like any other.
        argv = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *argv]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    target.chmod(0o755)
    assert "MachineError: the cache contains files of another user" in done.stderr, done.stderr
    assert f"where: {target}" in done.stderr
    assert f"it belongs to {pwd.getpwuid(os.getuid()).pw_name}" in done.stderr
    assert f"sudo chown -R {os.getuid()} '{root}'" in done.stderr


def test_a_directory_with_something_else_is_no_cache(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp" / "mine").write_text("mine")
    (tmp_path / "letters").mkdir()
    with pytest.raises(UserError) as caught:
        Store(tmp_path)
    assert "letters" in caught.value.why
    assert "HARNESS_CACHE" in caught.value.hint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["letters", "tmp"]


@pytest.mark.parametrize("made", ["new", "half", "old", "disk"])
def test_a_cache_is_known_again(tmp_path: Path, made: str) -> None:
    root = tmp_path / "cache"
    names = {
        "new": (),
        "half": ("entries",),
        "old": (*DIRECTORIES, "more"),
        "disk": ("lost+found",),
    }
    for name in names[made]:
        (root / name).mkdir(parents=True)
    Store(root)
    (root / "added-later").mkdir()
    entry = obtain(Store(root))
    assert (entry / "file").read_text() == "x"
    assert (
        (root / "CACHEDIR.TAG")
        .read_text()
        .startswith("Signature: 8a477f597d28d172789f06886806bc55")
    )


@pytest.mark.parametrize("error", [errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EFBIG])
def test_what_the_machine_refuses_while_an_entry_is_made(tmp_path: Path, error: int) -> None:
    store = Store(tmp_path)

    def build(out: Path) -> None:
        raise OSError(error, os.strerror(error), str(out / "file"))

    with pytest.raises(MachineError) as caught:
        store.obtain("thing", "k", build, QUIET)
    assert os.strerror(error) in caught.value.why
    assert store.find("thing", "k") is None


def test_what_goes_while_the_cache_is_opened_is_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run removes its scratch directory between the listing and the look at it."""
    (Store(tmp_path / "cache").root / "tmp" / "going").mkdir()
    access = os.access

    def going(path: Path, mode: int) -> bool:
        if path.name == "going":
            path.rmdir()
        return access(path, mode)

    monkeypatch.setattr(os, "access", going)
    assert not (Store(tmp_path / "cache").root / "tmp" / "going").exists()
