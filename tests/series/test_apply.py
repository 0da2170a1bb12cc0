# SPDX-License-Identifier: GPL-2.0-only
"""Applying a series: the same commits everywhere, and errors that name the place."""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.context import Context
from harness.errors import UserError
from harness.proc.git import git
from harness.progress import Quiet
from harness.series import Tree, apply, read
from harness.source import Source, resolve
from harness.store import Store
from tests.kerneltree import Recorder, commit, format_patch, make_repository, replace, sh
from tests.series import mails as m

pytestmark = pytest.mark.unit


def show(tree: Tree, name: str) -> str:
    return git("cat-file", "blob", f"{tree.commit}:{name}", repo=tree.repo).text


def worktrees(source: Source) -> int:
    listed = git("worktree", "list", "--porcelain", repo=source.repo).text
    return listed.count("worktree ") - 1  # the bare repository itself


def test_applies_all_kinds_of_change(
    patches: Path, source: Source, store: Store, linux: Path
) -> None:
    tree = apply([read(patches)], source, Context(store, Quiet()))
    assert tree.tree == sh("git", "rev-parse", "HEAD^{tree}", cwd=linux)
    assert [(p.number, p.subject) for p in tree.patches] == [
        (1, "mm: change three"),
        (2, "mm: add, rename, delete"),
        (3, "mm: change nine"),
    ]
    assert tree.patches[-1].commit == tree.commit
    assert tree.base_commit == source.commit
    assert "return a + 99;" in show(tree, "mm/memory.c")
    assert worktrees(source) == 0


def test_none_is_the_base(source: Source, store: Store) -> None:
    tree = apply([], source, Context(store, Quiet()))
    assert (tree.commit, tree.tree, tree.patches) == (source.commit, source.tree, ())


def test_second_time_runs_nothing(patches: Path, source: Source, store: Store) -> None:
    series = read(patches)
    first = apply([series], source, Context(store, Quiet()))
    progress = Recorder()
    start = time.monotonic()
    assert apply([series], source, Context(store, progress)) == first
    assert time.monotonic() - start < 1  # 0.03 s; the bound is for a busy machine
    assert progress.steps == []


def test_same_ids_in_another_cache_at_another_time(
    patches: Path, source: Source, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = apply([read(patches)], source, Context(store, Quiet()))
    monkeypatch.setenv("GIT_COMMITTER_NAME", "Someone Else")
    monkeypatch.setenv("GIT_COMMITTER_DATE", "@1234567890 +0000")
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    store2 = Store(tmp_path / "cache2")
    source2 = resolve("linux#HEAD~3", Context(store2, Quiet()), relative_to=tmp_path)
    again = apply([read(patches)], source2, Context(store2, Quiet()))
    assert [p.commit for p in again.patches] == [p.commit for p in first.patches]


def test_a_mail_without_date_gives_the_same_id(
    patches: Path, source: Source, store: Store, tmp_path: Path
) -> None:
    for file in patches.glob("*.patch"):
        lines = file.read_bytes().split(b"\n")
        file.write_bytes(b"\n".join(line for line in lines if not line.startswith(b"Date: ")))
    first = apply([read(patches)], source, Context(store, Quiet()))
    date = git("log", "-1", *m.RAW_DATES, first.commit, repo=first.repo).text
    assert date == m.NO_DATE


def test_user_settings_have_no_say(
    patches: Path,
    source: Source,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Hooks, signing, line ends, am.*, and the variables that git sets for a hook."""
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("applypatch-msg", "pre-applypatch", "post-applypatch", "post-checkout"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/hook-ran\nexit 1\n")
        (hooks / name).chmod(0o755)
    config = tmp_path / "home" / ".gitconfig"
    config.parent.mkdir()
    config.write_text(
        f"[core]\n\thooksPath = {hooks}\n\tautocrlf = true\n[commit]\n\tgpgsign = true\n"
        "[am]\n\tthreeWay = false\n\tmessageid = true\n\tkeepcr = true\n[apply]\n"
        "\twhitespace = error\n[i18n]\n\tcommitEncoding = ISO-8859-1\n"
    )
    monkeypatch.setenv("HOME", str(config.parent))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "elsewhere/index"))
    monkeypatch.setenv("GIT_WORK_TREE", "/")
    tree = apply([read(patches)], source, Context(store, Quiet()))
    assert "Message-Id" not in git("log", "-1", "--format=%B", tree.commit, repo=tree.repo).text
    assert not (tmp_path / "hook-ran").exists()
    assert len(tree.patches) == 3


def test_three_way(linux: Path, patches: Path, store: Store, tmp_path: Path) -> None:
    """The base has changed beside a hunk: plain apply fails, the merge of blobs does not."""
    other = tmp_path / "other"
    sh("git", "clone", "-q", str(linux), str(other), cwd=tmp_path)
    sh("git", "checkout", "-q", "HEAD~3", cwd=other)
    replace(other / "mm/memory.c", "int memory_2(int a)", "long memory_2(int a)")
    replace(other / "mm/memory.c", "int memory_4(int a)\n{", "long memory_4(int a)\n{")
    replace(other / "mm/shmem.c", "int shmem_4(int a)", "long shmem_4(int a)")
    commit(other, "the base moves")
    resolve(
        "linux#HEAD~3", Context(store, Quiet()), relative_to=tmp_path
    )  # brings the patches' blobs
    base = resolve("other#HEAD", Context(store, Quiet()), relative_to=tmp_path)
    memory = git("cat-file", "blob", f"{base.commit}:mm/memory.c", repo=base.repo).text
    assert "long memory_4" in memory
    tree = apply([read(patches)], base, Context(store, Quiet()))
    assert "return a + 33;" in show(tree, "mm/memory.c")
    assert "long memory_2" in show(tree, "mm/memory.c")
    assert "long shmem_4" in show(tree, "mm/shmem2.c")


def test_refusal_names_patch_file_and_hunk_then_next_apply_works(
    linux: Path, patches: Path, source: Source, store: Store, tmp_path: Path
) -> None:
    other = make_repository(tmp_path / "other")
    replace(other / "mm/memory.c", "return a + 9;", "return 9 * a;")
    replace(other / "mm/shmem.c", "return a + 5;", "return 5 * a;")
    commit(other, "a base that does not fit")
    base = resolve("other", Context(store, Quiet()), relative_to=tmp_path)
    series = read(patches)
    with pytest.raises(UserError) as caught:
        apply([series], base, Context(store, Quiet()))
    assert caught.value.what == 'patch 2/3 "mm: add, rename, delete" does not apply'
    assert caught.value.where.endswith("0002-mm-add-rename-delete.patch")
    why = caught.value.why
    assert "mm/shmem.c: hunk @@ -28,7 +28,7 @@ int shmem_4(int a)" in why
    assert "the patch expects:\n    \treturn a + 5;" in why
    assert "the tree has at line 31:\n    \treturn 5 * a;" in why
    lines = series.patches[1].path.read_text().splitlines()
    number = int(why.split(", line ")[1].split(" of the patch")[0])
    assert lines[number - 1].startswith("@@ -28,7 +28,7 @@")
    assert worktrees(base) == 0
    assert len(apply([series], source, Context(store, Quiet())).patches) == 3


def test_refusal_names_all_files(
    patches: Path, source: Source, store: Store, tmp_path: Path
) -> None:
    """A new file that exists, a deleted one that does not."""
    other = make_repository(tmp_path / "other")
    (other / "mm/memfd.c").write_text("already\n")
    (other / "scripts/check.sh").unlink()
    commit(other, "a base that does not fit")
    base = resolve("other", Context(store, Quiet()), relative_to=tmp_path)
    with pytest.raises(UserError) as caught:
        apply([read(patches)], base, Context(store, Quiet()))
    assert "mm/memfd.c: already exists in index" in caught.value.why
    assert "scripts/check.sh: does not exist in index" in caught.value.why


def test_white_space_damage_is_told(patches: Path, source: Source, store: Store) -> None:
    file = next(patches.glob("*0003-*.patch"))
    file.write_bytes(file.read_bytes().replace(b"\treturn", b"        return"))
    with pytest.raises(UserError) as caught:
        apply([read(patches)], source, Context(store, Quiet()))
    assert "with other white space" in caught.value.why
    assert "use the original" in caught.value.hint


def mail(diff: str) -> bytes:
    head = "From: Eve <eve@example.org>\nDate: Mon, 1 Jan 2024 00:00:00 +0000\n"
    return (head + "Subject: [PATCH] mm: innocent\n\nText.\n---\n" + diff + "-- \n2.39\n").encode()


def new_file(name: str, mode: str = "100644", text: str = "evil") -> str:
    return (
        f"diff --git a/{name} b/{name}\nnew file mode {mode}\nindex 000000000000..111111111111\n"
        f"--- /dev/null\n+++ b/{name}\n@@ -0,0 +1 @@\n+{text}\n"
    )


@pytest.mark.parametrize("name", ["../../escaped", ".git/hooks/x", "mm/../../escaped", ".GIT/x"])
def test_paths_outside_the_tree_are_refused(
    source: Source, store: Store, tmp_path: Path, name: str
) -> None:
    file = tmp_path / "evil.patch"
    file.write_bytes(mail(new_file(name)))
    before = {path for path in store.root.rglob("*") if "objects" not in path.parts}
    with pytest.raises(UserError, match='"mm: innocent" reaches outside the tree'):
        apply([read(file)], source, Context(store, Quiet()))
    after = {path for path in store.root.rglob("*") if "objects" not in path.parts}
    assert {path.suffix for path in after - before} <= {".lock"}
    assert not list(tmp_path.rglob("escaped"))


def test_a_link_is_not_followed(source: Source, store: Store, tmp_path: Path) -> None:
    target = tmp_path / "outside"
    target.mkdir()
    link = new_file("mm/way", "120000", str(target)).rstrip("\n")
    file = tmp_path / "evil.patch"
    file.write_bytes(mail(link + "\n\\ No newline at end of file\n" + new_file("mm/way/passwd")))
    with pytest.raises(UserError, match='"mm: innocent"'):
        apply([read(file)], source, Context(store, Quiet()))
    assert list(target.iterdir()) == []


def test_a_file_below_a_link_of_the_series_is_refused_before_anything_is_applied(
    tmp_path: Path,
) -> None:
    link = new_file("mm/way", "120000", "../include").rstrip("\n")
    link += "\n\\ No newline at end of file\n"
    for number, diff in enumerate((link, new_file("mm/way/passwd")), 1):
        data = mail(diff).replace(b"[PATCH]", b"[PATCH %d/2]" % number)
        (tmp_path / f"{number}.patch").write_bytes(data)
    with pytest.raises(UserError, match=r"patch 2/2 .* reaches outside the tree") as caught:
        read(tmp_path)
    assert "mm/way is a symbolic link" in caught.value.why


@pytest.mark.parametrize(
    "diff",
    [
        "diff --git a/mm/x b/../x\nsimilarity index 100%\nrename from mm/x\nrename to ../x\n",
        'diff --git "a/.g\\151t/x" "b/.g\\151t/x"\n--- /dev/null\n+++ "b/.g\\151t/x"\n'
        "@@ -0,0 +1 @@\n+evil\n",
        "--- a/mm/x\n+++ b/mm/sub/.Git/config\n@@ -0,0 +1 @@\n+evil\n",
        "--- /dev/null\n+++ /etc/passwd\n@@ -0,0 +1 @@\n+evil\n",
    ],
)
def test_other_ways_to_write_elsewhere(tmp_path: Path, diff: str) -> None:
    file = tmp_path / "evil.patch"
    file.write_bytes(mail(diff))
    with pytest.raises(UserError, match='"mm: innocent" reaches outside the tree'):
        read(file)


def test_what_is_in_the_tree_already_is_told(
    linux: Path, patches: Path, source: Source, store: Store, tmp_path: Path
) -> None:
    series = read(patches)
    whole = resolve("linux#HEAD", Context(store, Quiet()), relative_to=tmp_path)
    with pytest.raises(UserError) as caught:
        apply([series], whole, Context(store, Quiet()))
    first = 'patch 1/3 "mm: change three" is already in the tree'
    assert caught.value.what == f"{first}, and so are 2 more"
    assert "--series none" in caught.value.hint
    assert caught.value.where.endswith("0001-mm-change-three.patch")
    part = resolve("linux#HEAD~2", Context(store, Quiet()), relative_to=tmp_path)
    with pytest.raises(UserError) as caught:
        apply([series], part, Context(store, Quiet()))
    assert caught.value.what == first
    assert "leave it out" in caught.value.hint
    with pytest.raises(UserError, match="is already in the tree"):
        apply([series, read(patches, upto=1)], source, Context(store, Quiet()))
    assert worktrees(source) == 0
    assert len(apply([series], source, Context(store, Quiet())).patches) == 3


def test_what_is_in_the_tree_with_other_lines_around_it(
    linux: Path, patches: Path, source: Source, store: Store, tmp_path: Path
) -> None:
    """Only the merge of blobs finds that out: git am makes no commit, and says that all is well."""
    other = tmp_path / "other"
    sh("git", "clone", "-q", str(linux), str(other), cwd=tmp_path)
    sh("git", "checkout", "-q", "HEAD~2", cwd=other)
    replace(other / "mm/memory.c", "int memory_4(int a)", "long memory_4(int a)")
    commit(other, "the base moves")
    base = resolve("other#HEAD", Context(store, Quiet()), relative_to=tmp_path)
    with pytest.raises(UserError, match='patch 1/3 "mm: change three" is already in the tree'):
        apply([read(patches)], base, Context(store, Quiet()))


@pytest.mark.parametrize("pack", [None, gzip.compress])
def test_a_conflict_in_an_mbox_names_mail_and_line(
    patches: Path,
    store: Store,
    tmp_path: Path,
    pack: Callable[[bytes], bytes] | None,
) -> None:
    mbox = tmp_path / "all.mbox"
    data = b"".join(file.read_bytes() for file in sorted(patches.glob("*.patch")))
    mbox.write_bytes(pack(data) if pack else data)
    other = make_repository(tmp_path / "other")
    replace(other / "mm/shmem.c", "return a + 5;", "return 5 * a;")
    commit(other, "a base that does not fit")
    base = resolve("other", Context(store, Quiet()), relative_to=tmp_path)
    with pytest.raises(UserError) as caught:
        apply([read(mbox)], base, Context(store, Quiet()))
    assert caught.value.where == f"{mbox}, mail 3"  # the cover letter is the first
    at = int(caught.value.why.split(", line ")[1].split(" of all.mbox")[0])
    assert data.decode().splitlines()[at - 1].startswith("@@ -28,7 +28,7 @@")


def test_the_base_that_a_series_names_is_told(patches: Path, store: Store, tmp_path: Path) -> None:
    cover = next(patches.glob("*0000-*"))
    cover.write_bytes(cover.read_bytes() + b"base-commit: " + b"ab" * 20 + b"\n")
    other = make_repository(tmp_path / "other")
    replace(other / "mm/memory.c", "return a + 3;", "return 3 * a;")
    commit(other, "a base that does not fit")
    base = resolve("other", Context(store, Quiet()), relative_to=tmp_path)
    with pytest.raises(UserError) as caught:
        apply([read(patches)], base, Context(store, Quiet()))
    assert f"base-commit {'ab' * 20}" in caught.value.hint


def test_crlf_mail_and_utf8_author(
    linux: Path, source: Source, store: Store, tmp_path: Path
) -> None:
    replace(linux / "mm/memory.c", "return a + 3;", "return a + 33; /* naïve */")
    message = "mm: ünïcode " + "long " * 30 + "end\n\n" + "A line. " * 40
    commit(linux, message, GIT_AUTHOR_NAME="Žofie Ünal")
    (file,) = format_patch(linux, tmp_path / "one", "--from=S <s@example.org>", count=1)
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    tree = apply([read(file)], source, Context(store, Quiet()))
    told = git("log", "-1", "--format=%an%n%B", tree.commit, repo=tree.repo).text
    assert told.split("\n", 1)[0] == "Žofie Ünal"
    assert " ".join(told.split("\n", 1)[1].split()) == " ".join(message.split())
    assert tree.tree == sh("git", "rev-parse", "HEAD^{tree}", cwd=linux)


def test_upto_is_a_tree_of_its_own(patches: Path, source: Source, store: Store) -> None:
    whole = apply([read(patches)], source, Context(store, Quiet()))
    part = apply([read(patches, upto=2)], source, Context(store, Quiet()))
    assert part.commit == whole.patches[1].commit
    assert part.tree != whole.tree


def test_killed_runs_leave_nothing_in_the_way(patches: Path, source: Source, store: Store) -> None:
    """A registered work tree whose directory has gone does not stop an apply, and is pruned."""
    gone = store.place("gone") / "tree"
    git("worktree", "add", "--detach", "--no-checkout", str(gone), source.commit, repo=source.repo)
    (gone / ".git").unlink()
    gone.rmdir()
    for path in (source.repo / "worktrees").rglob("*"):
        os.utime(path, (1, 1))
    assert len(apply([read(patches)], source, Context(store, Quiet())).patches) == 3
    assert worktrees(source) == 0
