# SPDX-License-Identifier: GPL-2.0-only
"""`git bisect` over the commits of a repository, without touching it.

git selects the next commit and the result, so merges and skipped commits are handled as in any
`git bisect`.  It works in a bare repository that borrows the objects of the user's repository.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from harness.errors import UserError
from harness.proc.git import borrow, git, must

Term = Literal["good", "bad", "skip"]

_HEAD = "BISECT_HEAD"
_FOUND = re.compile(r"^# first bad commit: \[([0-9a-f]+)\]", re.M)
_POSSIBLE = re.compile(r"^# possible first bad commit: \[([0-9a-f]+)\]", re.M)
_LEFT = re.compile(r"^Bisecting: (\d+) revisions? left .*\(roughly (\d+) steps?\)", re.M)
_BASES_BAD = "The merge base"
_NO_CHECKOUT = "'--no-checkout' "
_LIMIT_S = 600


class Commit(msgspec.Struct, frozen=True):
    """A commit, for display."""

    id: str
    subject: str
    author: str
    parents: tuple[str, ...]

    @property
    def short(self) -> str:
        """Its first 12 digits."""
        return self.id[:12]


class Bisection:
    """A bisection in progress, in its own directory."""

    def __init__(self, repository: Path, at: Path, bad: str, good: Sequence[str]) -> None:
        """Begin one in *at* over commits of *repository*; UserError if git refuses."""
        self._repo = borrow(repository, at)
        self._steps = 0
        self._left = 0
        self._stuck = ""
        must(git("update-ref", "--no-deref", "HEAD", bad, repo=self._repo), "git takes no commit")
        self._do("start", "--no-checkout", bad, *good)

    def mark(self, commit: str, term: Term) -> None:
        """Mark *commit* as *term*; UserError if git refuses because of earlier marks."""
        self._do(term, commit)

    def _do(self, *args: str) -> None:
        done = git("bisect", *args, repo=self._repo, cwd=self._repo, limit_s=_LIMIT_S)
        said = f"{done.text}\n{done.stderr}"
        if _BASES_BAD in said and "bad" in said.partition(_BASES_BAD)[2].splitlines()[0]:
            self._stuck = " ".join(said.split())
        elif not done.ok and not (self.first_bad or self.possible):
            raise UserError("git cannot bisect these commits", why=said.strip())
        left = _LEFT.search(said)
        self._left, self._steps = (int(left[1]), int(left[2])) if left else (0, 0)

    @property
    def next(self) -> str | None:
        """The next commit to test; None when the bisection has ended."""
        if self.first_bad or self.possible or self._stuck:
            return None
        done = git("rev-parse", "--verify", "--quiet", _HEAD, repo=self._repo)
        return done.text if done.ok else None

    @property
    def first_bad(self) -> str:
        """The first bad commit; empty until it is found."""
        found = _FOUND.search(self._log)
        return found[1] if found else ""

    @property
    def possible(self) -> tuple[str, ...]:
        """The candidates for the first bad commit if only skipped ones are left."""
        return tuple(_POSSIBLE.findall(self._log))

    @property
    def stuck(self) -> str:
        """Git's error if it cannot continue: the merge base of good and bad is bad."""
        return self._stuck

    @property
    def left(self) -> tuple[int, int]:
        """The number of commits left, and the estimated number of steps."""
        return self._left, self._steps

    @property
    def _log(self) -> str:
        done = git("bisect", "log", repo=self._repo, cwd=self._repo)
        return done.text if done.ok else ""

    @property
    def log(self) -> str:
        """The output of `git bisect log`; `git bisect replay` accepts it in any clone."""
        return self._log.replace(_NO_CHECKOUT, "") + "\n"


def commits_between(repository: Path, good: str, bad: str) -> list[str]:
    """Return the commits that *bad* has and *good* does not have, each after its parents."""
    listed = must(
        git(
            "rev-list", "--topo-order", "--reverse", bad, f"^{good}",
            cwd=repository, limit_s=_LIMIT_S,
        ),
        "git cannot list the commits",
    )  # fmt: skip
    return listed.text.split()


def commit_of(repository: Path, revision: str, option: str) -> Commit:
    """Return the commit of *revision*, the value of *option*; UserError if there is none."""
    done = git(
        "log", "-1", "--no-show-signature", "--format=%H%x00%P%x00%an <%ae>%x00%s",
        "--end-of-options", f"{revision}^{{commit}}",
        cwd=repository,
    )  # fmt: skip
    if not done.ok:
        raise UserError(
            f"the repository has no commit {revision}",
            where=f"{option} {revision} in {repository}",
            why=done.stderr,
        )
    name, parents, author, subject = done.text.split("\0", 3)
    return Commit(name, subject, author, tuple(parents.split()))


def is_ancestor(repository: Path, old: str, new: str) -> bool:
    """Return whether *old* is an ancestor of *new*."""
    return git("merge-base", "--is-ancestor", old, new, cwd=repository, limit_s=_LIMIT_S).ok
