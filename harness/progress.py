# SPDX-License-Identifier: GPL-2.0-only
"""Progress of long work.

The rooms that build or run know nothing of terminals: they are handed a :class:`Progress` and
say what they do.  ``harness.report.console`` draws it; :class:`Quiet` says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Step(Protocol):
    """One piece of work under way."""

    def update(
        self, detail: str = "", *, done: int | None = None, total: int | None = None
    ) -> None:
        """Say what is being done now; *done* of *total* in whatever unit the step counts."""

    def result(self, text: str) -> None:
        """Set a short result for the permanent line."""


class Progress(Protocol):
    """Where steps and notes go."""

    def step(self, title: str) -> AbstractContextManager[Step]:
        """Open a step; leaving the context ends it, with its duration."""

    def note(self, text: str) -> None:
        """Report one permanent line, such as a fallback that was taken."""


class _QuietStep:
    def update(
        self, detail: str = "", *, done: int | None = None, total: int | None = None
    ) -> None:
        pass

    def result(self, text: str) -> None:
        pass


class Quiet:
    """Progress that is not shown."""

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Do nothing."""
        yield _QuietStep()

    def note(self, text: str) -> None:
        """Do nothing."""
