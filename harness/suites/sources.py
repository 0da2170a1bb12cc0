# SPDX-License-Identifier: GPL-2.0-only
"""The files of a suite that stands outside of the kernel tree, with what its links lead to.

Suites share sources by symbolic links from one directory into another.  A suite is built as a copy
of its own directory, where such links would lead nowhere: links out of the directory are followed,
links within it stay links.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Container, Iterator
from pathlib import Path

from harness.errors import UserError
from harness.store import digest_files


def digest_sources(directory: Path, but: Container[str] = ()) -> str:
    """Return a digest of the suite in *directory*: names, execute bits, links that stay, bytes.

    Files named in *but* do not count.  Raises UserError as :func:`copy` does.
    """
    return digest_files((name, path) for name, path in _walk(directory) if name not in but)


def copy(directory: Path, target: Path) -> None:
    """Copy the suite in *directory* to *target*, which is made, as are its parents.

    Raises UserError for a link out of the directory that leads nowhere, or around in a circle.
    """
    target.mkdir(parents=True)
    for name, path in _walk(directory):
        if path.is_dir() and not path.is_symlink():
            (target / name).mkdir()
        else:
            shutil.copy2(path, target / name, follow_symlinks=False)


def _walk(directory: Path) -> Iterator[tuple[str, Path]]:
    """Yield names in the copy and what stands for them; directories come before what they hold."""
    root = Path(os.path.realpath(directory))
    yield from _entries(root, "", (root,))


def _entries(directory: Path, prefix: str, roots: tuple[Path, ...]) -> Iterator[tuple[str, Path]]:
    """Walk *directory*, reached through *roots*: the suite and the directories it links to."""
    for entry in sorted(directory.iterdir()):
        name = f"{prefix}{entry.name}"
        # Not Path.resolve(), which raises for a link to itself.
        target = Path(os.path.realpath(entry))
        out = entry.is_symlink() and not target.is_relative_to(roots[-1])
        if out:
            _check(entry, target, roots)
            entry = target
        if entry.is_symlink() or entry.is_file():
            yield name, entry
        elif entry.is_dir():
            yield name, entry
            yield from _entries(entry, f"{name}/", (*roots, target) if out else roots)


def _check(link: Path, target: Path, roots: tuple[Path, ...]) -> None:
    if not target.exists():
        raise UserError(
            f"the suite's link '{link.name}' leads to nothing",
            where=str(link),
            why=f"{target} does not exist",
            hint="links out of a suite's directory are followed when it is built",
        )
    if any(root.is_relative_to(target) for root in roots):
        raise UserError(
            f"the suite's link '{link.name}' leads around in a circle",
            where=str(link),
            why=f"{target} holds the directory that the link is in",
            hint="link to the files that are needed",
        )
