# SPDX-License-Identifier: GPL-2.0-only
"""Interfaces to which a run reports its steps and tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from harness.model.ids import KernelName
from harness.model.results import Test
from harness.progress import Progress
from harness.report.board import CellOf, Forecast


class TestProgress(Protocol):
    """Receives the start and end of tests; called by one thread."""

    def started(self, label: str) -> None:
        """Report that a test, or one attempt at it, has begun."""

    def finished(self, test: Test, label: str) -> None:
        """Report the end of the test *label*, which need not have started."""

    def again(self, test: Test, label: str) -> None:
        """Report the end of an attempt that was not planned and does not count as a test."""


class MatrixProgress(Protocol):
    """Receives the progress of a run over several kernels."""

    def building(self, kernel: KernelName) -> None:
        """Report that *kernel* is being built."""

    def failed(self, kernel: KernelName, reason: str) -> None:
        """Report that *kernel* is not available."""

    def built(self, kernel: KernelName, cells: Mapping[str, CellOf], forecast: Forecast) -> None:
        """Report that *kernel* is built, with its tests by suite, and the forecast for others."""

    def tests(self, kernel: KernelName) -> TestProgress:
        """Return the receiver of the tests of *kernel*."""


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
