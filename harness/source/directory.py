# SPDX-License-Identifier: GPL-2.0-only
"""A kernel tree in a directory, imported as it is now.

A separate index, kept between runs, detects changes: git's stat cache compares size, times and
inode of each file and reads only those that differ.  Nothing is written into the directory.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from harness.context import Context
from harness.digest import digest
from harness.errors import UserError
from harness.foreign import of_os
from harness.proc.git import git, must, object_id
from harness.progress import Step
from harness.source import leftout
from harness.source.fastimport import (
    EXECUTABLE,
    REGULAR,
    SYMLINK,
    FastImport,
    kernel_version,
    not_a_kernel,
)
from harness.source.remote import fetch_commit
from harness.source.repository import LOCK, drop_unfinished
from harness.store import Store

_STEP_FILES = 500


def resolve_directory(
    path: Path, spec: str, repo: Path, context: Context
) -> tuple[str, str, str | None]:
    """Return the ref, the description and the note of the tree at *path*, importing changes.

    In a git work tree the import is HEAD with the uncommitted changes of tracked files; files that
    git ignores or does not track are left out, and the note says so.  In any other directory
    every file counts, ignored or not.  Raises UserError if it is no kernel tree or cannot be read.
    """
    try:
        makefile = (path / "Makefile").read_bytes()
    except OSError:
        makefile = b""
    version = kernel_version(makefile)
    if version is None:
        raise not_a_kernel(spec)
    if (path / ".git").exists():
        return _work_tree(path, spec, version, repo, context)
    _refuse_built(path, spec)
    ref = f"refs/sources/directory/{digest(str(path))[:16]}"
    with (
        context.lock(LOCK),
        context.step(f"Reading {spec}") as step,
    ):
        drop_unfinished(repo)
        index = context.store.place("directories", digest(str(path))[:16]) / "index"
        index.with_suffix(".lock").unlink(missing_ok=True)  # of a killed run: the lock is ours
        env = {"GIT_INDEX_FILE": str(index)}
        if not index.exists() or object_id(repo, ref) is None:
            # One pack for the first time; the index then finds every object there already.
            _stream(path, repo, ref, f"Linux {version}", step)
            must(git("read-tree", ref, repo=repo, env=env), "git cannot write an index")
        step.update("comparing")
        added = git(
            f"--work-tree={path}", "add", "--all", "--force", "--", ".",
            repo=repo, cwd=path, env=env, limit_s=1800,
        )  # fmt: skip
        if not added.ok:
            raise UserError("the source cannot be read", where=spec, why=added.stderr)
        tree = must(git("write-tree", repo=repo, env=env), "git cannot write the tree").text
        if object_id(repo, f"{ref}^{{tree}}") != tree:
            _refuse_nested(repo, env, spec)
            commit = git("commit-tree", "-m", f"Linux {version}", tree, repo=repo)
            must(commit, "git cannot write the commit")
            must(git("update-ref", ref, commit.text, repo=repo), "git cannot store the commit")
    return ref, str(path), None


def _stream(path: Path, repo: Path, ref: str, message: str, step: Step) -> None:
    count = 0
    with FastImport(repo) as target:
        for top, names, files in os.walk(path):
            if ".git" in names:
                raise _nested(os.path.relpath(top, path))
            base = os.fsencode(os.path.relpath(top, path) + "/") if top != str(path) else b""
            links = [name for name in names if Path(top, name).is_symlink()]
            for name in files + links:
                full = Path(top, name)
                try:
                    mode = full.lstat().st_mode
                    if stat.S_ISLNK(mode):
                        # pathlib would normalise the target; git keeps it unchanged.
                        to = os.fsencode(os.readlink(full))  # noqa: PTH115
                        target.add(base + os.fsencode(name), SYMLINK, to)
                    elif stat.S_ISREG(mode):
                        kind = EXECUTABLE if mode & 0o100 else REGULAR
                        target.add(base + os.fsencode(name), kind, full.read_bytes())
                except FileNotFoundError:
                    continue  # it was removed meanwhile; the comparison below handles that
                except OSError as error:
                    raise of_os(error, "the source cannot be read", full, kind=UserError) from error
                count += 1
                if count % _STEP_FILES == 0:
                    step.update(f"{count} files")
        target.commit(ref, message)


def _refuse_built(path: Path, spec: str) -> None:
    """Refuse a tree that the kernel's Makefile refuses to build out of tree (`outputmakefile`)."""
    for name in (".config", "include/config"):
        if (path / name).exists():
            raise UserError(
                "the source directory has build results",
                where=spec,
                why=f"it holds {name}, so the kernel's Makefile would refuse it",
                hint=f"make -C {spec} mrproper",
            )


def _nested(name: str) -> UserError:
    return UserError(
        "the source holds another git repository",
        where=name,
        why="git would import a reference to it, and lose its files",
        hint="move it out of the kernel tree",
    )


def _refuse_nested(repo: Path, env: dict[str, str], spec: str) -> None:
    listed = must(git("ls-files", "--stage", "-z", repo=repo, env=env), "the index is unreadable")
    for row in listed.text.split("\0"):
        if row.startswith("160000 "):
            raise _nested(f"{spec}/{row.split(chr(9), 1)[1]}")


def _work_tree(
    path: Path, spec: str, version: str, repo: Path, context: Context
) -> tuple[str, str, str | None]:
    head = git("rev-parse", "--verify", "--quiet", "HEAD^{commit}", cwd=path)
    if not head.ok:
        raise UserError(
            "the source is a git work tree without a commit that can be read",
            where=spec,
            why=head.stderr,
        )
    status = git(
        "status", "--porcelain=v2", "-z", "--untracked-files=normal", "--no-renames",
        "--ignore-submodules=all",
        cwd=path, limit_s=300,
    )  # fmt: skip
    if not status.ok:
        raise UserError("the state of the source cannot be read", where=spec, why=status.stderr)
    rows = [row for row in status.stdout.split(b"\0") if row]
    if any(row.startswith(b"u ") for row in rows):
        raise UserError(
            "the source has files with unresolved conflicts",
            where=spec,
            hint="finish or abort the merge, or name a commit: PATH#REF",
        )
    untracked = [os.fsdecode(row[2:]) for row in rows if row.startswith(b"? ")]
    # 1 XY SUB MODE MODE MODE ID ID PATH (git-status(1), porcelain format 2)
    changed = [row.split(b" ", 8)[8] for row in rows if row.startswith(b"1 ")]
    ref = fetch_commit(str(path), head.text, repo, context)
    description = f"{path} at {head.text[:12]}"
    notes = []
    if changed:
        ref = _with_changes(path, version, changed, head.text, repo, context.store)
        description += " with uncommitted changes"
        notes.append(f"the uncommitted changes of {len(changed)} file(s) are included")
    if object_id(repo, f"{ref}:Makefile") is None:
        raise leftout.not_tracked(path, spec)
    notes += leftout.notes(path, untracked, spec)
    return ref, description, "; ".join(notes) or None


def _with_changes(
    path: Path, version: str, changed: list[bytes], head: str, repo: Path, store: Store
) -> str:
    with store.scratch("index") as scratch:
        env = {"GIT_INDEX_FILE": str(scratch / "index")}
        must(git("read-tree", head, repo=repo, env=env), "git cannot write an index")
        listed = git(
            f"--work-tree={path}", "update-index", "--add", "--remove", "-z", "--stdin",
            repo=repo, cwd=path, env=env, stdin=b"\0".join(changed) + b"\0",
        )  # fmt: skip
        if not listed.ok:
            raise UserError("the source cannot be read", where=str(path), why=listed.stderr)
        tree = must(git("write-tree", repo=repo, env=env), "git cannot write the tree").text
    message = f"Linux {version} with uncommitted changes"
    commit = must(
        git("commit-tree", "-p", head, "-m", message, tree, repo=repo),
        "git cannot write the commit",
    ).text
    ref = f"refs/sources/directory/{digest(str(path))[:16]}-{commit}"
    must(git("update-ref", ref, commit, repo=repo), "git cannot store the commit")
    return ref
