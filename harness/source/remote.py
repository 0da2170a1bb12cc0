# SPDX-License-Identifier: GPL-2.0-only
"""A commit of another git repository, by path or URL: only that commit's files are fetched.

For a repository on another machine the user's own git settings count: his proxies, his credentials,
his url.insteadOf.
"""

from __future__ import annotations

import re
from pathlib import Path

from harness.context import Context
from harness.digest import digest
from harness.errors import MachineError, UserError
from harness.proc.git import git, must, object_id
from harness.source.model import bad_spec
from harness.source.repository import import_once

_FULL_ID = re.compile(r"[0-9a-f]{40}\Z")
_FETCH_LIMIT_S = 3600


def resolve_git(
    where: str, name: str, spec: str, repo: Path, context: Context
) -> tuple[str, str, str | None]:
    """Return the ref, the description and no note for *name* in the repository *where*.

    In a repository on this machine *name* is any revision; in a remote one it is a tag, a branch
    or a full commit id.  A branch is asked for at each run; a tag or an id that is in the cache is
    not.  Raises UserError if there is no such name, MachineError if the repository cannot be
    reached.
    """
    if not name or name.startswith("-") or where.startswith("-"):
        raise bad_spec(spec, "after # comes a commit, a tag or a branch")
    is_tag = False
    if Path(where).is_dir():
        commit = _local(where, name, spec)
    else:
        commit, is_tag = _remote(where, name, spec, repo)
    ref = fetch_commit(where, commit, repo, context)
    if is_tag:
        kept = git("update-ref", _tag_ref(where, name), commit, repo=repo)
        must(kept, "git cannot store the tag")
    return ref, f"{where} at {name} ({commit[:12]})", None


def fetch_commit(where: str, commit: str, repo: Path, context: Context) -> str:
    """Fetch the files of *commit*, without history, unless they are there; return its ref."""
    ref = f"{_prefix(where)}/commit/{commit}"

    def fetch() -> None:
        if object_id(repo, f"{commit}^{{tree}}"):
            must(git("update-ref", ref, commit, repo=repo), "git cannot store the commit")
            return
        with context.step(f"Fetching {commit[:12]} from {where}"):
            done = git(
                "-c", "fetch.prune=false", "-c", "fetch.pruneTags=false",
                "fetch", "--quiet", "--depth=1", "--no-tags", "--no-write-fetch-head",
                "--no-recurse-submodules", "--no-auto-maintenance", "--",
                where, f"+{commit}:{ref}",
                repo=repo, as_user=not _is_here(where), limit_s=_FETCH_LIMIT_S,
            )  # fmt: skip
            if not done.ok:
                raise MachineError(
                    f"the commit {commit[:12]} could not be fetched", where=where, why=done.stderr
                )

    import_once(repo, ref, fetch, context)
    return ref


def _local(where: str, name: str, spec: str) -> str:
    arguments = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    found = git(*arguments, cwd=Path(where))
    if not found.ok:
        raise UserError(
            f"the repository has no commit {name}",
            where=spec,
            why=found.stderr,
            hint=f"git -C {where} log --oneline -1 {name}",
        )
    return found.text


def _remote(where: str, name: str, spec: str, repo: Path) -> tuple[str, bool]:
    """Return the commit and whether *name* is a tag, which will not move."""
    if _FULL_ID.match(name):
        return name, False
    known = object_id(repo, f"{_tag_ref(where, name)}^{{commit}}")
    if known:
        return known, True
    wanted = (f"refs/tags/{name}^{{}}", f"refs/tags/{name}", f"refs/heads/{name}", name)
    listed = git(
        "ls-remote", "--quiet", "--", where, *wanted, as_user=not _is_here(where), limit_s=120
    )
    if not listed.ok:
        raise MachineError(
            "the git repository could not be asked for its branches and tags",
            where=spec,
            why=listed.stderr,
            hint="a full commit id after # needs no network once it has been fetched",
        )
    rows = {}
    for row in listed.text.splitlines():
        commit, _, full = row.partition("\t")
        rows[full] = commit
    for full in wanted:
        if full in rows:
            return rows[full], full.startswith("refs/tags/")
    raise UserError(
        f"the repository has no tag or branch {name}",
        where=spec,
        hint="of a remote repository, a commit is named by its full 40 digits",
    )


def _is_here(where: str) -> bool:
    """Whether the repository *where* is on this machine, so that no settings are needed for it."""
    return where.startswith("file://") or Path(where).is_dir()


def _prefix(where: str) -> str:
    return f"refs/sources/git/{digest(where)[:16]}"


def _tag_ref(where: str, name: str) -> str:
    return f"{_prefix(where)}/tag/{digest(name)[:16]}"
