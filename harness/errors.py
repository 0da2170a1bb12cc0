# SPDX-License-Identifier: GPL-2.0-only
"""The two kinds of errors: wrong input of the user, and failures of the machine.

Everything that is neither is a bug and keeps its traceback.  A failing test is none of these: it
is a result.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of all commands."""

    AS_EXPECTED = 0
    """Every planned test ended as expected."""
    NOT_AS_EXPECTED = 1
    """Some test did not end as expected."""
    USER = 2
    """The input is wrong: usage, project file, series, options."""
    MACHINE = 3
    """The machine or a tool failed, so nothing is known about the kernel."""
    INTERRUPTED = 130
    """Stopped by the user; the journal is kept."""


class HarnessError(Exception):
    """An error that is shown in at most four parts.

    ``what`` went wrong is one line.  ``where`` names the file, patch or option.  ``why`` may have
    several lines (the tool's own words).  ``hint`` says what to do about it.
    """

    exit_code: ExitCode = ExitCode.MACHINE

    def __init__(self, what: str, *, where: str = "", why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.why:
            lines.append("  why:   " + self.why.rstrip().replace("\n", "\n         "))
        if self.hint:
            lines.append(f"  do:    {self.hint}")
        return "\n".join(lines)


class UserError(HarnessError):
    """The user's input is wrong (exit 2)."""

    exit_code = ExitCode.USER


class MachineError(HarnessError):
    """The machine or a tool failed (exit 3)."""

    exit_code = ExitCode.MACHINE
