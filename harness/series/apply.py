# SPDX-License-Identifier: GPL-2.0-only
"""Applying a series with `git am -3`, once per base and series.

Each apply uses a new sparse work tree with only the files that the patches touch, and removes it
afterwards.  So no state is left over, and the build tree keeps its time stamps.  Committer and
dates are fixed, so the same series on the same base has the same commit ids on every machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from harness.context import Context
from harness.errors import MachineError, UserError
from harness.proc.git import git, must, object_id
from harness.series.failure import explain, is_in_the_tree
from harness.series.links import check_links
from harness.series.model import AppliedPatch, Patch, Series, Tree
from harness.source.model import Source

_AM = ("am", "-3", "--patch-format=mboxrd", "--no-gpg-sign", "--keep-cr")
_COMMITTER_DATES = "--committer-date-is-author-date"
_APPLYING = "Applying: "
_THERE = "No changes -- Patch already applied."
_FROM = re.compile(rb"^(>*From )", re.M)
_LIMIT_S = 600


def apply(stack: Sequence[Series], source: Source, context: Context) -> Tree:
    """Return the tree of *source* with all series of *stack* on it, the first at the bottom.

    Raises UserError, naming patch, file and hunk, for a series that does not apply; the next
    apply starts from a clean work tree.
    """
    tree = Tree(source.repo, source.commit, source.tree, source.commit, ())
    for series in stack:
        tree = _upon(tree, series, context)
    return tree


def _upon(base: Tree, series: Series, context: Context) -> Tree:
    ref = f"refs/applied/{base.commit}/{series.digest}"
    known = _tree(series, base, ref)
    if known:
        return known
    count = len(series.patches)
    with (
        context.lock(f"apply-{series.digest[:16]}"),
        context.step(f"Applying {count} patch{'es' if count > 1 else ''}"),
        context.store.scratch("apply") as scratch,
    ):
        known = _tree(series, base, ref)
        if known:  # another run was faster
            return known
        commit = am(series, base, scratch)
        # Last, so that a killed run leaves commits without a name, and nothing else.
        must(git("update-ref", ref, commit, repo=base.repo), "git cannot store the commits")
    tree = _tree(series, base, ref)
    if tree is None:
        raise MachineError(
            "git am made a different number of commits than there are patches",
            where=series.title,
            why=f"{count} patches",
        )
    return tree


def _tree(series: Series, base: Tree, ref: str) -> Tree | None:
    """Return the tree that *ref* names, None if the series was not applied to this base yet."""
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


def am(
    series: Series, base: Tree, scratch: Path, *, committer: Mapping[str, str] | None = None
) -> str:
    """Run git am in a work tree of its own in *scratch*; return the last commit.

    *committer* has git's variables for the committer; without it the harness is the committer, with
    the authors' dates.  Raises UserError, naming patch, file and hunk, for a series that does
    not apply.
    """
    names = []
    for patch in series.patches:
        name = scratch / f"{patch.number:04d}.patch"
        # An mboxrd of one mail: git would take a line of the message for the next one's first.
        name.write_bytes(
            b"From harness Thu Jan  1 00:00:00 1970\n" + _FROM.sub(rb">\1", patch.data)
        )
        names.append(str(name))
    tree = scratch / "tree"
    # Remove work trees of killed runs after a day; a younger one may be in use.
    git("worktree", "prune", "--expire=1.day.ago", repo=base.repo)
    must(
        git(
            "worktree", "add", "--quiet", "--no-checkout", "--detach", str(tree), base.commit,
            repo=base.repo,
        ),
        "git cannot create a work tree",
    )  # fmt: skip
    try:
        # Only what the patches touch is checked out.  It must be: git am would fetch a file that
        # is not, and its three-way merge would then take that for a local change.
        admin = Path(must(git("rev-parse", "--absolute-git-dir", cwd=tree), "no git dir").text)
        (admin / "info").mkdir(exist_ok=True)
        (admin / "info" / "sparse-checkout").write_bytes(_patterns(series))
        sparse = ("-c", "core.sparseCheckout=true")
        must(git(*sparse, "read-tree", "-m", "-u", "HEAD", cwd=tree), "git cannot read the tree")
        dates = () if committer else (_COMMITTER_DATES,)
        done = git(*sparse, *_AM, *dates, *names, cwd=tree, env=committer, limit_s=_LIMIT_S)
        if not done.ok:
            raise _refusal(series, tree, admin, f"{done.text}\n{done.stderr}")
        there = _already_there(series, done.text)
        if there:
            raise is_in_the_tree(there, len(series.patches))
        tip = must(git("rev-parse", "HEAD", cwd=tree), "git cannot print the commit").text
        check_links(series, base.repo, base.commit, tip)
        return tip
    finally:
        git("worktree", "remove", "--force", "--force", str(tree), repo=base.repo)


def _patterns(series: Series) -> bytes:
    """Return sparse-checkout patterns (gitignore(5)) for exactly the files of the series."""
    names = sorted({name for patch in series.patches for name in patch.files})
    lines = ["/" + re.sub(r"([\\*?\[ ])", r"\\\1", name) for name in names]
    return ("\n".join(lines) + "\n").encode(errors="surrogateescape")


def _refusal(series: Series, tree: Path, admin: Path, words: str) -> UserError:
    at = 1
    with suppress(OSError, ValueError):
        at = int((admin / "rebase-apply" / "next").read_text())
    there = _already_there(series, words)
    return explain(series, min(at, len(series.patches)) - 1, tree, words, there)


def _already_there(series: Series, words: str) -> list[Patch]:
    """Return the patches whose changes the tree already has, according to git am."""
    there: list[Patch] = []
    count = 0
    for line in words.splitlines():
        if line.startswith(_APPLYING):
            count += 1
        elif line == _THERE and 0 < count <= len(series.patches):
            there.append(series.patches[count - 1])
    return there
