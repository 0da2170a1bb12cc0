# SPDX-License-Identifier: GPL-2.0-only
"""Digests of bytes, files and trees."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

_BLOCK = 1 << 20


class Sink(Protocol):
    """Where bytes go one after the other."""

    def write(self, data: bytes, /) -> object:
        """Take *data*; raises OSError where that fails."""
        ...


Write = Callable[[Sink], object]
"""Writes all bytes of something to a sink."""


class DigestingSink:
    """Passes bytes on to a sink, and knows the size and the SHA-256 of what has passed."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._total = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes, /) -> int:
        """Pass *data* on."""
        self._sink.write(data)
        self._total.update(data)
        self.size += len(data)
        return len(data)

    @property
    def sha256(self) -> str:
        """The SHA-256 (hex) of what has passed."""
        return self._total.hexdigest()


def copy_of(path: Path) -> Write:
    """Return what writes the bytes of the file *path*."""

    def write(sink: Sink) -> None:
        with path.open("rb") as file:
            while data := file.read(_BLOCK):
                sink.write(data)

    return write


def digest(*parts: str | bytes) -> str:
    """Return the SHA-256 (hex) of *parts*; where one part ends and the next begins counts."""
    total = hashlib.sha256()
    for part in parts:
        # A file's name need not be UTF-8.
        data = part.encode(errors="surrogateescape") if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "big"))
        total.update(data)
    return total.hexdigest()


def digest_file(path: Path) -> str:
    """Return the SHA-256 (hex) of the file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_sparse(path: Path) -> str:
    """Return a digest of the blocks that are not all zero, each with its offset.

    Holes cost nothing, and a copy without them has the same digest.
    """
    total = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        size, at = os.fstat(file.fileno()).st_size, 0
        while at < size:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA) // _BLOCK * _BLOCK
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                break  # nothing but a hole until the end
            block = os.pread(file.fileno(), _BLOCK, at)
            if block.count(0) != len(block):
                total.update(at.to_bytes(8, "little") + block)
            at += _BLOCK
    return total.hexdigest()


def digest_tree(root: Path) -> str:
    """Return a digest of all files below *root*: names, execute bits, link targets and bytes."""
    paths = sorted(root.rglob("*"))
    return digest_files((path.relative_to(root).as_posix(), path) for path in paths)


def digest_files(files: Iterable[tuple[str, Path]]) -> str:
    """Return a digest of names and their files: execute bits, targets of links, and bytes.

    Directories do not count.
    """
    parts: list[str] = []
    for name, path in files:
        if path.is_symlink():
            parts += ["link", name, str(path.readlink())]
        elif path.is_file():
            executable = "x" if path.stat().st_mode & 0o100 else "-"
            parts += ["file", name, executable, digest_file(path)]
    return digest(*parts)
