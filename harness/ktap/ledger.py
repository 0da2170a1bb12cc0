# SPDX-License-Identifier: GPL-2.0-only
"""The reader's diagnostics, and the limits of what it keeps."""

from __future__ import annotations

from collections.abc import Callable

from harness.ktap.limits import MAX_DIAGNOSTICS, MAX_KEPT, MAX_NODES, MAX_TEXT
from harness.ktap.model import Diagnostic, Kind

Output = Callable[[], str]
"""Returns the output before a result, when it is needed."""


def no_output() -> str:
    """Return no output."""
    return ""


def tail(output: Output) -> str:
    """Return the last part of *output*, for text that may be a result."""
    return output()[-MAX_TEXT:]


class Ledger:
    """Diagnostics and limits of one stream.

    ``broken``: some diagnostic was an error.  ``full``: no more cases are taken.
    """

    def __init__(self) -> None:
        self.broken = False
        self.full = False
        self.diagnostics: list[Diagnostic] = []
        self._nodes = 0
        self._kept = 0

    def note(self, kind: Kind, line: int, text: str) -> None:
        """Record a diagnostic."""
        self.broken = self.broken or kind.is_error
        if len(self.diagnostics) < MAX_DIAGNOSTICS:
            self.diagnostics.append(Diagnostic(kind, line, text[:200]))
        elif len(self.diagnostics) == MAX_DIAGNOSTICS:
            text = f"only the first {MAX_DIAGNOSTICS} diagnostics are kept"
            self.diagnostics.append(Diagnostic(Kind.DIAGNOSTICS_CUT, line, text))

    def room(self, line: int) -> bool:
        """Count one more case or collection; return False if there are too many."""
        if self._nodes >= MAX_NODES:
            if not self.full:
                text = f"more than {MAX_NODES} cases: the rest of the output was not read"
                self.note(Kind.LIMIT, line, text)
            self.full = True
            return False
        self._nodes += 1
        return True

    def keep(self, line: int, explanation: str, output: Output) -> tuple[str, str]:
        """Return *explanation* and *output*, shortened if too much was kept already."""
        if self._kept <= MAX_KEPT:
            text = output()
            self._kept += len(text) + len(explanation)
            if self._kept <= MAX_KEPT:
                return explanation, text
            self.note(Kind.OUTPUT_CUT, line, "no more output of cases is kept")
        return explanation[:80], ""
