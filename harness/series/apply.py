# SPDX-License-Identifier: GPL-2.0-only
"""Applying a series with `git am -3`, once per base and series.

It happens in a sparse work tree that holds only the files which the patches touch, made for one
apply and removed after it: nothing can be left over in it, and the tree that is built in keeps its
times.  Committer and dates are fixed, so the same series on the same base has the same commit ids
on every machine.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from harness.errors import UserError
from harness.progress import Progress
from harness.series.failure import explain
from harness.series.model import AppliedPatch, Series, Tree
from harness.source.git import git, must, object_id
from harness.source.model import Source
from harness.store import Store

_AM = ("am", "-3", "--quiet", "--patch-format=mbox", "--no-gpg-sign", "--no-keep-cr")
_COMMITTER_DATES = "--committer-date-is-author-date"
_UNDATED = b"Date: Sat, 1 Jan 2000 00:00:00 +0000\n"
_LIMIT_S = 600


def apply(stack: Sequence[Series], source: Source, store: Store, progress: Progress) -> Tree:
    """Return the tree of *source* with all series of *stack* on it, the first at the bottom.

    Raises UserError, naming patch, file and hunk, for a series that does not apply; the next
    apply starts afresh.
    """
    tree = Tree(source.repo, source.commit, source.tree, source.commit, ())
    for series in stack:
        tree = _upon(tree, series, store, progress)
    return tree


def _upon(base: Tree, series: Series, store: Store, progress: Progress) -> Tree:
    ref = f"refs/applied/{base.commit}/{series.digest}"
    known = _tree(series, base, ref)
    if known:
        return known
    count = len(series.patches)
    with (
        store.lock(f"apply-{series.digest[:16]}", progress),
        progress.step(f"Applying {count} patch{'es' if count > 1 else ''}"),
        store.scratch("apply") as scratch,
    ):
        known = _tree(series, base, ref)
        if known:  # another run was faster
            return known
        commit = _am(series, base, scratch)
        # Last, so that a killed run leaves commits which nobody finds, and nothing else.
        must(git("update-ref", ref, commit, repo=base.repo), "git cannot keep the commits")
    tree = _tree(series, base, ref)
    if tree is None:
        raise UserError(
            "git am made another number of commits than there are patches",
            where=series.title,
            why=f"{count} patches",
            hint="one of the files may hold several patches",
        )
    return tree


def _tree(series: Series, base: Tree, ref: str) -> Tree | None:
    """Return what *ref* remembers, None if the series has not been applied to this base."""
    if object_id(base.repo, ref) is None:
        return None
    listed = must(
        git("log", "--reverse", "--format=%H %T %s", f"{base.commit}..{ref}", repo=base.repo),
        "the cache's git repository cannot be read",
    )
    rows = [line.split(" ", 2) for line in listed.text.splitlines()]
    if len(rows) != len(series.patches):
        return None
    return Tree(
        repo=base.repo,
        commit=rows[-1][0],
        tree=rows[-1][1],
        base_commit=base.base_commit,
        patches=base.patches
        + tuple(
            AppliedPatch(patch.number, subject, commit)
            for patch, (commit, _, subject) in zip(series.patches, rows, strict=True)
        ),
    )


def _am(series: Series, base: Tree, scratch: Path) -> str:
    """Run git am in a work tree of its own; return the last commit."""
    names = []
    for patch in series.patches:
        name = scratch / f"{patch.number:04d}.patch"
        name.write_bytes(_dated(patch.data))
        names.append(str(name))
    tree = scratch / "tree"
    # What killed runs have registered goes after a day; a younger one may be at work.
    git("worktree", "prune", "--expire=1.day.ago", repo=base.repo)
    must(
        git(
            "worktree", "add", "--quiet", "--no-checkout", "--detach", str(tree), base.commit,
            repo=base.repo,
        ),
        "git cannot make a work tree",
    )  # fmt: skip
    try:
        # Only what the patches touch is checked out.  It must be: git am would fetch a file that
        # is not, and its three-way merge would then take that for a local change.
        admin = Path(must(git("rev-parse", "--absolute-git-dir", cwd=tree), "no git dir").text)
        (admin / "info").mkdir(exist_ok=True)
        (admin / "info" / "sparse-checkout").write_bytes(_patterns(series))
        sparse = ("-c", "core.sparseCheckout=true")
        must(git(*sparse, "read-tree", "-m", "-u", "HEAD", cwd=tree), "git cannot read the tree")
        done = git(*sparse, *_AM, _COMMITTER_DATES, *names, cwd=tree, limit_s=_LIMIT_S)
        if not done.ok:
            raise _refusal(series, tree, admin, f"{done.text}\n{done.stderr}")
        return must(git("rev-parse", "HEAD", cwd=tree), "git cannot tell the commit").text
    finally:
        git("worktree", "remove", "--force", "--force", str(tree), repo=base.repo)


def _patterns(series: Series) -> bytes:
    """Return sparse-checkout patterns (gitignore(5)) for exactly the files of the series."""
    names = sorted({name for patch in series.patches for name in patch.files})
    lines = ["/" + re.sub(r"([\\*?\[ ])", r"\\\1", name) for name in names]
    return ("\n".join(lines) + "\n").encode(errors="surrogateescape")


def _refusal(series: Series, tree: Path, admin: Path, words: str) -> UserError:
    state = admin / "rebase-apply"
    at = 1
    with suppress(OSError, ValueError):
        at = int((state / "next").read_text())
    patch = series.patches[min(at, len(series.patches)) - 1]
    # The diff as git has decoded it; absent where it could not even be read.
    diff = state / "patch"
    return explain(patch, tree, diff.read_bytes() if diff.exists() else b"", words)


def _dated(data: bytes) -> bytes:
    """Give a mail without a date a fixed one: git would take the time of day."""
    head, _, _ = data.replace(b"\r\n", b"\n").partition(b"\n\n")
    if re.search(rb"^Date:", head, re.M | re.I):
        return data
    if data.startswith(b"From "):
        first, _, rest = data.partition(b"\n")
        return first + b"\n" + _UNDATED + rest
    return _UNDATED + data
