# SPDX-License-Identifier: GPL-2.0-only
"""Progress for a person at a terminal: lines that stay, and below them what is under way."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, TextIO, cast

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from harness.report.fold import fold
from harness.report.steps import ActiveMatrix, ActiveStep, ActiveTests, BaseProgress
from harness.report.terminal import Safe, Terminal
from harness.report.text import STYLES, Span, duration, one_line, tally

_FRAMES = ("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "-\\|/")
_BARS = (("━", "─"), ("#", "-"))
_BAR_WIDTH = 24
_REFRESH_PER_S = 8
_MAX_RUNNING = 6
_AROUND_TABLE = 4
"""Lines of a terminal beside the rows of the table, the running tests and the steps."""


class RichProgress(BaseProgress):
    """Steps with spinner, time and bar; finished ones stay as a line above."""

    def __init__(
        self,
        stream: TextIO,
        terminal: Terminal | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        verbose: bool = False,
    ) -> None:
        super().__init__(terminal or Terminal.of(stream), clock=clock, verbose=verbose)
        self._console = make_console(stream, self.terminal)
        self._to_stderr = stream is sys.stderr
        self._live: Live | None = None

    @property
    def columns(self) -> int:
        """The width of the terminal at this moment."""
        return self._console.width

    def emit(self, spans: Sequence[Span], depth: int = 0) -> None:
        """Write one line above what is under way, folded to the terminal's width."""
        for line in fold([("  " * depth, ""), *spans], self.columns):
            self._console.print(to_text(line), soft_wrap=True)

    def opened(self, step: ActiveStep) -> None:
        """Do nothing: what is under way is seen below."""

    def watch(self, busy: bool) -> None:
        """Start or stop drawing."""
        if busy and self._live is None:
            self._live = Live(
                console=self._console,
                get_renderable=self.view,
                refresh_per_second=_REFRESH_PER_S,
                transient=True,
                # A stray line on the same terminal must go above the live ones; what goes to a
                # file is left alone.
                redirect_stderr=self._to_stderr,
                redirect_stdout=sys.stdout.isatty(),
            )
            self._live.start()
        elif not busy and self._live is not None:
            live, self._live = self._live, None
            live.stop()

    def view(self) -> RenderableType:
        """Return what is under way at this moment; the drawing thread calls this too."""
        lines = [self._step_line_live(step) for step in list(self.steps)]
        tests, matrix = self.active_tests, self.active_matrix
        if tests is not None:
            lines += self._test_lines(tests)
        if matrix is not None:
            lines += self._matrix_lines(matrix)
        return Group(*lines)

    def _step_line_live(self, step: ActiveStep) -> Text:
        spans: list[Span] = [
            ("  " * step.depth, ""),
            (self._frame(), "bold"),
            (f" {step.title}", "bold"),
            (f"  {duration(self.clock() - step.start)}", "dim"),
        ]
        done, total = step.done, step.total
        if done is not None and total:
            spans += [("  ", ""), *self._bar(done, total), (f" {done}/{total}", "dim")]
        elif done is not None:
            spans.append((f"  {done}", "dim"))
        if step.detail:
            spans.append((f"  {one_line(step.detail, 300)}", "dim"))
        return to_text(spans)

    def _test_lines(self, tests: ActiveTests) -> list[Text]:
        now = self.clock()
        counts, running = tests.counts, tests.running
        bad = any(not outcome.as_expected for outcome in counts)
        spans: list[Span] = [
            (self._frame(), "bold"),
            (f" {tests.progress}", "bold"),
            (f"  {duration(now - tests.start)}  ", "dim"),
        ]
        if tests.total:
            spans += self._bar(tests.finished_count, tests.total)
        if counts:
            spans.append((f"  {tally(counts)}", "bad" if bad else "good"))
        lines = [to_text(spans)]
        return lines + self._running_lines(running)

    def _running_lines(self, running: Mapping[str, float]) -> list[Text]:
        now, lines = self.clock(), []
        room = max(1, min(_MAX_RUNNING, self._console.height // 3))
        for name, at in list(running.items())[:room]:
            lines.append(to_text([(f"  {one_line(name)}", ""), (f"  {duration(now - at)}", "dim")]))
        if len(running) > room:
            lines.append(to_text([(f"  and {len(running) - room} more", "dim")]))
        return lines

    def _matrix_lines(self, matrix: ActiveMatrix) -> list[Text]:
        """Return the table, and under it what runs and how far it is."""
        under = self._running_lines(matrix.running)
        steps = len(self.steps)
        rows = self._console.height - len(under) - steps - _AROUND_TABLE
        now = f"  {duration(self.clock() - matrix.board.begun)}"
        head = [(self._frame(), "bold"), (f" {matrix.board.progress}", "bold"), (now, "dim")]
        return [*map(to_text, matrix.board.table(rows)), to_text(head), *under]

    def _frame(self) -> str:
        frames = _FRAMES[0 if self.terminal.unicode else 1]
        return frames[int(self.clock() * _REFRESH_PER_S) % len(frames)]

    def _bar(self, done: int, total: int) -> list[Span]:
        full, empty = _BARS[0 if self.terminal.unicode else 1]
        filled = min(_BAR_WIDTH, _BAR_WIDTH * done // max(1, total))
        return [(full * filled, "good"), (empty * (_BAR_WIDTH - filled), "dim")]


def make_console(stream: TextIO, terminal: Terminal) -> Console:
    """Return a console on the terminal *stream* that reads no markup in what it is given."""
    return Console(
        file=cast(IO[str], Safe(stream)),
        # rich would ask NO_COLOR, FORCE_COLOR and TERM itself, and answer otherwise than Terminal.
        force_terminal=True,
        force_interactive=True,
        no_color=not terminal.colour,
        markup=False,
        emoji=False,
        highlight=False,
    )


def to_text(spans: Sequence[Span]) -> Text:
    """Return *spans* as one Text that is cut off at the width, where it is not soft-wrapped."""
    text = Text(no_wrap=True, overflow="crop")
    for piece, style in spans:
        text.append(piece, STYLES[style] if style else None)
    return text
