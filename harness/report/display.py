# SPDX-License-Identifier: GPL-2.0-only
"""Where a run shows its steps and its tests."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from harness.model.results import Test
from harness.progress import Progress


class TestProgress(Protocol):
    """Where the schedule tells what its tests do; one thread calls it."""

    def planned(self, labels: Sequence[str]) -> None:
        """Say that these will be reported as well."""

    def started(self, label: str) -> None:
        """Say that a test, or one attempt at it, has begun."""

    def finished(self, test: Test, label: str) -> None:
        """Say how what is called *label* ended; it need not have started."""


class Display(Progress, Protocol):
    """Progress that can also show tests."""

    def tests(self, planned: Sequence[str]) -> AbstractContextManager[TestProgress]:
        """Open the view of running tests.

        *planned* are the labels of all that will be reported; none means that it is not known.
        """
