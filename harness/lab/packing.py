# SPDX-License-Identifier: GPL-2.0-only
"""The files of a suite in a guest, and their paths there."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from harness.guest import initramfs
from harness.suites import Suite, userland

GUEST_ROOT = userland.GUEST_ROOT


def suite_entries(suite: Suite, *, userland: bool) -> Iterator[initramfs.Entry]:
    """Yield the suite's files as they lie in the guest; with *userland* also what it needs."""
    root = f"{GUEST_ROOT}/{suite.name}"
    yield initramfs.directory(root)
    yield from tree_entries(suite.files, f"{root}/")
    # Its directories may be those of the user space as well.
    beside = tree_entries(suite.beside, "")
    yield from (entry for entry in beside if not stat.S_ISDIR(entry.mode))
    if userland:
        yield from tree_entries(suite.root, "")


def tree_entries(directory: Path, prefix: str) -> Iterator[initramfs.Entry]:
    """Yield what is below *directory*; *prefix* goes before each name, as it is."""
    for path in sorted(directory.rglob("*")):
        name = f"{prefix}{path.relative_to(directory).as_posix()}"
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            yield initramfs.symlink(name, str(path.readlink()))
        elif stat.S_ISDIR(mode):
            yield initramfs.directory(name)
        else:
            # The mode that git stores: a user's umask must not affect the guest.
            special = mode & (stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX)
            yield initramfs.file(name, path, special | (0o755 if mode & 0o100 else 0o644))
