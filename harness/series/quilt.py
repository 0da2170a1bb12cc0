# SPDX-License-Identifier: GPL-2.0-only
"""The ``series`` file of quilt: which patches of a directory apply, and in which order."""

from __future__ import annotations

import shlex
from pathlib import Path, PurePosixPath

from harness.errors import UserError
from harness.foreign import told

SERIES = "series"


def read(path: Path) -> tuple[str, ...]:
    """Return the names of the patches that the file *path* lists.

    Raises UserError for one that is not there, is named twice, lies outside the directory, or is
    to be applied in a way that git does not have.
    """
    try:
        with told("the series file cannot be read", path, kind=UserError):
            lines = path.read_text().splitlines()
    except UnicodeDecodeError as error:
        raise UserError(
            "the series file cannot be read", where=str(path), why=str(error)
        ) from error
    names: list[str] = []
    for number, line in enumerate(lines, 1):
        name, options = _parse(line, f"{path}:{number}")
        if not name:
            continue
        problem = _problem(path.parent, name, options, names)
        if problem:
            raise UserError(
                f"the series file {problem}",
                where=f"{path}:{number}",
                why=line.strip(),
                hint="fix it, or put a # before the line to leave the patch out",
            )
        names.append(name)
    if not names:
        raise UserError("the series file lists no patch", where=str(path))
    return tuple(names)


def _parse(line: str, where: str) -> tuple[str, list[str]]:
    if line.strip().startswith("#"):
        return "", []
    try:
        words = shlex.split(line.partition(" #")[0], posix=False)
    except ValueError as error:
        raise UserError(
            "a line of the series file cannot be understood", where=where, why=str(error)
        ) from error
    return (words[0], words[1:]) if words else ("", [])


def _problem(directory: Path, name: str, options: list[str], before: list[str]) -> str:
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        return f"names a patch outside its directory: {name}"
    if not (directory / name).is_file():
        return f"lists a patch that is not there: {name}"
    if name in before:
        return f"lists {name} twice"
    # -pab is -p1 with other names for the two trees.
    odd = [option for option in options if option not in ("-p1", "-pab")]
    return f"has an option that is not supported: {' '.join(odd)}" if odd else ""
