# SPDX-License-Identifier: GPL-2.0-only
"""Work trees that stay checked out between runs, so that an incremental build stays one.

Moving to another commit rewrites only the files that differ; all others keep their modification
time, which is what make looks at.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path

from harness.errors import MachineError
from harness.proc.git import git, must
from harness.progress import Progress

_LIMIT_S = 1800
_MAKING_S = 60
_OWN_PARTS = 3
"""Of a work tree's path those that are its own: a slot's name, ``src`` and ``.git``."""


def checkout(repo: Path, commit: str, path: Path, progress: Progress) -> None:
    """Make the work tree at *path* hold exactly the files of *commit*, and nothing else.

    It is created if absent, and again if it cannot be moved.  The caller holds the lock of the
    place it is in.  Whatever was built or edited in it is removed.  Raises MachineError if git
    fails, or if *path* holds something that is no work tree of *repo*.
    """
    _remove_half_made(repo)
    _follow_moved(repo, path)
    if _is_usable(repo, path):
        _remove_stale_locks(repo, path)
        if _move(commit, path):
            return
        progress.note(f"The work tree {path} was damaged and is created again")
    _create(repo, commit, path, progress)


def _remove_half_made(repo: Path) -> None:
    """Remove what git has begun to make and never finished, as it was killed.

    While it is there, other commands fail: see :data:`harness.proc.git._HALF_MADE`.
    """
    for file in (repo / "worktrees").glob("*/commondir"):
        with contextlib.suppress(OSError):
            state = file.stat()
            if not state.st_size and time.time() - state.st_mtime > _MAKING_S:
                shutil.rmtree(file.parent, ignore_errors=True)


def _is_usable(repo: Path, path: Path) -> bool:
    admin = _linked_admin(path)
    return admin is not None and admin.parent.parent == repo and (admin / "HEAD").is_file()


def _linked_admin(path: Path) -> Path | None:
    """Return the directory that the work tree's .git file names."""
    try:
        text = (path / ".git").read_text()
    except (OSError, UnicodeDecodeError):
        return None
    return Path(text[len("gitdir: ") :].strip()) if text.startswith("gitdir: ") else None


def _follow_moved(repo: Path, path: Path) -> None:
    """Join work tree and repository again where both were moved, or copied, together.

    Each names the other by an absolute path.  What is at the old place, if anything, is left alone.
    """
    linked = _linked_admin(path)
    admin = repo / "worktrees" / linked.name if linked else None
    if linked is None or admin is None or linked == admin or not (admin / "gitdir").is_file():
        return
    before = Path((admin / "gitdir").read_text().strip())
    # The same place of the same cache, by its name there.
    if before.parts[-_OWN_PARTS:] == (path / ".git").parts[-_OWN_PARTS:]:
        (path / ".git").write_text(f"gitdir: {admin}\n")
        (admin / "gitdir").write_text(f"{path / '.git'}\n")
        # Copies are other files to git, which would write all of them again, with new times.
        git("update-index", "-q", "--refresh", cwd=path, limit_s=_LIMIT_S)


def _registered_admins(repo: Path, path: Path) -> list[Path]:
    """Return the directories in which *repo* keeps the state of a work tree at *path*."""
    found = []
    for gitdir in (repo / "worktrees").glob("*/gitdir"):
        try:
            if Path(gitdir.read_text().strip()) == path / ".git":
                found.append(gitdir.parent)
        except OSError:
            continue
    return found


def _remove_stale_locks(repo: Path, path: Path) -> None:
    """Remove what a killed run has left: the caller's lock says that no other is at work."""
    for admin in _registered_admins(repo, path):
        for name in ("index.lock", "HEAD.lock", "ORIG_HEAD.lock"):
            (admin / name).unlink(missing_ok=True)


def _move(commit: str, path: Path) -> bool:
    """Check out *commit* in place; False if this work tree cannot be brought there."""
    moved = git("checkout", "--quiet", "--detach", "--force", commit, cwd=path, limit_s=_LIMIT_S)
    # Twice -f, or git keeps a repository that was put inside.
    if not moved.ok or not git("clean", "-ffdxq", cwd=path, limit_s=_LIMIT_S).ok:
        return False
    state = git("status", "--porcelain", "--untracked-files=no", cwd=path, limit_s=_LIMIT_S)
    head = git("rev-parse", "HEAD", cwd=path)
    return state.ok and not state.stdout and head.text == commit


def _create(repo: Path, commit: str, path: Path, progress: Progress) -> None:
    admins = _registered_admins(repo, path)
    linked = _linked_admin(path)
    if linked is not None and linked.parent.parent == repo:
        admins.append(linked)
    elif not admins and path.exists() and any(path.iterdir()):
        # Only what is known to be ours may be thrown away.
        raise MachineError(
            "the path of a work tree is used by something else",
            where=str(path),
            hint="move it away",
        )
    with progress.step("Checking out the kernel source"):
        for admin in admins:
            shutil.rmtree(admin, ignore_errors=True)
        shutil.rmtree(path, ignore_errors=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        must(
            git(
                "worktree", "add", "--quiet", "--force", "--detach", str(path), commit,
                repo=repo, limit_s=_LIMIT_S,
            ),
            "the kernel source cannot be checked out",
        )  # fmt: skip
