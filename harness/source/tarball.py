# SPDX-License-Identifier: GPL-2.0-only
"""Importing a tarball: decompressed, read and written to git in one stream, never unpacked."""

from __future__ import annotations

import io
import posixpath
import tarfile
from pathlib import Path
from typing import IO

from harness.errors import UserError
from harness.proc.process import PIPE, Child, kill_group, start
from harness.progress import Step
from harness.source.fastimport import (
    EXECUTABLE,
    REGULAR,
    SYMLINK,
    FastImport,
    kernel_version,
    not_a_kernel,
)

DECOMPRESSORS = {
    ".tar": ("cat",),
    ".tar.gz": ("gzip", "-dc"),
    ".tgz": ("gzip", "-dc"),
    ".tar.xz": ("xz", "-dc"),
    ".txz": ("xz", "-dc"),
    ".tar.zst": ("zstd", "-dcq"),
}
"""The program that decompresses each kind of tarball; a process of its own uses a second core."""

_STEP_FILES = 500
_CHUNK = 1 << 20


def decompressor(path: Path) -> tuple[str, ...] | None:
    """Return the command for a tarball of this name, None if it does not look like one."""
    for suffix, argv in DECOMPRESSORS.items():
        if path.name.endswith(suffix):
            return argv
    return None


def import_tarball(path: Path, repo: Path, ref: str, spec: str, step: Step) -> None:
    """Import the kernel tree in the tarball *path* as the commit *ref* of *repo*.

    One directory that holds everything is stripped.  Permissions other than execution, owners,
    times and empty directories are not kept: git has no place for them.  Raises UserError when
    the tarball is damaged or holds no kernel.
    """
    argv = decompressor(path)
    if argv is None:
        raise UserError("this is not a tarball that can be read", where=str(path))
    unpack = start([*argv, "--", str(path)], stderr=PIPE)
    try:
        assert unpack.stdout is not None  # noqa: S101  asked for above
        assert unpack.stderr is not None  # noqa: S101
        with FastImport(repo) as target:
            try:
                makefiles = _stream(unpack, target, step)
            except (tarfile.TarError, EOFError) as error:
                kill_group(unpack)
                words = unpack.stderr.read().decode(errors="replace")
                raise _damaged(path, f"{error}\n{words}") from error
            words = unpack.stderr.read().decode(errors="replace")
            if unpack.wait() != 0:
                raise _damaged(path, words)
            tops = {name.split(b"/", 1)[0] for name in target.paths}
            strip = 0 if b"Makefile" in makefiles or len(tops) != 1 else 1
            makefile = b"Makefile" if strip == 0 else next(iter(tops)) + b"/Makefile"
            version = kernel_version(makefiles.get(makefile, b""))
            if version is None:
                raise not_a_kernel(spec)
            step.update("writing the commit")
            target.commit(ref, f"Linux {version}", strip=strip)
    finally:
        kill_group(unpack)
        if unpack.stderr:
            unpack.stderr.close()


def _stream(unpack: Child, target: FastImport, step: Step) -> dict[bytes, bytes]:
    """Write every file of the tarball; return the Makefiles of the two topmost levels."""
    makefiles = {}
    count = 0
    assert unpack.stdout is not None  # noqa: S101  asked for by the caller
    stream = _Measured(unpack.stdout)
    ends = 0
    with tarfile.open(fileobj=stream, mode="r|", bufsize=_CHUNK) as tar:
        for member in tar:
            size = member.size if member.isreg() else 0
            ends = member.offset_data + -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
            name = _clean(member.name)
            if member.isfile():
                mode = EXECUTABLE if member.mode & 0o100 else REGULAR
                file = tar.extractfile(member)
                assert file is not None  # noqa: S101  it is a file
                data = file.read()
                target.add(name, mode, data)
                if name.count(b"/") < 2 and name.endswith(b"Makefile"):
                    makefiles[name] = data
            elif member.issym():
                target.add(name, SYMLINK, _bytes(member.linkname))
            elif member.islnk():
                if not target.link(name, _clean(member.linkname)):
                    raise tarfile.ReadError(f"{member.name}: a link to a file that is not there")
            else:
                continue  # a directory, or a device: neither belongs to a kernel tree's content
            count += 1
            if count % _STEP_FILES == 0:
                step.update(f"{count} files")
    # What follows the archive's end is padding; unread it would stop the decompressor.
    while stream.read(_CHUNK):
        pass
    # tarfile takes a damaged header, or the end of a cut file, for the end of the archive.
    if stream.last_content > ends or stream.size < ends + tarfile.BLOCKSIZE:
        raise tarfile.ReadError(f"it is damaged or cut at byte {ends} of the archive")
    return makefiles


class _Measured(io.BufferedIOBase):
    """A stream that knows how long it was and where its last byte other than 0 is."""

    def __init__(self, raw: IO[bytes]) -> None:
        super().__init__()
        self._raw = raw
        self.size = 0
        self.last_content = 0

    def read(self, size: int | None = -1) -> bytes:
        data = self._raw.read(-1 if size is None else size)
        content = len(data.rstrip(b"\0"))
        if content:
            self.last_content = self.size + content
        self.size += len(data)
        return data


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _clean(name: str) -> bytes:
    """Return a member's name without "./"; ".." stays, and is refused at the commit."""
    if name.startswith("/") or ".." in name.split("/"):
        return _bytes(name)
    return _bytes(posixpath.normpath(name))


def _damaged(path: Path, words: str) -> UserError:
    return UserError(
        "the tarball is damaged or is not one",
        where=str(path),
        why=words.strip()[-500:],
        hint="fetch it again, and compare its checksum",
    )
