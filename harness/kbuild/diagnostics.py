# SPDX-License-Identifier: GPL-2.0-only
"""Messages of compilers and checkers in one form: file, line and text."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

MESSAGE = re.compile(
    r"^(?P<file>[^\s:]+):(?P<line>\d+)(?::\d+)?: (?P<kind>fatal error|error|warning): (?P<text>.+)$"
)
"""A message about a line of a file."""


class Warned(msgspec.Struct, frozen=True, order=True):
    """One warning of a compiler or another tool."""

    file: str
    """As the tree names it."""
    line: int
    text: str


class Looked(msgspec.Struct, frozen=True):
    """What a checker says of one file or several."""

    warnings: tuple[Warned, ...] = ()
    trouble: str = ""
    """Why what it says is unknown, if it has failed."""
    missing: str = ""
    """Why it cannot be asked here."""


def warnings_in(
    rows: Iterable[str], source: Path, objects: Path, *, errors: bool = False
) -> Iterator[Warned]:
    """Yield the warnings among *rows*, which were printed by a build of *source* in *objects*.

    With *errors* also the errors, which say so in their text: those of a checker stop no build.
    """
    for row in rows:
        match = MESSAGE.match(relative(row, source, objects))
        if match and match["kind"] == "warning":
            yield Warned(plain(match["file"]), int(match["line"]), match["text"])
        elif match and errors:
            yield Warned(plain(match["file"]), int(match["line"]), f"error: {match['text']}")


def relative(line: str, source: Path, objects: Path) -> str:
    """Return *line* with files named as the tree names them."""
    for prefix in (f"{source}/", f"{objects}/", "../src/"):
        line = line.replace(prefix, "")
    return line


def plain(name: str) -> str:
    """Return the one name of a file: makefiles name files of other directories through ``..``."""
    return posixpath.normpath(name)
