# SPDX-License-Identifier: GPL-2.0-only
"""Files with holes, as the memory of a guest is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

_PAGE = 4096
_MOST = 1 << 22


def written_parts(file: int) -> Iterator[tuple[int, bytes]]:
    """Yield the parts of a sparse file that are no holes, in pages, with their offsets."""
    end = os.fstat(file).st_size
    start = 0
    while start < end:
        try:
            start = os.lseek(file, start, os.SEEK_DATA)
        except OSError:
            return
        stop = os.lseek(file, start, os.SEEK_HOLE)
        start -= start % _PAGE
        for at in range(start, stop, _MOST):
            yield at, os.pread(file, min(_MOST, stop - at), at)
        start = stop


def copy(file: Path, to: Path) -> None:
    """Copy *file* with its holes and its time to *to*, which is new; raises OSError."""
    with file.open("rb") as source, to.open("xb") as target:
        for start, data in written_parts(source.fileno()):
            target.seek(start)
            target.write(data)
        target.truncate(file.stat().st_size)
    shutil.copystat(file, to)
