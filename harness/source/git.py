# SPDX-License-Identifier: GPL-2.0-only
"""git as this project runs it: one bare repository in the cache, deaf to the user's settings.

All kernel trees live in one repository, so that two versions share what they have in common.
Nothing there depends on who runs it: no hooks, no signing, no line-end conversion, fixed dates.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import MachineError
from harness.process import disk_full, kill_group, out_of_space, which
from harness.progress import Progress
from harness.store import Store

IDENTITY = "kernel-selftest-harness <harness@localhost>"
"""Author and committer of imports; their date is 0, so that one tree has one commit id."""

LOCK = "git"
"""The store's lock that every import of a tree holds: packs that are not finished belong to it."""

_CONFIG = """\
[core]
	repositoryformatversion = 0
	filemode = true
	bare = true
	compression = 1
	autocrlf = false
	attributesFile = /dev/null
	excludesFile = /dev/null
	hooksPath = /dev/null
	logAllRefUpdates = false
[pack]
	compression = 1
[gc]
	auto = 0
[maintenance]
	auto = false
[fetch]
	writeCommitGraph = false
[advice]
	detachedHead = false
"""
# A pack of Linux 6.1 is 291 MB at compression 1 and 1.3 GB at 0; importing takes 5 s of processor
# time more, once.

_ATTRIBUTES = "* -text -ident !eol !filter !working-tree-encoding !merge\n"
# Files come out of the repository exactly as they went in, whatever a .gitattributes says.

_ISOLATED = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": "kernel-selftest-harness",
    "GIT_AUTHOR_EMAIL": "harness@localhost",
    "GIT_AUTHOR_DATE": "@0 +0000",
    "GIT_COMMITTER_NAME": "kernel-selftest-harness",
    "GIT_COMMITTER_EMAIL": "harness@localhost",
    "GIT_COMMITTER_DATE": "@0 +0000",
}

_REPOSITORY_VARIABLES = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_CONFIG",
        "GIT_CONFIG_COUNT",
        "GIT_CONFIG_PARAMETERS",
        "GIT_DIR",
        "GIT_GRAFT_FILE",
        "GIT_IMPLICIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_NAMESPACE",
        "GIT_NO_REPLACE_OBJECTS",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_QUARANTINE_PATH",
        "GIT_REPLACE_REF_BASE",
        "GIT_SHALLOW_FILE",
        "GIT_WORK_TREE",
    }
)
"""What `git rev-parse --local-env-vars` lists (git 2.39): set when we are called from a hook."""


@dataclass(frozen=True)
class GitResult:
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
    """Return the whole environment for git: the user's settings, or none of them."""
    if as_user:
        kept = {k: v for k, v in os.environ.items() if k not in _REPOSITORY_VARIABLES}
        return kept | {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C.UTF-8"}
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    return kept | _ISOLATED | {"LC_ALL": "C.UTF-8"}


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

    With *as_user* the user's own settings count (his proxies and credentials for a fetch, his
    safe.directory for his repository); otherwise none do.  Raises MachineError when git is
    missing, runs longer than *limit_s* seconds, or has no disk space.
    """
    which("git")
    argv = ["setpriv", "--pdeathsig", "TERM", "--", "git"]
    if not as_user:
        # The cache may be on a disk that another user (root in a container) has written.
        argv += ["-c", "safe.directory=*"]
    if repo is not None:
        argv.append(f"--git-dir={repo}")
    argv += args
    child = subprocess.Popen(
        argv,
        cwd=cwd,
        env={**environment(as_user=as_user), **(env or {})},
        stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        stdout, stderr = child.communicate(stdin, timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise MachineError(
            f"git {args[0]} did not end within {limit_s:.0f} s and was killed",
            where=" ".join(argv[4:]),
        ) from None
    finally:
        kill_group(child)
        for pipe in (child.stdin, child.stderr):
            if pipe:
                pipe.close()
    done = GitResult(
        tuple(argv[4:]), child.returncode, stdout, stderr.decode(errors="replace").strip()
    )
    if not done.ok and out_of_space(done.stderr, repo, cwd):
        raise disk_full(str(repo or cwd or ""))
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


def open_repository(store: Store, progress: Progress) -> Path:
    """Return the bare repository of the cache, made if absent."""
    repo = store.place("git") / "linux.git"
    if (repo / "HEAD").is_file():
        return repo
    with store.lock(LOCK, progress), store.scratch("git") as work:
        if not (repo / "HEAD").is_file():
            fresh = work / "linux.git"
            must(
                git("init", "--quiet", "--bare", "--template=", str(fresh)),
                "the cache's git repository cannot be made",
            )
            (fresh / "config").write_text(_CONFIG)
            (fresh / "info").mkdir(exist_ok=True)
            (fresh / "info" / "attributes").write_text(_ATTRIBUTES)
            fresh.rename(repo)
    return repo


def drop_unfinished(repo: Path) -> None:
    """Remove the packs that a killed import has left; hold :data:`LOCK`."""
    for pattern in ("objects/pack/tmp_*", "fast_import_crash_*", "shallow.lock"):
        for path in repo.glob(pattern):
            path.unlink(missing_ok=True)
    # A ref is written in microseconds: whose lock is older than a minute was killed meanwhile.
    now = time.time()
    for path in (repo / "refs").rglob("*.lock"):
        if now - path.stat().st_mtime > 60:
            path.unlink(missing_ok=True)


def import_once(
    repo: Path, ref: str, build: Callable[[], None], store: Store, progress: Progress
) -> None:
    """Call *build*, which makes *ref*, unless it is there; of two runs that want it, one builds."""
    if object_id(repo, ref):
        return
    with store.lock(LOCK, progress):
        if object_id(repo, ref) is None:
            drop_unfinished(repo)
            build()
