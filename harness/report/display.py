# SPDX-License-Identifier: GPL-2.0-only
"""Where a run shows its steps and its tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from harness.model.ids import KernelName
from harness.model.results import Test
from harness.progress import Progress
from harness.report.board import CellOf, Forecast


class TestProgress(Protocol):
    """Where the schedule tells what its tests do; one thread calls it."""

    def started(self, label: str) -> None:
        """Say that a test, or one attempt at it, has begun."""

    def finished(self, test: Test, label: str) -> None:
        """Say how what is called *label* ended; it need not have started."""

    def again(self, test: Test, label: str) -> None:
        """Say how an attempt ended that was not planned; it counts among no tests."""


class MatrixProgress(Protocol):
    """Where a run over several kernels tells how far it is."""

    def building(self, kernel: KernelName) -> None:
        """Say that *kernel* is being built."""

    def failed(self, kernel: KernelName, reason: str) -> None:
        """Say that *kernel* cannot be had."""

    def built(self, kernel: KernelName, cells: Mapping[str, CellOf], forecast: Forecast) -> None:
        """Say that *kernel* is there, with its tests by suite, and what is expected of the rest."""

    def tests(self, kernel: KernelName) -> TestProgress:
        """Return where the tests of *kernel* are shown."""


class Display(Progress, Protocol):
    """Progress that can also show tests."""

    def tests(self, planned: Sequence[str]) -> AbstractContextManager[TestProgress]:
        """Open the view of running tests.

        *planned* are the labels of all that will be reported; none means that it is not known.
        """

    def matrix(
        self, kernels: Mapping[KernelName, Forecast], suites: Sequence[str]
    ) -> AbstractContextManager[MatrixProgress]:
        """Open the view of a run over several *kernels*, each with what is expected of it."""
