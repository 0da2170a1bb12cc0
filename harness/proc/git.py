# SPDX-License-Identifier: GPL-2.0-only
"""git as this project runs it: one bare repository in the cache, deaf to the user's settings.

All kernel trees live in one repository, so that two versions share what they have in common.
Nothing there depends on who runs it: no hooks, no signing, no line-end conversion, fixed dates.
No other module starts git, so that this holds of every call.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from harness.errors import MachineError
from harness.proc.environment import clean, user
from harness.proc.process import capture, host_trouble

IDENTITY = "kernel-selftest-harness <harness@localhost>"
"""Author and committer of imports; their date is 0, so that one tree has one commit id."""


_SETTINGS = Path(__file__).with_name("gitconfig")
"""Stands for the user's own file, so that processes which git starts get it too."""

_IDENTITY = {
    "GIT_AUTHOR_NAME": "kernel-selftest-harness",
    "GIT_AUTHOR_EMAIL": "harness@localhost",
    "GIT_AUTHOR_DATE": "@0 +0000",
    "GIT_COMMITTER_NAME": "kernel-selftest-harness",
    "GIT_COMMITTER_EMAIL": "harness@localhost",
    "GIT_COMMITTER_DATE": "@0 +0000",
}

_ALWAYS = {
    "GIT_TERMINAL_PROMPT": "0",
    # A repository of the user's is only read: `git status` would rewrite its index.
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_PAGER": "cat",
}

_ISOLATED = {
    "GIT_CONFIG_GLOBAL": str(_SETTINGS),
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ATTR_NOSYSTEM": "1",
    **_IDENTITY,
}

_OVER_REPOSITORY = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false")
"""What a repository's own settings must not turn on: programs of its owner's."""


_HALF_MADE = re.compile(r"failed to read \S.*/worktrees/[^/]+/commondir: Success$", re.M)
"""What any command says that looks at the work trees while ``git worktree add`` makes another one:
git creates that file, and then writes it."""
_HALF_MADE_S = 0.05
_TRIES = 40


class GitResult(msgspec.Struct, frozen=True):
    """A git command that has ended."""

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: str

    @property
    def ok(self) -> bool:
        """Whether git ended with status 0."""
        return self.status == 0

    @property
    def text(self) -> str:
        """Standard output without the last line end; bytes that are not UTF-8 survive as is."""
        return self.stdout.decode(errors="surrogateescape").rstrip("\n")


def environment(*, as_user: bool = False) -> dict[str, str]:
    """Return the whole environment for git: with the user's settings, or with none of them."""
    if as_user:
        return user() | _ALWAYS
    return clean() | _ALWAYS | _ISOLATED


def git_argv(*args: str, repo: Path | None = None) -> list[str]:
    """Return the command line of git with *args*, for *repo* or for the directory it runs in."""
    where = [f"--git-dir={repo}"] if repo else []
    return ["git", *_OVER_REPOSITORY, *where, *args]


def git(
    *args: str,
    repo: Path | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    limit_s: float = 120,
    as_user: bool = False,
) -> GitResult:
    """Run git and return how it ended; a status other than 0 is the caller's to judge.

    With *as_user*, which is for repositories on other machines, the user's own settings count: his
    proxies, credentials and url.insteadOf; otherwise none do.  *env* is added to the environment.
    Raises MachineError when git is missing, runs longer than *limit_s* seconds, or has no disk
    space.
    """
    for left in reversed(range(_TRIES)):
        ended = capture(
            git_argv(*args, repo=repo),
            cwd=cwd,
            env={**environment(as_user=as_user), **(env or {})},
            stdin=stdin,
            limit_s=limit_s,
        )
        words = ended.stderr.decode(errors="replace").strip()
        done = GitResult(ended.argv, ended.status, ended.stdout, words)
        if done.ok or not left or not _HALF_MADE.search(words):
            break
        time.sleep(_HALF_MADE_S)
    if trouble := host_trouble(done.stderr, repo, cwd, status=done.status):
        raise trouble
    return done


def must(done: GitResult, what: str, *, hint: str = "") -> GitResult:
    """Return *done*, or raise MachineError *what* with git's last words."""
    if done.ok:
        return done
    raise MachineError(
        what,
        where=" ".join(done.argv),
        why="\n".join((done.stderr or done.text).splitlines()[-15:])
        or f"exit status {done.status}",
        hint=hint,
    )


def object_id(repo: Path, revision: str) -> str | None:
    """Return the full id of *revision* (such as ``REF^{tree}``) in *repo*, None if not there."""
    done = git("rev-parse", "--quiet", "--verify", "--end-of-options", revision, repo=repo)
    return done.text if done.ok else None


def borrow(repository: Path, at: Path) -> Path:
    """Make a bare repository *at* a new place that has the objects of *repository*; return it.

    Nothing that is done there is seen in the other one.
    """
    objects = must(git("rev-parse", "--git-path", "objects", cwd=repository), "no objects").text
    shallow = must(git("rev-parse", "--git-path", "shallow", cwd=repository), "no git dir").text
    must(git("init", "--quiet", "--bare", "--template=", str(at)), "git cannot create a repository")
    (at / "objects" / "info").mkdir(exist_ok=True)
    (at / "objects" / "info" / "alternates").write_text(f"{(repository / objects).resolve()}\n")
    if (repository / shallow).is_file():
        (at / "shallow").write_bytes((repository / shallow).read_bytes())
    return at
