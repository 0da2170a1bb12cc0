# SPDX-License-Identifier: GPL-2.0-only
"""The files of a suite outside the kernel tree, including the targets of its links.

Suites share sources by symbolic links from one directory into another.  A suite is built as a copy
of its own directory, where such links would lead nowhere: links out of the directory are followed,
links within it stay links.  So do links that lead to nothing or around in a circle: what needs them
says so when it is built or packed.  What cannot be copied is left out, with the reason.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Container, Iterator
from pathlib import Path

import msgspec

from harness.digest import digest, digest_files
from harness.errors import UserError
from harness.store import is_cache
from harness.suites.files import real, why_no_file


class _Entry(msgspec.Struct, frozen=True):
    """A file, directory or link of the copy: its name there, and its source."""

    name: str
    path: Path
    left_out: str = ""
    """Why it cannot be copied, as "is a FIFO"."""


def digest_sources(directory: Path, but: Container[str] = ()) -> str:
    """Return a digest of the suite in *directory*: names, execute bits, links that stay, bytes.

    Files named in *but* do not count.  What is left out counts with its reason.
    """
    entries = [each for each in _walk(directory) if each.name not in but]
    files = digest_files((each.name, each.path) for each in entries if not each.left_out)
    return digest(files, *(f"{each.name} {each.left_out}" for each in entries if each.left_out))


def copy(directory: Path, target: Path) -> dict[str, str]:
    """Copy the suite in *directory* to *target*, which is made, as are its parents.

    Returns what was left out, by its name: the reason.
    """
    target.mkdir(parents=True)
    left_out = {}
    for each in _walk(directory):
        if each.left_out:
            left_out[each.name] = each.left_out
        elif each.path.is_dir() and not each.path.is_symlink():
            (target / each.name).mkdir()
        else:
            shutil.copy2(each.path, target / each.name, follow_symlinks=False)
    return left_out


def check(directory: Path) -> None:
    """Raise UserError if the suite in *directory* contains a cache of the harness.

    The suite is copied into the cache to be built, so there would be no end to it.
    """
    for each in _walk(directory):
        if not each.left_out and is_cache(each.path):
            raise UserError(
                "a cache of the harness lies in the suite",
                where=str(each.path),
                why=f"it is in the directory of the suite, {directory}, or a link in there leads "
                "to it, and all of a suite is copied into the cache to be built",
                hint="move the cache with HARNESS_CACHE=DIR, or remove it there",
            )


def _walk(directory: Path) -> Iterator[_Entry]:
    """Yield what is in the copy; directories come before what they hold."""
    root = real(directory)
    yield from _entries(root, "", (root,))


def _entries(directory: Path, prefix: str, roots: tuple[Path, ...]) -> Iterator[_Entry]:
    """Walk *directory*, reached through *roots*: the suite and the directories it links to."""
    for entry in sorted(directory.iterdir()):
        name = f"{prefix}{entry.name}"
        target = real(entry)
        out = entry.is_symlink() and not target.is_relative_to(roots[-1])
        if entry.is_symlink() and not (out and _can_follow(target, roots)):
            yield _Entry(name, entry)
            continue
        path = target if out else entry
        if not path.is_dir():
            yield _Entry(name, path, why_no_file(path))
        elif not os.access(path, os.R_OK | os.X_OK, effective_ids=True):
            yield _Entry(name, path, "cannot be read: Permission denied")
        else:
            yield _Entry(name, path)
            yield from _entries(path, f"{name}/", (*roots, target) if out else roots)


def _can_follow(target: Path, roots: tuple[Path, ...]) -> bool:
    """Return whether *target* exists and does not contain the link that leads to it."""
    return os.access(target, os.F_OK) and not any(root.is_relative_to(target) for root in roots)
