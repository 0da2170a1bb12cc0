# SPDX-License-Identifier: GPL-2.0-only
"""The display of a run in progress: its tests, or a table if it has several kernels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from harness import kbuild
from harness.context import Context
from harness.model.ids import KernelName
from harness.model.records import RunStarted
from harness.report.board import CellOf, Forecast
from harness.report.display import Display, MatrixProgress, TestProgress
from harness.run import times
from harness.run.attempts import Attempts, Ready
from harness.run.prepare import Selected


class Shown:
    """Opens what is shown of the kernels *selected*; *stack* closes it.

    *guests* are how many run at a time.  Where kernels are *added* on the way, there is no table of
    them: its end is not known.
    """

    def __init__(
        self,
        display: Display,
        selected: Sequence[Selected],
        context: Context,
        stack: ExitStack,
        *,
        guests: int,
        added: bool = False,
    ) -> None:
        self._added = added
        self._guests = guests
        self._display = display
        self._stack = stack
        self._tests: TestProgress | None = None
        self._matrix: MatrixProgress | None = None
        self._times = times.load(context.store)
        if len(selected) > 1 and not added:
            kernels = self._forecasts(selected, context)
            suites = dict.fromkeys(suite.name for each in selected for suite in each.suites)
            self._matrix = stack.enter_context(display.matrix(kernels, list(suites)))

    def building(self, kernel: KernelName) -> None:
        """Show that *kernel* is being built."""
        if self._matrix is not None:
            self._matrix.building(kernel)

    def failed(self, kernel: KernelName, reason: str) -> None:
        """Show that *kernel* is not available."""
        if self._matrix is not None:
            self._matrix.failed(kernel, reason)
        else:
            self._display.note(f"kernel {kernel}: {reason}")

    def built(
        self,
        kernel: KernelName,
        head: RunStarted,
        attempts: Attempts,
        same: Mapping[str, KernelName],
    ) -> None:
        """Show that *kernel* is there, with the tests of *head*, of which *attempts* are left.

        Those of a suite in *same* run on another kernel.
        """
        if self._matrix is None:
            return
        left = attempts.left()
        names = {test.name for test, _ in left}
        before = Counter(
            test.suite for test in head.tests if test.runnable and test.name not in names
        )
        total = Counter(test.suite for test in head.tests if test.name not in names)
        total.update(test.suite for test, _ in left)
        cells = {
            suite: CellOf(number, before[suite], same.get(suite)) for suite, number in total.items()
        }
        tests_s = self._times.expected(kernel, [test.name for test, _ in left])
        forecast = Forecast(build_s=0.0, tests_s=self._shared(tests_s))
        self._matrix.built(kernel, cells, forecast)

    def watch(self, ready: Ready) -> TestProgress:
        """Start the display of the tests of a kernel, and return it."""
        if self._matrix is not None:
            return self._matrix.tests(ready.name)
        if self._tests is None:
            labels = [] if self._added else ready.labels()
            self._tests = self._stack.enter_context(self._display.tests(labels))
        return self._tests

    def _shared(self, seconds: float | None) -> float | None:
        """Return what tests take that take so long one after the other."""
        return None if seconds is None else seconds / self._guests

    def _forecasts(
        self, selected: Sequence[Selected], context: Context
    ) -> dict[KernelName, Forecast]:
        wanted = [(each.tree, each.fragments, each.place) for each in selected]
        there = kbuild.are_built(wanted, context)
        known = self._times
        return {
            each.name: Forecast(
                build_s=0.0 if built else known.of_build(each.stack.name, each.name),
                tests_s=self._shared(
                    known.of_suites(each.name, [suite.name for suite in each.suites])
                ),
            )
            for each, built in zip(selected, there, strict=True)
        }
