# SPDX-License-Identifier: GPL-2.0-only
"""The journal of a run: one JSON record a line, on the disk before anything relies on it.

A writer that is killed leaves at most one incomplete last line, which a reader leaves out: the
record was not yet promised.  Anything else that does not decode is an error, never skipped.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from types import TracebackType

import msgspec

from harness.errors import UserError
from harness.foreign import of_os, told
from harness.model.records import Record

FILE_NAME = "journal.jsonl"
_HEADS = (b'{"type":"requested",', b'{"type":"started",', b'{"type":"checks",')
_LONGEST_HEAD = 64


class Journal:
    """An open journal; append-only.

    The incomplete record that a killed writer may have left at the end is cut off: what is appended
    must not be glued to it.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE_NAME
        with told("the run's journal cannot be opened", self.path):
            _cut_to_whole_records(self.path)
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._encoder = msgspec.json.Encoder()

    def write(self, *records: Record) -> None:
        """Append *records* and return when they are on the disk; MachineError where that fails."""
        line = b"".join(self._encoder.encode(record) + b"\n" for record in records)
        with told("the run's journal cannot be written", self.path):
            while line:
                line = line[os.write(self._fd, line) :]
            os.fdatasync(self._fd)

    def records(self) -> list[Record]:
        """Return all records, also where the file has been removed meanwhile."""
        return _decode(self._bytes(), self.path)

    def keep(self) -> None:
        """Put the journal where it belongs, if its file, or its directory, was removed."""
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(self.path.stat(), os.fstat(self._fd)):
                return
        with told("the run's journal cannot be written", self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_bytes(self._bytes())

    def move(self, directory: Path) -> None:
        """Go on in *directory*, in place of the journal that is there; OSError where that fails."""
        target = directory / FILE_NAME
        self.path.replace(target)
        self.path = target

    def _bytes(self) -> bytes:
        return os.pread(self._fd, os.fstat(self._fd).st_size, 0)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._fd)


def _cut_to_whole_records(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole != len(data):
            os.truncate(path, whole)


def read(directory: Path) -> list[Record]:
    """Return the records of the run in *directory*; raises UserError where there is none."""
    path = directory / FILE_NAME
    try:
        data = path.read_bytes()
    except OSError as error:
        raise of_os(error, "there is no run here", path, kind=UserError) from None
    return _decode(data, path)


def is_one(directory: Path) -> bool:
    """Whether *directory* has a journal of a run, to judge by how it begins; a link is none."""
    path = directory / FILE_NAME
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        first = file.readline(_LONGEST_HEAD)
    return first.startswith(_HEADS) or any(head.startswith(first) for head in _HEADS)


def _decode(data: bytes, path: Path) -> list[Record]:
    complete = data[: data.rfind(b"\n") + 1]
    decoder = msgspec.json.Decoder(Record)
    records = []
    for number, line in enumerate(complete.splitlines(), start=1):
        try:
            records.append(decoder.decode(line))
        except msgspec.MsgspecError as error:
            raise UserError(
                "the journal is damaged", where=f"{path}:{number}", why=str(error)
            ) from None
    return records
