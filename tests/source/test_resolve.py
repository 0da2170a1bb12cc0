# SPDX-License-Identifier: GPL-2.0-only
"""Every form of a source, and every way in which one is wrong."""

from __future__ import annotations

import os
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from harness.context import Context
from harness.errors import MachineError, UserError
from harness.proc.git import git
from harness.progress import Quiet
from harness.source import Source, resolve
from harness.source.fastimport import kernel_version
from harness.store import Store
from tests.kerneltree import (
    FAKELINUX,
    Recorder,
    commit,
    make_repository,
    make_tree,
    replace,
    sh,
)

pytestmark = [pytest.mark.unit, pytest.mark.slow]


def files(source: Source) -> dict[str, str]:
    """Return path -> mode and id of every file of the source."""
    rows = git("ls-tree", "-r", source.commit, repo=source.repo).text.splitlines()
    return {row.split("\t")[1]: row.split("\t")[0] for row in rows}


def make_tarball(tmp_path: Path, name: str = "linux-6.1.tar", *, prefix: str = "linux-6.1") -> Path:
    tree = tmp_path / "to-pack"
    if not tree.exists():
        make_tree(tree)
    path = tmp_path / name
    plain = path.with_name("plain.tar")
    with tarfile.open(plain, "w") as tar:
        tar.add(tree, prefix)
    program = {".tar": "cat", ".gz": "gzip", ".xz": "xz", ".zst": "zstd"}[path.suffix]
    with plain.open("rb") as stdin, path.open("wb") as stdout:
        subprocess.run([program], stdin=stdin, stdout=stdout, check=True, timeout=30)
    return path


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.xz", ".tar.zst"])
def test_tarball(tmp_path: Path, store: Store, suffix: str) -> None:
    path = make_tarball(tmp_path, f"linux-6.1{suffix}")
    source = resolve(path.name, Context(store, Quiet()), relative_to=tmp_path)
    assert source.description == f"Linux 6.1.176 ({path.name})"
    got = files(source)
    assert got["scripts/check.sh"].startswith("100755 ")
    assert got["Documentation/maintainers"].startswith("120000 ")
    assert got["mm/memory.c"].startswith("100644 ")
    tree = make_repository(tmp_path / "same")
    assert source.tree == sh("git", "rev-parse", "HEAD^{tree}", cwd=tree)


@pytest.mark.parametrize("prefix", ["linux-6.1", ".", "./linux-6.1", "6.1"])
def test_top_directory_is_stripped(tmp_path: Path, store: Store, prefix: str) -> None:
    make_tarball(tmp_path, prefix=prefix)
    source = resolve("linux-6.1.tar", Context(store, Quiet()), relative_to=tmp_path)
    assert "mm/memory.c" in files(source)


def test_one_tree_has_one_commit(tmp_path: Path, store: Store) -> None:
    """By tarball or directory, in whatever cache and at whatever time."""
    path = make_tarball(tmp_path, "a.tar.gz")
    one = resolve(str(path), Context(store, Quiet()), relative_to=Path("/"))
    two = resolve("to-pack", Context(Store(tmp_path / "other"), Quiet()), relative_to=tmp_path)
    assert (one.commit, one.tree) == (two.commit, two.tree)


def test_second_time_imports_nothing(tmp_path: Path, store: Store) -> None:
    make_tarball(tmp_path)
    first = resolve("linux-6.1.tar", Context(store, Quiet()), relative_to=tmp_path)
    progress = Recorder()
    assert resolve("linux-6.1.tar", Context(store, progress), relative_to=tmp_path) == first
    assert progress.steps == []


def test_replaced_tarball_is_seen(tmp_path: Path, store: Store) -> None:
    make_tarball(tmp_path)
    first = resolve("linux-6.1.tar", Context(store, Quiet()), relative_to=tmp_path)
    replace(tmp_path / "to-pack/mm/memory.c", "a + 3", "a + 4")
    make_tarball(tmp_path)
    assert (
        resolve("linux-6.1.tar", Context(store, Quiet()), relative_to=tmp_path).tree != first.tree
    )


def test_ignored_and_odd_files_are_kept_as_they_are(tmp_path: Path, store: Store) -> None:
    tree = make_tree(tmp_path / "linux")
    (tree / ".gitignore").write_text("*.o\n.*\n/mm/\n")
    (tree / ".gitattributes").write_text("*.c text eol=crlf\n*.h ident\n")
    (tree / "blob.o").write_bytes(b"\0\1")
    (tree / "dos.c").write_bytes(b"int a;\r\n")
    (tree / "id.h").write_bytes(b"/* $Id$ */\n")
    (tree / 'a "quoted"\nname').write_text("x")
    (tree / '"starts').write_text("x")
    (tree / "link").symlink_to("./mm/..//MAINTAINERS")
    os.link(tree / "dos.c", tree / "hard.c")
    with tarfile.open(tmp_path / "l.tar", "w") as tar:
        tar.add(tree, "l")
    by_dir = resolve("linux", Context(store, Quiet()), relative_to=tmp_path)
    by_tar = resolve("l.tar", Context(Store(tmp_path / "b"), Quiet()), relative_to=tmp_path)
    assert by_dir.tree == by_tar.tree
    listed = git("ls-tree", "-rz", "--name-only", by_dir.commit, repo=by_dir.repo)
    names = set(listed.stdout.decode().rstrip("\0").split("\0"))
    assert names == {
        path.relative_to(tree).as_posix()
        for path in tree.rglob("*")
        if path.is_symlink() or path.is_file()
    }
    link = git("cat-file", "blob", f"{by_dir.commit}:link", repo=by_dir.repo)
    assert link.stdout == b"./mm/..//MAINTAINERS"
    blob = git("cat-file", "blob", f"{by_dir.commit}:dos.c", repo=by_dir.repo)
    assert blob.stdout == b"int a;\r\n"


def test_directory_changes_are_seen(tmp_path: Path, store: Store) -> None:
    tree = make_tree(tmp_path / "linux")
    first = resolve("linux", Context(store, Quiet()), relative_to=tmp_path)
    assert resolve("linux", Context(store, Quiet()), relative_to=tmp_path) == first
    replace(tree / "mm/memory.c", "a + 3", "a + 4")  # the size stays
    (tree / "mm/new.c").write_text("int x;\n")
    (tree / ".gitignore").write_text("*.o\n")
    (tree / "mm/blob.o").write_text("x")
    (tree / "scripts/check.sh").unlink()
    second = resolve("linux", Context(store, Quiet()), relative_to=tmp_path)
    assert files(second).keys() - files(first).keys() == {
        "mm/new.c",
        "mm/blob.o",
        ".gitignore",
    }
    assert files(first).keys() - files(second).keys() == {"scripts/check.sh"}
    assert files(first)["mm/memory.c"] != files(second)["mm/memory.c"]
    assert not (tree / ".git").exists()
    again = resolve("linux", Context(Store(tmp_path / "other"), Quiet()), relative_to=tmp_path)
    assert again.commit == second.commit


def test_stale_lock_of_a_killed_run_is_no_obstacle(tmp_path: Path, store: Store) -> None:
    make_tree(tmp_path / "linux")
    first = resolve("linux", Context(store, Quiet()), relative_to=tmp_path)
    (index,) = store.place("directories").glob("*/index")
    index.with_suffix(".lock").write_bytes(b"")
    assert resolve("linux", Context(store, Quiet()), relative_to=tmp_path) == first


def test_built_directory_is_refused(tmp_path: Path, store: Store) -> None:
    tree = make_tree(tmp_path / "linux")
    (tree / ".config").write_text("CONFIG_X=y\n")
    with pytest.raises(UserError, match="has build results") as caught:
        resolve("linux", Context(store, Quiet()), relative_to=tmp_path)
    assert "mrproper" in caught.value.hint


@pytest.mark.parametrize("later", [False, True])
def test_nested_repository_is_refused(tmp_path: Path, store: Store, later: bool) -> None:
    tree = make_tree(tmp_path / "linux")
    if later:
        resolve("linux", Context(store, Quiet()), relative_to=tmp_path)
    make_repository(tree / "inner")
    with pytest.raises(UserError, match="another git repository"):
        resolve("linux", Context(store, Quiet()), relative_to=tmp_path)


def test_work_tree_as_it_is_seen(tmp_path: Path, store: Store) -> None:
    linux = make_repository(tmp_path / "linux")
    clean = resolve("linux", Context(store, Quiet()), relative_to=tmp_path)
    assert clean.commit == sh("git", "rev-parse", "HEAD", cwd=linux)
    assert clean.note is None
    replace(linux / "mm/memory.c", "a + 3", "a + 4")
    (linux / "mm/staged.c").write_text("int s;\n")
    sh("git", "add", "mm/staged.c", cwd=linux)
    (linux / "scripts/check.sh").unlink()
    (linux / "mm/forgotten.c").write_text("int f;\n")
    before = (linux / ".git/index").read_bytes()
    progress = Recorder()
    dirty = resolve("linux", Context(store, progress), relative_to=tmp_path)
    assert progress.notes == [dirty.note]
    assert dirty.note == (
        "the uncommitted changes of 3 file(s) are included; "
        "1 file that git does not track is not included: mm/forgotten.c (git add includes it)"
    )
    assert files(dirty).keys() - files(clean).keys() == {"mm/staged.c"}
    assert files(clean).keys() - files(dirty).keys() == {"scripts/check.sh"}
    assert files(dirty)["mm/memory.c"] != files(clean)["mm/memory.c"]
    parent = git("rev-parse", f"{dirty.commit}^", repo=dirty.repo).text
    assert parent == clean.commit
    assert resolve("linux", Context(store, Quiet()), relative_to=tmp_path) == dirty
    assert (linux / ".git/index").read_bytes() == before
    assert not git("-C", str(linux), "cat-file", "-e", dirty.commit).ok


def test_work_tree_with_conflicts_is_refused(tmp_path: Path, store: Store) -> None:
    linux = make_repository(tmp_path / "linux")
    base = sh("git", "rev-parse", "HEAD", cwd=linux)
    replace(linux / "mm/memory.c", "a + 3", "a + 4")
    one = commit(linux, "one")
    sh("git", "checkout", "-q", base, cwd=linux)
    replace(linux / "mm/memory.c", "a + 3", "a + 5")
    commit(linux, "two")
    with pytest.raises(subprocess.CalledProcessError):
        sh("git", "merge", "-q", one, cwd=linux)
    with pytest.raises(UserError, match="conflicts"):
        resolve("linux", Context(store, Quiet()), relative_to=tmp_path)


def test_git_path_with_ref(tmp_path: Path, store: Store) -> None:
    linux = make_repository(tmp_path / "linux")
    first = sh("git", "rev-parse", "HEAD", cwd=linux)
    sh("git", "tag", "-a", "-m", "x", "v6.1", cwd=linux)
    replace(linux / "mm/memory.c", "a + 3", "a + 4")
    second = commit(linux, "two")
    for name, wanted in (
        ("v6.1", first),
        ("master", second),
        ("HEAD~1", first),
        (second[:10], second),
        (first, first),
    ):
        source = resolve(f"linux#{name}", Context(store, Quiet()), relative_to=tmp_path)
        assert source.commit == wanted
    progress = Recorder()
    resolve("linux#v6.1", Context(store, progress), relative_to=tmp_path)
    assert progress.steps == []


def test_git_url_fetches_a_tag_once_and_a_branch_anew(tmp_path: Path, store: Store) -> None:
    linux = make_repository(tmp_path / "linux")
    first = sh("git", "rev-parse", "HEAD", cwd=linux)
    sh("git", "tag", "-a", "-m", "x", "v6.1", cwd=linux)
    url = f"file://{linux}"
    assert resolve(f"{url}#v6.1", Context(store, Quiet()), relative_to=tmp_path).commit == first
    assert resolve(f"{url}#master", Context(store, Quiet()), relative_to=tmp_path).commit == first
    replace(linux / "mm/memory.c", "a + 3", "a + 4")
    second = commit(linux, "two")
    assert resolve(f"{url}#master", Context(store, Quiet()), relative_to=tmp_path).commit == second
    linux.rename(tmp_path / "moved")
    for name in ("v6.1", first, second):
        progress = Recorder()
        resolve(f"{url}#{name}", Context(store, progress), relative_to=tmp_path)
        assert progress.steps == []
    with pytest.raises(MachineError, match="could not be asked"):
        resolve(f"{url}#master", Context(store, Quiet()), relative_to=tmp_path)


def test_git_fetch_takes_no_history(tmp_path: Path, store: Store) -> None:
    linux = make_repository(tmp_path / "linux")
    first = sh("git", "rev-parse", "HEAD", cwd=linux)
    replace(linux / "mm/memory.c", "a + 3", "a + 4")
    commit(linux, "two")
    source = resolve("linux#HEAD", Context(store, Quiet()), relative_to=tmp_path)
    assert not git("cat-file", "-e", first, repo=source.repo).ok


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "nowhere",
        "debian:",
        "debian:bash",
        "debian:linux-source-6.1=",
        "debian:linux-source-6.1=../../x",
        "debian:linux-source-6.1=--help",
        "https://example.org/linux.git",
        "nowhere#v6.1",
        "linux#",
        "linux#--upload-pack=x",
        "file.txt",
    ],
)
def test_bad_spec_lists_the_forms(tmp_path: Path, store: Store, spec: str) -> None:
    make_repository(tmp_path / "linux")
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(UserError) as caught:
        resolve(spec, Context(store, Quiet()), relative_to=tmp_path)
    for form in ("debian:linux-source-6.1=", ".tar.xz", "#v6.1", "https://"):
        assert form in caught.value.hint


@pytest.mark.parametrize("name", ["no-such-tag", "deadbeef"])
def test_unknown_ref(tmp_path: Path, store: Store, name: str) -> None:
    linux = make_repository(tmp_path / "linux")
    for where in ("linux", f"file://{linux}"):
        with pytest.raises(UserError, match=name):
            resolve(f"{where}#{name}", Context(store, Quiet()), relative_to=tmp_path)


def test_not_a_kernel(tmp_path: Path, store: Store) -> None:
    tree = make_repository(tmp_path / "other")
    (tree / "Makefile").write_text("all:\n")
    commit(tree, "no kernel")
    with tarfile.open(tmp_path / "other.tar", "w") as tar:
        tar.add(tree / "mm", "other/mm")
    (tmp_path / "empty").mkdir()
    for spec in ("other", "other#HEAD", "other.tar", "empty"):
        with pytest.raises(UserError, match="not a Linux kernel tree"):
            resolve(spec, Context(store, Quiet()), relative_to=tmp_path)


@pytest.mark.parametrize("name", ["linux-6.1.tar", "linux-6.1.tar.xz", "linux-6.1.tar.gz"])
def test_damaged_tarball(tmp_path: Path, store: Store, name: str) -> None:
    path = make_tarball(tmp_path, name)
    whole = path.read_bytes()
    for data in (whole[: len(whole) // 2], b"garbage", b""):
        path.write_bytes(data)
        with pytest.raises(UserError, match=r"damaged"):
            resolve(name, Context(store, Quiet()), relative_to=tmp_path)
    path.write_bytes(whole)
    assert resolve(name, Context(store, Quiet()), relative_to=tmp_path).tree


@pytest.mark.parametrize("harm", ["cut before a header", "header damaged", "no end"])
def test_tarball_that_tarfile_would_take_for_whole(tmp_path: Path, store: Store, harm: str) -> None:
    path = make_tarball(tmp_path)
    data = bytearray(path.read_bytes())
    with tarfile.open(path) as tar:
        member = tar.getmembers()[-1]
    if harm == "cut before a header":
        del data[member.offset :]
    elif harm == "header damaged":
        data[member.offset + 150] ^= 0xFF  # its checksum
    else:
        end = member.offset_data + -(-member.size // 512) * 512
        del data[end:]
    path.write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        resolve(path.name, Context(store, Quiet()), relative_to=tmp_path)


@pytest.mark.parametrize("name", ["linux/../../x", "/abs", "linux/.git/config", "linux/a/.GIT/x"])
def test_tarball_with_a_path_that_has_no_place(tmp_path: Path, store: Store, name: str) -> None:
    path = make_tarball(tmp_path, prefix="linux")
    with tarfile.open(path, "a") as tar:
        member = tarfile.TarInfo(name)
        tar.addfile(member)
    with pytest.raises(UserError, match=r"no work tree may have|not a Linux kernel"):
        resolve(path.name, Context(store, Quiet()), relative_to=tmp_path)


def test_unreadable_repository_is_told(tmp_path: Path, store: Store) -> None:
    linux = make_tree(tmp_path / "linux")
    (linux / ".git").write_text("gitdir: /nowhere\n")
    with pytest.raises(UserError, match="work tree"):
        resolve("linux", Context(store, Quiet()), relative_to=tmp_path)


def test_variables_of_a_hook_have_no_say(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_repository(tmp_path / "linux")
    make_tree(tmp_path / "plain")
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_OBJECT_DIRECTORY"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    for spec in ("linux", "linux#master", "plain"):
        assert "mm/memory.c" in files(resolve(spec, Context(store, Quiet()), relative_to=tmp_path))
    assert not (tmp_path / "elsewhere").exists()


def test_unchanged_directory_is_not_read_again(tmp_path: Path, store: Store) -> None:
    tree = make_tree(tmp_path / "linux")
    old = time.time() - 3600
    for path in tree.rglob("*"):
        os.utime(path, (old, old), follow_symlinks=False)
    first = resolve("linux", Context(store, Quiet()), relative_to=tmp_path)
    index = next(store.place("directories").glob("*/index"))
    before = index.read_bytes()
    assert resolve("linux", Context(store, Quiet()), relative_to=tmp_path) == first
    assert index.read_bytes() == before


@pytest.mark.parametrize(
    ("makefile", "version"),
    [
        (b"VERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 176\nEXTRAVERSION =\n", "6.1.176"),
        (b"VERSION = 7\nPATCHLEVEL = 0\nSUBLEVEL = 0\nEXTRAVERSION = -rc3\n", "7.0.0-rc3"),
        (b"VERSION=6\nPATCHLEVEL=1\n", "6.1"),
        (b"all:\n", None),
        (b"VERSION =\nPATCHLEVEL =\n", None),
    ],
)
def test_kernel_version(makefile: bytes, version: str | None) -> None:
    assert kernel_version(makefile) == version


def test_ignored_files_that_a_build_needs_are_named(tmp_path: Path, store: Store) -> None:
    linux = make_repository(tmp_path / "linux")
    (linux / ".git/info/exclude").write_text("/*\n")
    assert resolve("linux", Context(store, Quiet()), relative_to=tmp_path).note is None
    for name in (
        "mm/one.c",
        "mm/two.h",
        "firmware/blob.bin",
        "fs/new/Makefile",
        "tags",
        ".cache/x",
    ):
        (linux / name).parent.mkdir(parents=True, exist_ok=True)
        (linux / name).write_text("x\n")
    before = sorted(linux.rglob("*"))
    found = resolve("linux", Context(store, Quiet()), relative_to=tmp_path)
    assert found.note == (
        "4 files that .gitignore covers are not included: "
        "firmware/blob.bin, fs/new/Makefile, mm/one.c and 1 more (git add --force includes them)"
    )
    assert sorted(linux.rglob("*")) == before
    sh("git", "add", "--force", "mm", "firmware", "fs", cwd=linux)
    added = resolve("linux", Context(store, Quiet()), relative_to=tmp_path)
    assert added.note == "the uncommitted changes of 4 file(s) are included"
    assert {"mm/one.c", "firmware/blob.bin", "fs/new/Makefile"} <= files(added).keys()


def test_what_a_build_has_made_is_no_source_that_was_left_out(tmp_path: Path, store: Store) -> None:
    linux = make_repository(tmp_path / "linux")
    (linux / ".git/info/exclude").write_text(
        ".*\n*.o\n*.lex.c\n/include/generated\nmade.c\nmine.c\n"
    )
    (linux / "include/generated").mkdir()
    for name in ("mm/.foo.o.cmd", "mm/foo.o", "scripts/a.lex.c", "include/generated/autoconf.h"):
        (linux / name).write_text("x\n")
    (linux / "mm/made.c").write_text("x\n")
    (linux / "mm/.made.c.cmd").write_text("cmd_mm/made.c := echo\n")
    assert resolve("linux", Context(store, Quiet()), relative_to=tmp_path).note is None
    (linux / "mm/mine.c").write_text("x\n")
    found = resolve("linux", Context(store, Quiet()), relative_to=tmp_path)
    assert found.note == (
        "1 file that .gitignore covers is not included: mm/mine.c (git add --force includes it)"
    )


def test_changes_that_git_was_told_not_to_see_are_named(tmp_path: Path, store: Store) -> None:
    linux = make_repository(tmp_path / "linux")
    sh("git", "update-index", "--assume-unchanged", "mm/memory.c", cwd=linux)
    replace(linux / "mm/memory.c", "a + 3", "a + 4")
    found = resolve("linux", Context(store, Quiet()), relative_to=tmp_path)
    assert found.note is not None
    assert "assume-unchanged are not included: mm/memory.c" in found.note


def test_a_kernel_that_its_repository_ignores_is_refused(tmp_path: Path, store: Store) -> None:
    linux = make_tree(tmp_path / "linux")
    sh("git", "init", "-q", "-b", "master", cwd=linux)
    (linux / ".gitignore").write_text("/*\n!/debian/\n")
    (linux / "debian").mkdir()
    (linux / "debian/rules").write_text("x\n")
    sh("git", "add", "debian", cwd=linux)
    sh("git", "commit", "-q", "-m", "packaging", cwd=linux)
    with pytest.raises(UserError, match="does not track the kernel") as caught:
        resolve("linux", Context(store, Quiet()), relative_to=tmp_path)
    assert "Makefile" in caught.value.why
    assert "add --all --force" in caught.value.hint


@pytest.mark.parametrize(
    "name",
    [
        "my linux",
        "\udcff",
        "a:b",
        'it\'s "quoted" $HOME #1 %s',
        "n\u00e4ive",
        "-dash",
        "a\\b",
        "~me",
    ],
)
@pytest.mark.parametrize("kind", ["directory", "changed", "ref", "tarball"])
def test_where_a_source_lies_is_no_matter(
    tmp_path: Path, store: Store, name: str, kind: str
) -> None:
    below = tmp_path / name
    below.mkdir()
    spec = f"./{name}"
    if kind == "directory":
        make_tree(below / "linux")
        spec += "/linux"
    elif kind == "tarball":
        with tarfile.open(below / f"{name}.tar", "w") as tar:
            tar.add(FAKELINUX, "linux")
        spec += f"/{name}.tar"
    else:
        make_repository(below / "linux")
        spec += "/linux" if kind == "changed" else "/linux#HEAD"
    found = resolve(spec, Context(store, Quiet()), relative_to=tmp_path)
    tree = found.tree
    assert found.note is None
    if kind == "changed":
        replace(below / "linux/mm/memory.c", "a + 3", "a + 4")
        changed = resolve(spec, Context(store, Quiet()), relative_to=tmp_path)
        assert changed.note == "the uncommitted changes of 1 file(s) are included"
        assert changed.tree != tree
    plain = make_repository(tmp_path / "plain")
    assert resolve("plain#HEAD", Context(store, Quiet()), relative_to=tmp_path).tree == tree, plain
