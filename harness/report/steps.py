# SPDX-License-Identifier: GPL-2.0-only
"""Common parts of both kinds of progress: active steps and tests, and permanent lines."""

from __future__ import annotations

import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from harness.model.ids import KernelName
from harness.model.results import Test
from harness.outcome import Outcome
from harness.progress import Step
from harness.report.board import Board, CellOf, Forecast
from harness.report.display import MatrixProgress, TestProgress
from harness.report.terminal import Terminal
from harness.report.text import (
    LOG_COLUMNS,
    Span,
    columns,
    count,
    count_outcomes,
    duration,
    fit,
    known_as,
    mark,
    one_line,
    pad,
    style_of,
    tally,
)

_NAME_WIDTH = 56


class ActiveStep:
    """A step under way."""

    def __init__(self, title: str, depth: int, start: float, thread: int = 0) -> None:
        self.title = title
        self.thread = thread
        """Steps are nested within those of their own thread."""
        self.depth = depth
        self.start = start
        self.detail = ""
        self.done: int | None = None
        self.total: int | None = None
        self.text = ""

    def update(
        self, detail: str = "", *, done: int | None = None, total: int | None = None
    ) -> None:
        """Only store the values: a compiler's thousand lines a minute must cost nothing here."""
        self.detail, self.done, self.total = detail, done, total

    def result(self, text: str) -> None:
        """Store the text for the permanent line."""
        self.text = text


class ActiveTests:
    """The tests of a run under way."""

    def __init__(
        self,
        planned: Sequence[str],
        clock: Callable[[], float],
        emit: Callable[[Test, str, int], None],
    ) -> None:
        self.total = 0
        """The number of tests that will be reported; 0 if unknown."""
        self.running: dict[str, float] = {}
        """Start of each running test on the clock, oldest first."""
        self.counts: dict[Outcome, int] = {}
        self.start = clock()
        self._clock = clock
        self._emit = emit
        self._width = 0
        self.planned(planned)

    def planned(self, labels: Sequence[str]) -> None:
        """Count *labels* among what will be reported."""
        self.total += len(labels)
        widest = max((columns(one_line(label)) for label in labels), default=0)
        self._width = max(self._width, min(widest, _NAME_WIDTH))

    @property
    def finished_count(self) -> int:
        """The number of finished tests."""
        return sum(self.counts.values())

    @property
    def progress(self) -> str:
        """The progress as text."""
        if not self.total:
            return count(self.finished_count, "test")
        return f"{self.finished_count} of {count(self.total, 'test')}"

    def started(self, label: str) -> None:
        """Show *label* as running."""
        # The whole dictionary is replaced, because the thread that draws may be reading it.
        self.running = {**self.running, label: self._clock()}

    def finished(self, test: Test, label: str) -> None:
        """Count *test* and leave its line."""
        self.running = {name: at for name, at in self.running.items() if name != label}
        self.counts = {**self.counts, test.outcome: self.counts.get(test.outcome, 0) + 1}
        self._emit(test, label, self._width)

    def again(self, test: Test, label: str) -> None:
        """Print the line of an attempt that was not planned."""
        self.running = {name: at for name, at in self.running.items() if name != label}
        self._emit(test, label, self._width)


class ActiveMatrix:
    """A run over several kernels under way."""

    def __init__(self, board: Board, progress: BaseProgress) -> None:
        self.board = board
        self.running: dict[str, float] = {}
        """As of :class:`ActiveTests`."""
        self._progress = progress

    def building(self, kernel: KernelName) -> None:
        """Show that *kernel* is being built."""
        self.board.building(kernel)

    def failed(self, kernel: KernelName, reason: str) -> None:
        """Show that *kernel* is not available."""
        self.board.failed(kernel, reason)
        self._progress.tell_kernels(self.board)

    def built(self, kernel: KernelName, cells: Mapping[str, CellOf], forecast: Forecast) -> None:
        """Say that *kernel* is there, with its tests by suite, and what is expected of the rest."""
        self.board.built(kernel, cells, forecast)
        self._progress.tell_kernels(self.board)

    def tests(self, kernel: KernelName) -> TestProgress:
        """Return where the tests of *kernel* are shown."""
        return _TestsOfKernel(kernel, self, self._progress)


class _TestsOfKernel:
    """The tests of one kernel of several; of those as expected only the number is shown."""

    def __init__(self, kernel: KernelName, matrix: ActiveMatrix, progress: BaseProgress) -> None:
        self._kernel = kernel
        self._matrix = matrix
        self._progress = progress

    def started(self, label: str) -> None:
        """Show *label* as running."""
        self._matrix.running = {**self._matrix.running, label: self._progress.clock()}

    def again(self, test: Test, label: str) -> None:
        """Show no more that *label* is running; the counts of the end tell how it went."""
        running = self._matrix.running.items()
        self._matrix.running = {name: at for name, at in running if name != label}
        if self._progress.verbose:
            self._progress.tell_test(test, label)

    def finished(self, test: Test, label: str) -> None:
        """Count *test*; leave its line where it is not as expected."""
        running = self._matrix.running.items()
        self._matrix.running = {name: at for name, at in running if name != label}
        self._matrix.board.finished(self._kernel, test)
        self._progress.tell_test(test, label)
        self._progress.tell_kernels(self._matrix.board)


class BaseProgress(ABC):
    """Progress on a stream; subclasses define the form of the lines."""

    def __init__(
        self,
        terminal: Terminal,
        *,
        clock: Callable[[], float] = time.monotonic,
        verbose: bool = False,
    ) -> None:
        self.terminal = terminal
        self.verbose = verbose
        self.clock = clock
        self.steps: list[ActiveStep] = []
        self.active_tests: ActiveTests | None = None
        self.active_matrix: ActiveMatrix | None = None
        self._lock = threading.RLock()

    @abstractmethod
    def emit(self, spans: Sequence[Span], depth: int = 0) -> None:
        """Write one permanent line."""

    @property
    def columns(self) -> int:
        """The maximum length of the line of a finished test."""
        return LOG_COLUMNS

    @abstractmethod
    def watch(self, busy: bool) -> None:
        """Start (True) or stop showing that something is in progress."""

    @abstractmethod
    def opened(self, step: ActiveStep) -> None:
        """Tell that *step* has begun, where that is not seen anyway."""

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Open a step; leaving the context ends it, with its duration."""
        with self._lock:
            thread = threading.get_ident()
            depth = sum(each.thread == thread for each in self.steps)
            step = ActiveStep(one_line(title), depth, self.clock(), thread)
            self.steps.append(step)
            self.opened(step)
            self._watch_if_busy()
        ended = ""
        try:
            yield step
        except Exception:
            ended = "failed"
            raise
        except BaseException:
            ended = "interrupted"
            raise
        finally:
            with self._lock:
                self.steps.remove(step)
                self._watch_if_busy()
                self.emit(self._step_line(step, ended), step.depth)

    def note(self, text: str) -> None:
        """Write one permanent line."""
        with self._lock:
            self.emit([("note: ", "warn"), (one_line(text, 2000), "")])

    @contextmanager
    def tests(self, planned: Sequence[str]) -> Iterator[TestProgress]:
        """Open the view of running tests."""
        with self._lock:
            tests = ActiveTests(planned, self.clock, self._test_finished)
            self.active_tests = tests
            self._watch_if_busy()
        try:
            yield tests
        finally:
            with self._lock:
                self.active_tests = None
                self._watch_if_busy()

    @contextmanager
    def matrix(
        self, kernels: Mapping[KernelName, Forecast], suites: Sequence[str]
    ) -> Iterator[MatrixProgress]:
        """Open the view of a run over several kernels."""
        with self._lock:
            matrix = ActiveMatrix(Board(kernels, suites, self.clock), self)
            self.active_matrix = matrix
            self._watch_if_busy()
        try:
            yield matrix
        finally:
            with self._lock:
                self.active_matrix = None
                self._watch_if_busy()

    def tell_kernels(self, board: Board) -> None:
        """Write a line for each kernel that has just finished."""
        with self._lock:
            for line in board.newly_over():
                self.emit(line)

    def tell_test(self, test: Test, label: str) -> None:
        """Write the line of a *test* of several kernels, unless it ended as expected."""
        if self.verbose or not test.outcome.as_expected:
            self._test_finished(test, label, _NAME_WIDTH)

    def _test_finished(self, test: Test, label: str, width: int) -> None:
        with self._lock:
            room = sys.maxsize if self.verbose else self.columns
            self.emit(finished_line(test, label, width, self.terminal.unicode, room))

    def _watch_if_busy(self) -> None:
        active = (self.active_tests, self.active_matrix)
        self.watch(bool(self.steps) or any(each is not None for each in active))

    def _step_line(self, step: ActiveStep, ended: str) -> list[Span]:
        style = "bad" if ended else "good"
        spans: list[Span] = [
            (mark(style, self.terminal.unicode), style),
            (f" {step.title}", ""),
        ]
        if ended:
            spans.append((f": {ended}", "bad"))
        spans.append((f"  {duration(self.clock() - step.start)}", "dim"))
        if step.text:
            spans.append((f"  ({one_line(step.text)})", ""))
        return spans


def finished_line(
    test: Test, label: str, width: int, unicode: bool, room: int = sys.maxsize
) -> list[Span]:
    """Return the line that a finished test leaves, of at most *room* columns.

    *width* is that of the column of labels.  Texts that do not fit end in ``...``; a quarter of the
    line is kept for the reason.  A known failure has its tag for a reason, unless *room* has no
    end.
    """
    style = style_of(test.outcome)
    seconds = test.guest_s if test.total_s is None else test.total_s
    ended, took = f"{mark(style, unicode)} {test.outcome:<7}  ", f"  {duration(seconds):>6}"
    reason = ""
    if test.outcome is not Outcome.PASS:
        known = test.outcome is Outcome.XFAIL and room < sys.maxsize
        reason = known_tags(test) if known else one_line(test.reason)
    kept = min(columns(reason) + 2, room // 4) if reason else 0
    for_name = room - columns(ended) - columns(took) - kept
    name = pad(fit(one_line(label), for_name), min(width, for_name, room // 2))
    spans: list[Span] = [(ended, style), (name, ""), (took, "dim")]
    left = room - columns(ended + name + took)
    cases = fit(cases_text(test), left - kept - 2) if test.cases else ""
    if len(cases) > len("..."):
        spans.append((f"  {cases}", "dim"))
        left -= columns(cases) + 2
    if reason:
        spans.append((f"  {fit(reason, left - 2)}", style))
    return spans


def known_tags(test: Test) -> str:
    """Return what the known failures in *test* are called, or its reason if no entry knows them."""
    reasons = [case.reason for case in test.cases if case.outcome is Outcome.XFAIL]
    names = dict.fromkeys(filter(None, map(known_as, [*reasons, test.reason])))
    return f"known: {', '.join(names)}" if names else one_line(test.reason)


def cases_text(test: Test) -> str:
    """Return ``12 cases`` where all passed, else how many ended how; empty for no cases."""
    counts = count_outcomes(case.outcome for case in test.cases)
    if set(counts) == {Outcome.PASS}:
        return count(len(test.cases), "case")
    return tally(counts)
