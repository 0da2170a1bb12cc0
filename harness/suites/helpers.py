# SPDX-License-Identifier: GPL-2.0-only
"""Files beside a suite that its scripts call: ``$(dirname $0)/../kselftest/module.sh``.

A guest has the suite in ``/selftests/NAME``; what a script refers to by a path that begins with
``../`` lies beside that, as it does in the tree.  Only what stands below the tree's selftests is
taken, or right beside a suite that stands elsewhere.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from harness.suites.files import real, why_no_file

_REFERENCE = re.compile(rb"(?:\.\./)+(?:[\w.@+-]+/)*[\w.@+-]*")
_MOST = 1 << 20
"""Bytes of a file that is a script, at most."""
_SCRIPTS = (".sh", ".pl", ".py", ".bash", ".awk")


class Neighbourhood(msgspec.Struct, frozen=True):
    """A suite's directory in a directory of suites; what is looked for lies in that one."""

    suite: Path
    around: Path
    bounds: tuple[Path, ...] = ()
    """Real directories that links may lead into; none means anywhere."""

    def takes(self, file: Path) -> bool:
        """Return whether *file* is readable and its real path is in an allowed directory."""
        if why_no_file(file) or file.stat().st_size > _MOST:
            return False
        place = real(file)
        return not self.bounds or any(place.is_relative_to(bound) for bound in self.bounds)

    def find(self, path: str) -> Path | None:
        """Return the file at *path*, relative to the suite, if it is beside the suite."""
        lexical = Path(os.path.normpath(self.suite / path))
        inside = lexical.is_relative_to(self.around) and lexical != self.around
        # The directories that the suite is in are not beside it.
        if not inside or self.suite.is_relative_to(lexical) or lexical.is_relative_to(self.suite):
            return None
        return lexical if lexical.exists() else None


@dataclass
class Helpers:
    """Files that scripts refer to, by their path relative to the suite, as ``../lib.sh``."""

    neighbourhoods: tuple[Neighbourhood, ...]
    """Directories that are searched for helpers; the first one with a helper counts."""
    found: dict[str, Path] = field(default_factory=dict)

    def scan(self, files: Iterable[tuple[str, Path]]) -> None:
        """Add the files that scripts among *files* refer to, recursively; keys are suite paths."""
        pending = [(name, path) for name, path in files if _is_script(path)]
        while pending:
            name, script = pending.pop()
            for path in _references(name, script):
                for helper, file in self._look(path):
                    if helper not in self.found:
                        self.found[helper] = file
                        if _is_script(file):
                            pending.append((helper, file))

    def add(self, path: str) -> bool:
        """Add what lies at *path*; return whether there is a file or a directory with scripts."""
        entries = list(self._look(path))
        self.found.update(entries)
        return bool(entries)

    def _look(self, path: str) -> Iterator[tuple[str, Path]]:
        for neighbourhood in self.neighbourhoods:
            file = neighbourhood.find(path)
            if file is None:
                continue
            if file.is_dir():
                # "$(dirname $0)/../kselftest" in a variable: any script in it may be meant.
                for entry in sorted(file.iterdir()):
                    if entry.suffix in _SCRIPTS and neighbourhood.takes(entry):
                        yield f"{path}/{entry.name}", entry
            elif neighbourhood.takes(file):
                yield path, file
            return

    def copy(self, root: Path, suite: str) -> None:
        """Copy all to where they lie below *root*, a guest's, with the suite at *suite*."""
        for path, file in self.found.items():
            target = root / os.path.normpath(f"/{suite}/{path}").lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target)


def _is_script(path: Path) -> bool:
    if why_no_file(path) or path.stat().st_size > _MOST:
        return False
    if path.suffix in _SCRIPTS:
        return True
    with path.open("rb") as file:
        return file.read(2) == b"#!"


def _references(name: str, script: Path) -> Iterator[str]:
    """Yield the paths beside the suite that *script*, which is called *name* there, refers to."""
    directory = Path(name).parent
    for match in _REFERENCE.finditer(script.read_bytes()):
        path = os.path.normpath(directory / os.fsdecode(match[0]))
        if path.startswith("../"):
            yield path
