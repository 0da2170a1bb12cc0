# SPDX-License-Identifier: GPL-2.0-only
"""Files of a series that cannot be read: whose fault that is, and what to do."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError, MachineError, UserError
from harness.series import read
from tests.series import mails as m

pytestmark = pytest.mark.unit

PATCH = m.patch("[PATCH] mm: one", 3).bytes()
KINDS = {
    errno.EACCES: (UserError, "permission is denied"),
    errno.EISDIR: (UserError, "a path cannot be used"),
    errno.EIO: (MachineError, "a disk or device has failed"),
    errno.ENOSPC: (MachineError, "no space is left"),
}


@pytest.fixture(params=["patch", "directory", "quilt"])
def series(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """A series, and a file of it."""
    file = tmp_path / "a.patch"
    file.write_bytes(PATCH)
    if request.param == "quilt":
        listing = tmp_path / "series"
        listing.write_text("a.patch\n")
        return tmp_path, listing
    return (file if request.param == "patch" else tmp_path), file


@pytest.mark.parametrize("number", KINDS)
def test_a_file_that_cannot_be_read(
    series: tuple[Path, Path], number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, broken = series
    opened = Path.open

    def refuse(self: Path, *args: Any, **options: Any) -> Any:
        if self == broken:
            raise OSError(number, os.strerror(number), str(self))
        return opened(self, *args, **options)

    monkeypatch.setattr(Path, "open", refuse)
    kind, words = KINDS[number]
    with pytest.raises(HarnessError) as caught:
        read(path)
    assert type(caught.value) is kind
    assert words in caught.value.what
    assert caught.value.where == str(broken)
    assert caught.value.why.startswith(os.strerror(number))


@pytest.mark.parametrize("number", KINDS)
def test_a_directory_that_cannot_be_listed(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path) -> Any:
        raise OSError(number, os.strerror(number), str(self))

    (tmp_path / "a.patch").write_bytes(PATCH)
    monkeypatch.setattr(Path, "iterdir", refuse)
    kind, words = KINDS[number]
    with pytest.raises(HarnessError) as caught:
        read(tmp_path)
    assert type(caught.value) is kind
    assert words in caught.value.what


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: data[:12] + b"xxxx" * 8])
def test_a_packed_file_that_is_damaged(tmp_path: Path, pack: Any, damage: Any) -> None:
    file = tmp_path / "a.patch.packed"
    file.write_bytes(damage(pack(PATCH)))
    with pytest.raises(UserError, match="the patch file is damaged"):
        read(file)


def test_no_room_to_unpack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, _: Any) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file = tmp_path / "a.patch.gz"
    file.write_bytes(gzip.compress(PATCH))
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Full())
    with pytest.raises(MachineError, match="no space is left") as caught:
        read(file)
    assert caught.value.where == tempfile.gettempdir()
