# SPDX-License-Identifier: GPL-2.0-only
"""Entries of the cache as archives, for another machine: packed here, unpacked there."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, cast

from harness.digest import Sink, digest_file
from harness.errors import MachineError
from harness.progress import Progress
from harness.store import MANIFEST, Entry, Store

TRAVELS = ("kernel", "suite", "agent")
"""Kinds of entries that are sent to other machines."""
_KEY = re.compile(r"[0-9a-f]{64}")
_BLOCK = 1 << 20


def pack(store: Store, entry: Entry, sink: Sink) -> None:
    """Write *entry* of *store* to *sink*.

    Raises :class:`harness.store.Damaged` where the entry is not what was written once.
    """
    store.check([entry])
    root = store.path(*entry)
    file = cast("IO[bytes]", _Counting(sink))  # only these methods are called
    with tarfile.TarFile(
        fileobj=file, mode="w", format=tarfile.PAX_FORMAT, copybufsize=_BLOCK
    ) as tar:
        for path in sorted(root.rglob("*")):
            name = path.relative_to(root).as_posix()
            if name != MANIFEST:
                _add(tar, path, name)


class _Counting:
    """A sink that knows how much has gone there: what tarfile writes to without going back."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._size = 0

    def write(self, data: bytes) -> int:
        self._sink.write(data)
        self._size += len(data)
        return len(data)

    def tell(self) -> int:
        return self._size


def unpack(store: Store, entry: Entry, packed: Path, sha256: str, progress: Progress) -> None:
    """Make *entry* from *packed*; nothing is there unless its digest is *sha256*.

    Raises MachineError for another digest, and for names that leave the entry.
    """
    kind, key = entry
    if kind not in TRAVELS or not _KEY.fullmatch(key):
        raise MachineError("there is no such entry", where=f"{kind} {key}")

    def fill(out: Path) -> None:
        if digest_file(packed) != sha256:
            raise MachineError(
                "an entry of the cache was corrupted in transfer",
                where=f"{kind} {key[:12]}",
                hint="run again; if this happens again, test memory and disks of both machines",
            )
        with tarfile.open(packed, "r:") as tar:
            _extract(tar, out)

    store.obtain(kind, key, fill, progress)


def _extract(tar: tarfile.TarFile, out: Path) -> None:
    """Extract what may be in an entry: directories, files and links, all below *out*."""
    directories: list[tuple[Path, int]] = []
    for member in _checked(tar):
        path = out / member.name
        if member.isdir():
            path.mkdir(exist_ok=True)
            directories.append((path, member.mode))
        elif member.issym():
            # Where it points to is the guest's matter: nothing is written through it.
            path.symlink_to(member.linkname)
        else:
            source = tar.extractfile(member)
            assert source is not None  # noqa: S101  it is a file
            with path.open("xb") as file:
                while data := source.read(_BLOCK):
                    file.write(data)
            path.chmod(member.mode & 0o7777)
    for path, mode in reversed(directories):
        path.chmod(mode & 0o7777)


def _checked(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    made: set[PurePosixPath] = {PurePosixPath()}
    for member in tar:
        name = PurePosixPath(member.name)
        good = member.isdir() or member.issym() or member.isreg()
        # Its directory came before it as one, so it is no link to elsewhere.
        if not good or name.is_absolute() or ".." in name.parts or name.parent not in made:
            raise MachineError(
                "an archive of an entry contains an unexpected file", where=member.name
            )
        if member.isdir():
            made.add(name)
        yield member


def _add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    member = tar.gettarinfo(path, name)
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    if member.islnk():
        # A second name of a file is a file of its own there.
        member.type, member.linkname, member.size = tarfile.REGTYPE, "", path.stat().st_size
    if not member.isreg():
        tar.addfile(member)
        return
    with path.open("rb") as file:
        tar.addfile(member, file)
