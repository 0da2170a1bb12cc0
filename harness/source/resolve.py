# SPDX-License-Identifier: GPL-2.0-only
"""Resolve a source specification to a commit in the cache."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from harness.context import Context
from harness.digest import digest_file
from harness.errors import MachineError
from harness.proc.git import git, object_id
from harness.source.debian import resolve_debian
from harness.source.directory import resolve_directory
from harness.source.download import is_tarball_url, resolve_download
from harness.source.fastimport import kernel_version, not_a_kernel
from harness.source.model import Source, bad_spec
from harness.source.remote import resolve_git
from harness.source.repository import import_once, open_repository
from harness.source.tarball import decompressor, import_tarball

_URL = re.compile(r"[a-z][a-z0-9+.-]*://|[^/\s]+@?[^/\s]+:(?!//)")


def resolve_first(specs: Sequence[str], context: Context, *, relative_to: Path) -> Source:
    """Return the first of several sources that is available; see :func:`resolve`.

    Its note says which ones could not, and why.  Raises MachineError that names them all where
    none can, and UserError for a spec that cannot be understood.
    """
    missing: list[tuple[str, MachineError]] = []
    for spec in specs:
        try:
            found = resolve(spec, context, relative_to=relative_to)
        except MachineError as error:
            if len(specs) == 1:
                raise
            missing.append((spec, error))
            continue
        if not missing:
            return found
        gone = "; ".join(f"{each}: {error.what}" for each, error in missing)
        note = f"the kernel source is {spec}, because others are not available ({gone})"
        context.note(note)
        return msgspec.structs.replace(found, note="; ".join(filter(None, (note, found.note))))
    raise MachineError(
        "none of the kernel sources is available",
        where=", ".join(specs),
        why="\n".join(f"{spec}:\n{error}" for spec, error in missing),
        hint="connect this machine to one of them, or name a tree that you have: --source DIR",
    )


def resolve(spec: str, context: Context, *, relative_to: Path) -> Source:
    """Return the kernel tree that *spec* names, imported into the cache if it is not there.

    Paths are relative to *relative_to*.  A note about what was taken is told to *progress* as
    well.  Raises UserError for a spec that names nothing or no kernel (see
    :data:`harness.source.model.FORMS`), MachineError when a network, apt or git fails.
    """
    repo = open_repository(context)
    ref, description, note = _resolve(spec, repo, context, relative_to)
    commit, tree = object_id(repo, f"{ref}^{{commit}}"), object_id(repo, f"{ref}^{{tree}}")
    if commit is None or tree is None:
        raise MachineError(
            "the cache's git repository is damaged",
            where=f"{repo} {ref}",
            hint="remove it: it will be created again",
        )
    makefile = git("cat-file", "blob", f"{commit}:Makefile", repo=repo)
    version = kernel_version(makefile.stdout) if makefile.ok else None
    if version is None:
        raise not_a_kernel(spec)
    if note:
        context.note(note)
    return Source(spec, repo, commit, tree, f"Linux {version} ({description})", note)


def _resolve(
    spec: str, repo: Path, context: Context, relative_to: Path
) -> tuple[str, str, str | None]:
    if not spec.strip() or "\0" in spec or "\n" in spec:
        raise bad_spec(spec, "it is empty, or has a line end in it")
    if spec.startswith("debian:"):
        return resolve_debian(spec, repo, context)
    path = (relative_to / _at_home(spec)).absolute()
    if path.is_dir():
        return resolve_directory(path.resolve(), spec, repo, context)
    if path.is_file():
        return _resolve_tarball(path, spec, repo, context)
    where, mark, name = spec.rpartition("#")
    if is_tarball_url(where or spec):
        return resolve_download(where or spec, name if mark else "", spec, repo, context)
    if not mark:
        why = "a URL needs #REF at its end" if _URL.match(spec) else f"there is no {path}"
        raise bad_spec(spec, why)
    local = (relative_to / _at_home(where)).absolute()
    if local.is_dir():
        where = str(local.resolve())
    elif not _URL.match(where):
        raise bad_spec(spec, f"there is no directory {local}")
    return resolve_git(where, name, spec, repo, context)


def _at_home(name: str) -> str:
    """Return *name* with the home directory for ``~`` at its beginning, if there is such a user.

    Unlike ``Path.expanduser()`` it leaves ``./~name`` alone, and raises nothing.
    """
    return os.path.expanduser(name)  # noqa: PTH111


def _resolve_tarball(
    path: Path, spec: str, repo: Path, context: Context
) -> tuple[str, str, str | None]:
    if decompressor(path) is None:
        raise bad_spec(spec, "its name does not end like a tarball's")
    # Its bytes name it: a tarball may be replaced under its name.
    ref = f"refs/sources/tarball/{digest_file(path)}"

    def build() -> None:
        with context.step(f"Importing {path.name} into git") as step:
            import_tarball(path, repo, ref, spec, step)

    import_once(repo, ref, build, context)
    return ref, path.name, None
