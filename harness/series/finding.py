# SPDX-License-Identifier: GPL-2.0-only
"""What a check of a series has found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"
    """A matter of taste, or something that a check could not find out."""


@dataclass(frozen=True)
class Finding:
    """One thing that a patch has introduced."""

    severity: Severity
    text: str
    """The tool's words, in one line."""
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
