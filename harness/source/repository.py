# SPDX-License-Identifier: GPL-2.0-only
"""The one bare repository of the cache, in which all kernel trees live."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from harness.context import Context
from harness.proc.git import git, must, object_id
from harness.store import Store

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


def where(store: Store) -> Path:
    """Return the path of the repository, which may not exist yet."""
    return store.place("git") / "linux.git"


def open_repository(context: Context) -> Path:
    """Return the bare repository of the cache, made if absent."""
    repo = where(context.store)
    if (repo / "HEAD").is_file():
        return repo
    with context.lock(LOCK), context.store.scratch("git") as work:
        if not (repo / "HEAD").is_file():
            fresh = work / "linux.git"
            must(
                git("init", "--quiet", "--bare", "--template=", str(fresh)),
                "the cache's git repository cannot be created",
            )
            (fresh / "config").write_text(_CONFIG)
            (fresh / "info").mkdir(exist_ok=True)
            (fresh / "info" / "attributes").write_text(_ATTRIBUTES)
            fresh.rename(repo)
    return repo


def drop_unfinished(repo: Path) -> None:
    """Remove the packs of a killed import; hold :data:`LOCK`."""
    for pattern in ("objects/pack/tmp_*", "fast_import_crash_*", "shallow.lock"):
        for path in repo.glob(pattern):
            path.unlink(missing_ok=True)
    # A ref is written in microseconds: whose lock is older than a minute was killed meanwhile.
    now = time.time()
    for path in (repo / "refs").rglob("*.lock"):
        if now - path.stat().st_mtime > 60:
            path.unlink(missing_ok=True)


def import_once(repo: Path, ref: str, build: Callable[[], None], context: Context) -> None:
    """Call *build*, which makes *ref*, unless it is there; of two runs that want it, one builds."""
    if object_id(repo, ref):
        return
    with context.lock(LOCK):
        if object_id(repo, ref) is None:
            drop_unfinished(repo)
            build()
