# SPDX-License-Identifier: GPL-2.0-only
"""The files that a series can be in, and the mails in them as bytes.

Files are mapped, not read: what stays in memory is one mail at a time, however large a mailbox is.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import mmap
import re
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec

from harness.errors import UserError
from harness.foreign import told
from harness.series import mbox, quilt

MOST_MAIL_BYTES = 64 << 20
"""A mail that is larger is no patch that a person has written."""
_MOST_UNPACKED_BYTES = 4 << 30
_BOM = b"\xef\xbb\xbf"
_UTF16 = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_MAGIC = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz", b"BZh": "bzip2"}
_PACKED = (".gz", ".xz", ".bz2")
_SUFFIXES = (".patch", ".diff", ".eml", ".mbox", ".mbx")
_HINT = "name a directory of patches, a patch, an mbox, a maildir or a mail"


class Found(msgspec.Struct, frozen=True):
    """The files of a series."""

    paths: tuple[Path, ...]
    each_one_mail: bool = False
    """Files of a maildir and the like hold one mail, whatever its text looks like."""
    quilt: bool = False
    """Their order is that of a quilt ``series`` file, and numbers in subjects say nothing."""
    notes: tuple[str, ...] = ()


def find(path: Path) -> Found:
    """Return the files of the series at *path*, in order.

    Raises UserError where there are none, or where a quilt ``series`` file is wrong.
    """
    with told("the series cannot be read", path, kind=UserError):
        return _find(path)


def _find(path: Path) -> Found:
    if path.is_file():
        if path.name == quilt.SERIES:
            return _of_quilt(path.parent)
        return Found((path,))
    if not path.is_dir():
        raise UserError("the series does not exist", where=str(path), hint=_HINT)
    if (path / quilt.SERIES).is_file():
        return _of_quilt(path)
    if (path / "cur").is_dir() or (path / "new").is_dir():
        mails = [file for name in ("new", "cur") for file in _visible(path / name)]
        if not mails:
            raise UserError("the maildir holds no mail", where=str(path), hint=_HINT)
        return Found(tuple(mails), each_one_mail=True)
    there = _visible(path)
    files = [file for file in there if _suffix(file) in _SUFFIXES]
    if not files and there and all(file.name.isdigit() for file in there):
        return Found(tuple(there), each_one_mail=True)  # MH
    if not files and (path / "patches" / quilt.SERIES).is_file():
        return _of_quilt(path / "patches")
    if not files:
        raise UserError(
            "the directory holds no patches",
            where=str(path),
            why=f"no file in it ends in {', '.join(_SUFFIXES)}, and none is named {quilt.SERIES}",
            hint=f"git format-patch -o {path} BASE..TIP",
        )
    patches = [file for file in files if _suffix(file) == ".patch"]
    others = ", ".join(file.name for file in files if file not in patches)
    if not patches or not others:
        return Found(tuple(files))
    # A diff between two versions, or the thread, often lies beside the patches.
    note = f"{path} holds patches, so what is not named *.patch is left out: {others}"
    return Found(tuple(patches), notes=(note,))


def _of_quilt(directory: Path) -> Found:
    names = quilt.read(directory / quilt.SERIES)
    listed = {directory / name for name in names}
    unlisted = [
        file.name
        for file in _visible(directory)
        if _suffix(file) in _SUFFIXES and file not in listed
    ]
    note = f"{directory / quilt.SERIES} does not list, so it is left out: {', '.join(unlisted)}"
    return Found(
        tuple(directory / name for name in names),
        quilt=True,
        notes=(note,) if unlisted else (),
    )


def _visible(directory: Path) -> list[Path]:
    """Return the files in *directory*, ``99-x`` before ``100-y``."""
    if not directory.is_dir():
        return []
    files = (path for path in directory.iterdir() if path.is_file())
    return sorted((path for path in files if not path.name.startswith(".")), key=_natural)


def _natural(path: Path) -> tuple[Sequence[tuple[int, str]], str]:
    words = re.findall(r"(\d+)|(\D+)", path.name)
    return [(int(digits or 0), text) for digits, text in words], path.name


def without_packing(path: Path) -> Path:
    """Return *path* without the suffix of a compressed file."""
    return path.with_suffix("") if path.suffix in _PACKED else path


def _suffix(path: Path) -> str:
    return without_packing(path).suffix


class Raw(msgspec.Struct, frozen=True):
    """A mail as it stands in a file."""

    path: Path
    where: str
    """The file, and which mail of it if it holds several."""
    start: int
    """Offset of its first byte in the (unpacked) file."""
    size: int
    escaped: bool


@dataclass
class Files:
    """Open files of a series; a context, in which mails can be read again."""

    found: Found
    _stack: ExitStack = field(default_factory=ExitStack)
    _open: dict[Path, mbox.Buffer] = field(default_factory=dict)

    def __enter__(self) -> Files:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.clear()
        self._stack.close()

    def mails(self) -> Iterator[Raw]:
        """Yield the mails of all files; raises UserError for a file that cannot be read."""
        for path in self.found.paths:
            data = self._buffer(path)
            if not len(data) or (len(data) < 1 << 16 and not data[:].strip()):
                raise UserError("the patch file is empty", where=str(path))
            if self.found.each_one_mail or path.suffix == ".eml":
                line = re.match(rb"From [^\n]*\n", data)
                start = line.end() if line else 0
                spans = [mbox.Span(start, len(data), escaped=False)]
            else:
                spans = list(mbox.split(data))
            for number, span in enumerate(spans, 1):
                where = str(path) if len(spans) == 1 else f"{path}, mail {number}"
                yield Raw(path, where, span.start, span.end - span.start, span.escaped)
            if len(self.found.paths) > 1:
                self._close(path)

    def bytes_of(self, raw: Raw) -> bytes:
        """Return the mail, without the escapes of its mailbox."""
        data = self._buffer(raw.path)[raw.start : raw.start + raw.size]
        return mbox.unescape(data) if raw.escaped else data

    def line_of(self, raw: Raw) -> int:
        """Return the mail's first line in its file, from 1."""
        data = self._buffer(raw.path)
        step = 1 << 20
        return 1 + sum(
            data[at : min(at + step, raw.start)].count(b"\n") for at in range(0, raw.start, step)
        )

    def _buffer(self, path: Path) -> mbox.Buffer:
        if path not in self._open:
            with told("the patch cannot be read", path, kind=UserError):
                self._open[path] = self._map(path)
        return self._open[path]

    def _close(self, path: Path) -> None:
        data = self._open.pop(path)
        if isinstance(data, mmap.mmap):
            data.close()

    def _map(self, path: Path) -> mbox.Buffer:
        with path.open("rb") as file:
            head = file.read(8)
            for magic, kind in _MAGIC.items():
                if head.startswith(magic):
                    with tempfile.TemporaryFile(prefix="series-") as whole:
                        _unpack(path, kind, whole)
                        return self._mapped(whole)
            return self._mapped(file)

    def _mapped(self, file: IO[bytes]) -> mbox.Buffer:
        file.seek(0)
        head = file.read(3)
        if head[:2] in _UTF16:
            file.seek(0)
            # PowerShell writes the output of git so.
            return file.read().decode(_UTF16[head[:2]], errors="replace").encode()
        if head == _BOM:
            return file.read()
        if not head:
            return b""
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._stack.callback(data.close)
        return data


def _unpack(path: Path, kind: str, whole: IO[bytes]) -> None:
    try:
        with _opened(path, kind) as packed:
            while block := packed.read(1 << 20):
                with _room():
                    whole.write(block)
                if whole.tell() > _MOST_UNPACKED_BYTES:
                    raise UserError(
                        "the patch file is too large once it is unpacked", where=str(path)
                    )
    except (EOFError, lzma.LZMAError, zlib.error, OSError) as error:
        # What is no bzip2 file, or no gzip file, is an OSError without a number.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UserError(
            f"the patch file is damaged: it is not a complete {kind} file",
            where=str(path),
            why=str(error),
        ) from error
    with _room():
        whole.flush()


def _room() -> AbstractContextManager[None]:
    return told("the patch cannot be unpacked", tempfile.gettempdir())


def _opened(path: Path, kind: str) -> gzip.GzipFile | lzma.LZMAFile | bz2.BZ2File:
    if kind == "gzip":
        return gzip.GzipFile(path)
    return lzma.LZMAFile(path) if kind == "xz" else bz2.BZ2File(path)
