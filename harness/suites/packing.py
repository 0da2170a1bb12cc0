# SPDX-License-Identifier: GPL-2.0-only
"""Packing what a suite's Makefile lists, as ``make install`` would."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec

from harness.suites.files import real, why_no_file
from harness.suites.helpers import Helpers
from harness.suites.part import Part, outside

_FOUND = ("TEST_FILES", "TEST_PROGS_EXTENDED", "TEST_INCLUDES")
"""Lists of files that are not made; a program that is not there has a result of its own."""


class Packer(msgspec.Struct, frozen=True):
    """Copies listed files to *files*; what cannot be packed is in *problems*, by its path."""

    files: Path
    bounds: tuple[Path, ...]
    """Real directories that links may lead into; none means anywhere."""
    left_out: Mapping[str, str]
    """What the copy of the suite lacks already, by its path: the reason."""
    helpers: Helpers
    problems: dict[str, str] = msgspec.field(default_factory=dict)

    def pack(self, part: Part, lists: Mapping[str, list[str]]) -> None:
        """Copy what *part* lists."""
        listed = {name for kind, names in lists.items() for name in names if kind != "SUBDIRS"}
        wanted = {name: kind for kind in _FOUND for name in lists[kind]}
        for name in sorted(listed):
            path = part.prefix + name
            if outside(path):
                # As far as it is beside the suite; elsewhere nothing of the host's is taken.
                if not self.helpers.add(path) and name in wanted:
                    self._note(path, "lies outside of the suite's directory")
                continue
            places = (part.output / name, part.directory / name)
            found = next((place for place in places if os.path.lexists(place)), None)
            if found is None:
                if name in wanted and path not in self.left_out:
                    self._note(path, why_no_file(part.directory / name))
            elif kept := self._kept_link(found, name, listed):
                self._link(path, kept)
            elif reason := self._copy(found, path, ()):
                self._note(path, reason)
            for hidden, reason in self.left_out.items():
                if name in wanted and (hidden == path or hidden.startswith(f"{path}/")):
                    self._note(hidden, reason)

    def _note(self, path: str, reason: str) -> None:
        self.problems.setdefault(path, f"{path} {reason}")

    def _kept_link(self, found: Path, name: str, listed: set[str]) -> str:
        """Return the target of a link that stays one; empty for what is copied.

        Many names of one program shall not become many programs; a link to what is not packed
        would lead nowhere in the guest.
        """
        link = found.readlink() if found.is_symlink() else Path()
        beside = len(link.parts) == 1 and str(Path(name).with_name(link.name)) in listed
        return str(link) if beside else ""

    def _link(self, path: str, link: str) -> None:
        target = self.files / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.symlink_to(link)

    def _copy(self, found: Path, path: str, above: tuple[Path, ...]) -> str:
        """Copy *found*, and what is in it if it is a directory, to *path*.

        Returns why that cannot be, as "is a FIFO"; *above* are the directories it was reached by.
        """
        place = real(found)
        if self.bounds and not any(place.is_relative_to(bound) for bound in self.bounds):
            return f"is a link out of the kernel tree, to {place}"
        target = self.files / path
        if not found.is_dir():
            if reason := why_no_file(found):
                return reason
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(found, target)
            return ""
        if place in above:
            return "is a link around in a circle"
        if not os.access(found, os.R_OK | os.X_OK, effective_ids=True):
            return "cannot be read: Permission denied"
        target.mkdir(parents=True, exist_ok=True)
        for entry in sorted(found.iterdir()):
            inner = f"{path}/{entry.name}"
            if entry.is_symlink() and not entry.exists():
                self._link(inner, str(entry.readlink()))  # as it is: a test may want it so
            elif reason := self._copy(entry, inner, (*above, place)):
                self._note(inner, reason)
        return ""
