# SPDX-License-Identifier: GPL-2.0-only
"""Writes an initramfs: a cpio archive in the "newc" format, uncompressed.

The format is described in the kernel's Documentation/driver-api/early-userspace/
buffer-format.rst.  The same entries always give the same bytes: sorted by name, owned by root,
dated 0, numbered from 1.  Uncompressed because unpacking costs more under TCG than reading.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import msgspec

from harness.errors import UserError
from harness.foreign import of_os

_CHUNK = 1 << 20
_MAX_FILE = 0xFFFFFFFF


class Entry(msgspec.Struct, frozen=True):
    """One inode.  ``path`` is relative to the guest's root, without ``.`` and ``..``.

    ``mode`` has the type bits of ``st_mode``.  ``source`` is the content of a file (bytes, or the
    file to read it from) or the target of a symbolic link; ``device`` is (major, minor).
    """

    path: str
    mode: int
    source: bytes | Path = b""
    device: tuple[int, int] = (0, 0)


def file(path: str, source: bytes | Path, mode: int = 0o755) -> Entry:
    """Return a regular file with permission bits *mode*."""
    return Entry(path, stat.S_IFREG | mode, source)


def directory(path: str, mode: int = 0o755) -> Entry:
    """Return a directory; parents of other entries need not be listed."""
    return Entry(path, stat.S_IFDIR | mode)


def symlink(path: str, target: str) -> Entry:
    """Return a symbolic link to *target*."""
    return Entry(path, stat.S_IFLNK | 0o777, os.fsencode(target))


def guest_entries(agent: Path, files: Iterable[Entry]) -> list[Entry]:
    """Return what a sealed guest boots from: the agent as ``/init``, and *files*.

    ``/dev/console`` must exist before ``/init`` starts, or the kernel warns about it.
    """
    console = Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    return [file("init", agent), console, directory("root", 0o700), *files]


def write_initramfs(out: Path, entries: Iterable[Entry]) -> str:
    """Write *entries* to *out* and return the archive's SHA-256 in hexadecimal.

    Missing parent directories are added.  Raises :class:`UserError` for a path that is absolute,
    leaves the root, or occurs twice, and for a source that cannot be read.
    """
    inodes = _complete(entries)
    with out.open("wb") as f:
        writer = _Writer(f)
        for number, name in enumerate(sorted(inodes), start=1):
            writer.add(number, name, inodes[name])
        writer.trailer()
    return writer.digest.hexdigest()


def _complete(entries: Iterable[Entry]) -> dict[str, Entry]:
    given: dict[str, Entry] = {}
    for entry in entries:
        path = PurePosixPath(entry.path)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in entry.path:
            raise UserError("a path that cannot be in the guest's root", where=repr(entry.path))
        if str(path) in given:
            raise UserError("two files of a guest have the same path", where=str(path))
        given[str(path)] = entry
    parents = {str(p) for name in given for p in PurePosixPath(name).parents if p.parts}
    for name in parents:
        parent = given.setdefault(name, directory(name))
        if not stat.S_ISDIR(parent.mode):
            raise UserError("a file of a guest lies below another file", where=name)
    return given


class _Writer:
    """Appends to *out* and keeps the digest of all that it wrote."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._size = 0
        self.digest = hashlib.sha256()

    def add(self, number: int, name: str, entry: Entry) -> None:
        if isinstance(entry.source, bytes):
            self._header(number, name, entry, len(entry.source))
            self._put(entry.source)
            self._pad()
            return
        try:
            with entry.source.open("rb") as f:
                size = f.seek(0, 2)
                f.seek(0)
                if size > _MAX_FILE:
                    raise UserError("a file of 4 GiB or more in a guest", where=str(entry.source))
                self._header(number, name, entry, size)
                end = self._size + size
                while chunk := f.read(_CHUNK):
                    self._put(chunk)
        except OSError as e:
            raise of_os(e, "cannot read a file for the guest", entry.source, kind=UserError) from e
        if self._size != end:
            raise UserError("a file changed while it was read", where=str(entry.source))
        self._pad()

    def trailer(self) -> None:
        self._header(0, "TRAILER!!!", Entry("", 0), 0)

    def _header(self, number: int, name: str, entry: Entry, size: int) -> None:
        path = os.fsencode(name) + b"\0"
        links = 2 if stat.S_ISDIR(entry.mode) else 1
        fields = (number, entry.mode, 0, 0, links, 0, size, 0, 0, *entry.device, len(path), 0)
        self._put(b"070701" + b"".join(b"%08X" % field for field in fields) + path)
        self._pad()

    def _put(self, data: bytes) -> None:
        self._out.write(data)
        self.digest.update(data)
        self._size += len(data)

    def _pad(self) -> None:
        self._put(bytes(-self._size % 4))
