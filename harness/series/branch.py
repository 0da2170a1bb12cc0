# SPDX-License-Identifier: GPL-2.0-only
"""Applies a series in the user's repository: on a new branch, or on the branch of a work tree.

The commits are made in a separate repository that borrows the user's objects, and are fetched when
all patches have applied.  So a series that does not apply, or a killed run, leaves nothing in the
user's repository: no branch, no work tree, no unfinished `git am`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from harness.errors import UserError
from harness.proc.git import GitResult, borrow, git, must
from harness.series.apply import am
from harness.series.model import Series, Stack, Trailer, Tree

_LIMIT_S = 600
_DONE = "refs/harness/applied"
_UNFINISHED = ("rebase-apply", "rebase-merge", "MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD")


class Applied(msgspec.Struct, frozen=True):
    """The result in the user's repository."""

    branch: str
    """The new branch, or the branch of the work tree; empty for a detached HEAD."""
    base: str
    """The commit on which the series was applied."""
    commit: str
    """The last of the new commits."""
    count: int
    notes: tuple[str, ...]


def apply_into(
    stack: Stack, repository: Path, *, branch: str = "", base: str = "", trailers: bool = False
) -> Applied:
    """Apply *stack* on the commit *base* of *repository*, or HEAD; return the result.

    With *branch* a branch of that name is created and no work tree is touched; without it, the work
    tree moves to the new commits, and must be clean.  With *trailers* the trailers of replies are
    added to the messages, except those that name another person than the reply's sender.
    Raises UserError, and changes nothing, if the series does not apply or the repository is not
    ready for it.
    """
    top = _top(repository, bare=bool(branch))
    if branch:
        _check_branch(repository, branch)
    elif base:
        raise UserError(
            "another base than HEAD needs a new branch",
            where=f"--base {base}",
            hint="add --branch NAME",
        )
    else:
        _check_clean(top)
    start = object_id_in(top, f"{base or 'HEAD'}^{{commit}}")
    if start is None:
        raise UserError("the repository has no such commit", where=f"{top}: {base or 'HEAD'}")
    committer, notes = _committer(top)
    notes += tuple(_base_notes(stack, top, start, named=bool(base)))
    with tempfile.TemporaryDirectory(prefix="series-") as name:
        scratch = Path(name)
        aside = borrow(top, scratch / "git")
        tip = start
        for number, series in enumerate(stack.series):
            place = scratch / str(number)
            place.mkdir()
            wanted = with_trailers(series) if trailers else series
            tree = Tree(aside, tip, "", start, ())
            tip = am(wanted, tree, place, committer=committer)
        must(git("update-ref", _DONE, tip, repo=aside), "git cannot store the commits")
        target = _fetch(top, aside, branch)
    if not branch:
        _must_be_user(
            git("merge", "--quiet", "--ff-only", tip, cwd=top, limit_s=_LIMIT_S),
            "the work tree cannot be moved to the new commits",
            top,
        )
    return Applied(target, start, tip, len(stack.patches), notes)


def with_trailers(series: Series) -> Series:
    """Return *series* with the trailers of replies at the end of its messages."""

    def add(data: bytes, trailers: Sequence[Trailer]) -> bytes:
        message, mark, diff = data.partition(b"\n---\n\n")
        text = message.decode(errors="surrogateescape").rstrip("\n")
        there = set(text.splitlines())
        lines = dict.fromkeys(f"{each.name}: {each.value}" for each in trailers if not each.foreign)
        new = [line for line in lines if line not in there]
        if not new:
            return data
        last = text.rpartition("\n\n")[2].splitlines()
        gap = "\n" if all(_is_trailer(line) for line in last) else "\n\n"
        return (text + gap + "\n".join(new)).encode(errors="surrogateescape") + mark + diff

    patches = tuple(
        msgspec.structs.replace(patch, data=add(patch.data, (*patch.trailers, *series.trailers)))
        for patch in series.patches
    )
    return msgspec.structs.replace(series, patches=patches)


def _is_trailer(line: str) -> bool:
    name, mark, _ = line.partition(": ")
    return bool(mark) and name.replace("-", "").isalpha() and name[:1].isupper()


def object_id_in(top: Path, revision: str) -> str | None:
    """Return the full id of *revision* in the repository at *top*, None if it is not there."""
    done = git("rev-parse", "--quiet", "--verify", "--end-of-options", revision, cwd=top)
    return done.text if done.ok else None


def _top(repository: Path, *, bare: bool) -> Path:
    """Return the directory in which git is called."""
    if not repository.is_dir():
        raise UserError("there is no such repository", where=str(repository))
    inside = git("rev-parse", "--is-inside-work-tree", cwd=repository)
    if not inside.ok:
        raise UserError("this is no git repository", where=str(repository), why=inside.stderr)
    if inside.text == "true":
        return Path(git("rev-parse", "--show-toplevel", cwd=repository).text)
    if not bare:
        raise UserError(
            "this repository has no work tree",
            where=str(repository),
            hint="add --branch NAME to have a new branch made",
        )
    return repository


def _check_branch(repository: Path, branch: str) -> None:
    if branch.startswith("-") or not git("check-ref-format", "--branch", branch).ok:
        raise UserError("this is not a valid branch name", where=f"--branch {branch}")
    there = object_id_in(repository, f"refs/heads/{branch}")
    if there:
        raise UserError(
            f"the branch '{branch}' already exists",
            where=str(repository),
            why=f"it is at {there[:12]}",
            hint=f"choose another name, or remove it: git branch -D {branch}",
        )


def _check_clean(top: Path) -> None:
    admin = Path(must(git("rev-parse", "--absolute-git-dir", cwd=top), "no git directory").text)
    if under_way := [name for name in _UNFINISHED if (admin / name).exists()]:
        raise UserError(
            "another git operation is in progress in the work tree",
            where=str(top),
            why=f"{admin / under_way[0]} is there",
            hint="finish it first (git status shows how), or add --branch NAME",
        )
    state = git("status", "--porcelain", "--untracked-files=no", cwd=top, limit_s=_LIMIT_S)
    if not state.ok or state.stdout:
        raise UserError(
            "the work tree has changes that are not committed",
            where=str(top),
            why="\n".join(state.text.splitlines()[:8]) or state.stderr,
            hint="commit them, or add --branch NAME, which touches no work tree",
        )


def _committer(top: Path) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """Return git's variables for the user as committer, and a note if git has no name for them."""
    who = git("var", "GIT_COMMITTER_IDENT", cwd=top, as_user=True)
    name, _, rest = who.text.rpartition(" <")
    mail, mark, date = rest.partition("> ")
    if who.ok and name and mark:
        return {
            "GIT_COMMITTER_NAME": name,
            "GIT_COMMITTER_EMAIL": mail,
            "GIT_COMMITTER_DATE": date,
        }, ()
    own = ("the committer is the harness, because git has no name for you (git config user.name)",)
    return {"GIT_COMMITTER_NAME": "kernel-selftest-harness"}, own


def _base_notes(stack: Stack, top: Path, start: str, *, named: bool) -> Sequence[str]:
    wanted = stack.series[0].base_commit if stack.series else ""
    if not wanted:
        return ()
    there = object_id_in(top, f"{wanted}^{{commit}}")
    if there == start:
        return ()
    if there is None:
        return (f"the series is for base-commit {wanted}, which this repository does not have",)
    offer = "" if named else f"; --base {wanted[:12]} --branch NAME applies it there"
    return (f"the series is for base-commit {wanted}, but is applied to {start[:12]}{offer}",)


def _fetch(top: Path, aside: Path, branch: str) -> str:
    into = f"refs/heads/{branch}" if branch else ""
    _must_be_user(
        git(
            "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance",
            "--no-recurse-submodules", str(aside), f"{_DONE}:{into}",
            cwd=top, limit_s=_LIMIT_S,
        ),
        "the commits cannot be fetched into the repository",
        top,
    )  # fmt: skip
    if branch:
        return branch
    return git("symbolic-ref", "--quiet", "--short", "HEAD", cwd=top).text


def _must_be_user(done: GitResult, what: str, top: Path) -> None:
    if not done.ok:
        raise UserError(what, where=str(top), why=done.stderr)
