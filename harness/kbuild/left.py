# SPDX-License-Identifier: GPL-2.0-only
"""Files that a build has left: a stranger's makefiles may have put links and FIFOs in their place.

Our own process follows no link there, opens nothing that is no regular file, writes over nothing
but a file, and reads nothing whole that is larger than such a file can be: a file of 8 GiB without
content takes no space on the disk, and all of it in memory.  No build is at work meanwhile, so what
was looked at stays as it is.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from pathlib import Path

from harness.errors import UserError

_MOST_BYTES = 4 << 30
IMAGE_BYTES = 1 << 30
TEXT_BYTES = 64 << 20


def file_left(root: Path, name: str, most: int = _MOST_BYTES) -> Path:
    """Return the regular file *name* below *root*.

    Raises UserError where it is none, behind a link, or of more than *most* bytes.
    """
    path = root / name
    if why := _why_not(root, path) or _why_too_large(path, most):
        raise UserError("the build left no such file", where=str(path), why=why)
    return path


def text_left(root: Path, name: str) -> str:
    """Return the content of the text file *name* below *root*; UserError as :func:`file_left`."""
    return file_left(root, name, TEXT_BYTES).read_text(errors="replace")


def is_left(root: Path, path: Path, most: int = _MOST_BYTES) -> bool:
    """Whether *path* is a regular file below *root*, behind no link, of at most *most* bytes."""
    return not (_why_not(root, path) or _why_too_large(path, most))


def write_over(root: Path, name: str, text: str) -> None:
    """Write *text* to the file *name* directly below *root*, in place of what is there."""
    path = root / name
    if path.is_dir() and not path.is_symlink():
        raise UserError("the build left a directory in place of a file", where=str(path))
    path.unlink(missing_ok=True)
    with path.open("x") as file:
        file.write(text)


def not_headers(directory: str, names: Collection[str]) -> set[str]:
    """Return those of *names* in *directory* that are no exported headers, for shutil.copytree."""
    return {
        name
        for name in names
        if name.startswith(".")
        or name in ("Makefile", "headers_check.pl")
        or not _is_plain(os.lstat(Path(directory, name)).st_mode)
    }


def _why_too_large(path: Path, most: int) -> str:
    size = path.lstat().st_size
    return f"it has {size / (1 << 20):.0f} MiB, and no such file has" if size > most else ""


def _is_plain(mode: int) -> bool:
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def _why_not(root: Path, path: Path) -> str:
    for above in path.relative_to(root).parents:
        if (root / above).is_symlink() and root / above != root:
            return f"{root / above} is a symbolic link"
    try:
        mode = path.lstat().st_mode
    except OSError as error:
        return str(error.strerror)
    if stat.S_ISLNK(mode):
        return "it is a symbolic link"
    return "" if stat.S_ISREG(mode) else "it is no regular file"
