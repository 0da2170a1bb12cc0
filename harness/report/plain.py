# SPDX-License-Identifier: GPL-2.0-only
"""Progress for a log: a line at the start and end of each step, and status lines between."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TextIO

from harness.report.fold import fold
from harness.report.steps import ActiveMatrix, ActiveStep, BaseProgress
from harness.report.terminal import Safe, Terminal
from harness.report.text import Span, duration, one_line, paint

SIGN_OF_LIFE_S = 20.0
"""Seconds of silence after which a status line is printed."""

_MAX_NAMED = 3


class PlainProgress(BaseProgress):
    """Progress as final lines, each flushed at once."""

    def __init__(
        self,
        stream: TextIO,
        terminal: Terminal | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        verbose: bool = False,
        interval_s: float = SIGN_OF_LIFE_S,
    ) -> None:
        super().__init__(terminal or Terminal.of(stream), clock=clock, verbose=verbose)
        self._stream = Safe(stream)
        self._interval_s = interval_s
        self._last = clock()
        self._stop: threading.Event | None = None

    def emit(self, spans: Sequence[Span], depth: int = 0) -> None:
        """Write one line, indented by *depth*."""
        self._last = self.clock()
        for line in fold([("  " * depth, ""), *spans], self.terminal.columns):
            self._stream.write(paint(line, self.terminal.colour) + "\n")
        self._stream.flush()

    def opened(self, step: ActiveStep) -> None:
        """Print that *step* has begun."""
        self.emit([(f"  {step.title} ...", "dim")], step.depth)

    def watch(self, busy: bool) -> None:
        """Start or stop the thread that prints status lines."""
        if busy and self._stop is None:
            self._stop = threading.Event()
            threading.Thread(target=self._tick_until, args=(self._stop,), daemon=True).start()
        elif not busy and self._stop is not None:
            self._stop.set()
            self._stop = None

    def tick(self) -> None:
        """Print a status line if nothing was written for :data:`SIGN_OF_LIFE_S` seconds."""
        with self._lock:
            if self.clock() - self._last < self._interval_s:
                return
            if self.active_matrix is not None:
                self.emit([(self._matrix_sign(self.active_matrix), "dim")])
            elif self.steps:
                step = self.steps[-1]
                self.emit([(self._step_sign(step), "dim")], step.depth)
            elif self.active_tests is not None:
                self.emit([(self._tests_sign(), "dim")])

    def _tick_until(self, stop: threading.Event) -> None:
        while not stop.wait(self._interval_s / 20):
            self.tick()

    def _step_sign(self, step: ActiveStep) -> str:
        parts = [f"  {step.title}: {duration(self.clock() - step.start)}"]
        if step.done is not None:
            parts.append(f"{step.done}/{step.total}" if step.total else str(step.done))
        if step.detail:
            parts.append(one_line(step.detail, 120))
        return ", ".join(parts)

    def _tests_sign(self) -> str:
        tests = self.active_tests
        if tests is None:
            return ""
        return f"  {tests.progress} done; running: {self._named(tests.running) or 'none'}"

    def _named(self, running: Mapping[str, float]) -> str:
        named = [
            f"{one_line(name)} ({duration(self.clock() - at)})"
            for name, at in list(running.items())[:_MAX_NAMED]
        ]
        more = len(running) - len(named)
        return ", ".join([*named, f"{more} more"] if more > 0 else named)

    def _matrix_sign(self, matrix: ActiveMatrix) -> str:
        parts = [f"  {matrix.board.progress}"]
        parts += [self._step_sign(step).strip() for step in self.steps[-1:]]
        if matrix.running:
            parts.append(f"running: {self._named(matrix.running)}")
        return "; ".join(parts)
