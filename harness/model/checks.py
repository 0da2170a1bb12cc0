# SPDX-License-Identifier: GPL-2.0-only
"""Checks of the patches of a series, and their findings."""

from __future__ import annotations

from enum import StrEnum

import msgspec

SUITE = "series"
"""A check of a patch is a test of this suite."""


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"
    """A matter of taste, or something that a check could not find out."""


class Finding(msgspec.Struct, frozen=True):
    """A problem that a patch introduces."""

    severity: Severity
    text: str
    """The tool's message, in one line."""
    file: str = ""
    """As the patched tree names it; empty where it is about the patch as a whole."""
    line: int | None = None
    """In that file, from 1."""
    patch_line: int | None = None
    """In the file that the patch was read from, from 1; None where an encoding hides it."""

    @property
    def place(self) -> str:
        """``file:line``, as far as known."""
        return f"{self.file}:{self.line}" if self.file and self.line else self.file


class PlannedCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One check of one patch, which will be reported."""

    number: int
    """Of the patch, from 1, counted through all series of the stack."""
    check: str
    title: str
    """Of the patch: its number, and its subject."""
    patch: str
    """The name of the file that the patch was read from."""
    rerun: str
    """A command line for a shell that makes this check again."""

    @property
    def program(self) -> str:
        """What the check is called in its suite."""
        return f"{self.number}-{self.check}"

    @property
    def name(self) -> str:
        """That of the test."""
        return f"{SUITE}:{self.program}"


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a check."""

    number: int
    check: str
    findings: tuple[Finding, ...] = ()
    skipped: str = ""
    """Why it could not run here."""
    trouble: str = ""
    """Why it could not run, if that is an error."""
    notrun: str = ""
    """Why nothing is known: an earlier patch or this one does not build."""
    seconds: float = 0.0

    def worst(self) -> Severity | None:
        """Return the worst severity of what was found; None for nothing."""
        order = (Severity.ERROR, Severity.WARNING, Severity.NOTE)
        found = {each.severity for each in self.findings}
        return next((severity for severity in order if severity in found), None)


def describe(found: Finding, patch: str) -> str:
    """Return a finding of the patch in the file *patch* in one line: both places, and its words."""
    places = [found.place] if found.place else []
    if found.patch_line is not None:
        places.append(f"{patch}:{found.patch_line}")
    where = f"{', '.join(places)}: " if places else ""
    return f"{found.severity}: {where}{found.text}"
