# SPDX-License-Identifier: GPL-2.0-only
"""Sparse in the same pass as the compiler, on chosen files.

With ``C=1`` the kernel's makefiles call ``$(CHECK)`` for each C file that they compile.  Here that
is a script which runs sparse on the files that a series touches, and ends at once for all others.
It marks what sparse prints, and says how sparse has ended: silence alone would not show that it
has looked.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from harness.kbuild.diagnostics import Looked, plain, relative, warnings_in

_MARK = "sparse: "
_ENDED = re.compile(r"^sparse ended: (?P<status>\d+) (?P<file>.+)$")
_FOUND_NOTHING, _FOUND_ERRORS = 0, 1
"""Statuses with which sparse has looked at the whole file."""


def script(files: Iterable[str]) -> str:
    """Return a shell script for ``$(CHECK)`` that runs sparse on *files*, as the tree names them.

    The name of the file is its last argument.
    """
    patterns = "|".join(f"*/{shlex.quote(name)}" for name in sorted(files))
    return f"""#!/bin/sh
for file; do :; done
case "/$file" in
{patterns}) ;;
*) exit 0 ;;
esac
said=$(sparse "$@" 2>&1)
status=$?
printf '%s\\n' "$said" | sed 's/^/{_MARK}/'
printf 'sparse ended: %s %s\\n' "$status" "$file"
"""


class Heard:
    """What sparse has said during a build, file by file."""

    def __init__(self, source: Path, objects: Path) -> None:
        self._places = source, objects
        self._rows: list[str] = []
        self.files: dict[str, Looked] = {}

    def hear(self, line: str) -> bool:
        """Take a line of make's output; return whether it was about sparse.

        What sparse says of one file comes in one piece, as make prints by target.
        """
        if line.startswith(_MARK):
            self._rows.append(line.removeprefix(_MARK))
            return True
        ended = _ENDED.match(line)
        if ended is None:
            return False
        name = plain(relative(ended["file"], *self._places))
        status, rows = int(ended["status"]), self._rows
        trouble = ""
        if status not in (_FOUND_NOTHING, _FOUND_ERRORS):
            last = next((row for row in reversed(rows) if row.strip()), "")
            trouble = ": ".join(filter(None, (f"sparse ended with status {status}", name, last)))
        self.files[name] = Looked(tuple(warnings_in(rows, *self._places, errors=True)), trouble)
        self._rows = []
        return True


def object_of(file: str) -> str:
    """Return the name of the object that is compiled from the C file *file*."""
    return f"{file.removesuffix('.c')}.o"
