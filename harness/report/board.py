# SPDX-License-Identifier: GPL-2.0-only
"""Progress of a run over several kernels: a table of kernels and suites, and the time left.

The values only; :mod:`harness.report.live` draws the table, :mod:`harness.report.plain` tells it in
lines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from harness.model.ids import KernelName
from harness.model.results import Test
from harness.outcome import Outcome
from harness.report.text import (
    Span,
    columns,
    count,
    count_outcomes,
    duration,
    fit,
    one_line,
    pad,
    tally,
)

Line = list[Span]
_SUITE_COLUMNS = 24
_KERNEL_COLUMNS = 12
_CELL_COLUMNS = len("999 of 999, 9 bad")


class Forecast(msgspec.Struct, frozen=True):
    """What is expected of a kernel, from earlier builds and tests; None for what is not known."""

    build_s: float | None
    """Seconds until it is built, with its suites."""
    tests_s: float | None
    """Seconds that its tests take, with as many at a time as there are guests."""


class CellOf(msgspec.Struct, frozen=True):
    """The tests of a suite on a kernel that is built."""

    total: int
    before: int = 0
    """Of these so many ended before: in an earlier run, or before this one was cut off."""
    same_as: KernelName | None = None
    """The kernel on which they run instead, if any."""


@dataclass
class _Cell:
    """A suite on a kernel; :attr:`total` is None while its tests are not known."""

    total: int | None = None
    before: int = 0
    same_as: KernelName | None = None
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def done(self) -> int:
        return len(self.outcomes) + self.before

    @property
    def over(self) -> bool:
        return self.same_as is not None or self.done == self.total


@dataclass(eq=False)
class _Kernel:
    name: KernelName
    forecast: Forecast
    cells: dict[str, _Cell]
    began: float | None = None
    there: float | None = None
    """When its build ended, successfully or not."""
    failed: str = ""
    told: bool = False

    @property
    def over(self) -> bool:
        return bool(self.failed) or all(cell.over for cell in self.cells.values())


class Board:
    """The kernels of a run by suite; one thread changes it, another may draw it."""

    def __init__(
        self,
        kernels: Mapping[KernelName, Forecast],
        suites: Sequence[str],
        clock: Callable[[], float],
    ) -> None:
        self._clock = clock
        self.begun = clock()
        self._suites = tuple(suites)
        self._kernels = {
            name: _Kernel(name, forecast, {suite: _Cell() for suite in suites})
            for name, forecast in kernels.items()
        }

    def building(self, kernel: KernelName) -> None:
        """Record that *kernel* is being built."""
        self._kernels[kernel].began = self._clock()

    def failed(self, kernel: KernelName, reason: str) -> None:
        """Record that *kernel* is not available."""
        self._kernels[kernel].there, self._kernels[kernel].failed = self._clock(), reason

    def built(self, kernel: KernelName, cells: Mapping[str, CellOf], forecast: Forecast) -> None:
        """Record that *kernel* is built, with its tests by suite; *forecast* is of the others."""
        mine = self._kernels[kernel]
        mine.there, mine.forecast = self._clock(), forecast
        for suite, cell in mine.cells.items():
            known = cells.get(suite, CellOf(0))
            cell.total, cell.before, cell.same_as = known.total, known.before, known.same_as

    def finished(self, kernel: KernelName, test: Test) -> None:
        """Count a *test* that has ended on *kernel*."""
        self._kernels[kernel].cells[test.suite].outcomes.append(test.outcome)

    def newly_over(self) -> list[Line]:
        """Return a line for each finished kernel that has not been reported before."""
        found = []
        for kernel in self._kernels.values():
            if kernel.over and not kernel.told:
                kernel.told = True
                found.append(_line_of(kernel))
        return found

    @property
    def progress(self) -> str:
        """The progress as text: kernels, tests, and the time left."""
        kernels = self._kernels.values()
        over = sum(kernel.over for kernel in kernels)
        cells = [cell for kernel in kernels for cell in kernel.cells.values()]
        total = sum(cell.total or 0 for cell in cells if cell.same_as is None)
        done = sum(cell.done for cell in cells)
        parts = [f"{over} of {count(len(kernels), 'kernel')}"]
        parts += [f"{done} of {count(total, 'test')}"] if total else []
        left = self.left_s()
        parts += [f"about {duration(left)} left"] if left is not None else []
        return ", ".join(parts)

    def table(self, rows: int) -> list[Line]:
        """Return the table, with at most so many *rows* of kernels: those under way come first."""
        left = [kernel for kernel in self._kernels.values() if not kernel.over]
        over = [kernel for kernel in self._kernels.values() if kernel.over]
        most = max(1, rows)
        # Of those that are over the last, as they are beside what is under way.
        chosen = [*over[max(0, len(over) - max(0, most - len(left))) :], *left[:most]]
        shown = [kernel for kernel in self._kernels.values() if kernel in chosen]
        names = {kernel.name: fit(one_line(kernel.name), _KERNEL_COLUMNS) for kernel in shown}
        wide = max([len("kernel"), *map(columns, names.values())])
        heads = [fit(one_line(suite), _SUITE_COLUMNS) for suite in self._suites]
        widths = [max(columns(head), _CELL_COLUMNS) for head in heads]
        head = "".join(f"  {pad(text, width)}" for text, width in zip(heads, widths, strict=True))
        lines: list[Line] = [[(f"{'kernel':<{wide}}  {'build':<10}{head}", "dim")]]
        for kernel in shown:
            line: Line = [(pad(names[kernel.name], wide), "bold"), *self._build(kernel)]
            for cell, width in zip(kernel.cells.values(), widths, strict=True):
                text, style = _cell(cell, kernel)
                line.append((f"  {pad(fit(text, width), width)}", style))
            lines.append(line)
        hidden = len(self._kernels) - len(shown)
        if hidden:
            lines.append([(f"and {count(hidden, 'more kernel')}", "dim")])
        return lines

    def _build(self, kernel: _Kernel) -> Line:
        if kernel.failed:
            return [(f"  {'fails':<10}", "bad")]
        if kernel.there is not None:
            took = kernel.there - (self.begun if kernel.began is None else kernel.began)
            return [(f"  {duration(took):<10}", "good")]
        if kernel.began is not None:
            return [(f"  {f'{duration(self._clock() - kernel.began)}...':<10}", "warn")]
        return [(f"  {'':<10}", "")]

    def left_s(self) -> float | None:
        """Return the estimated seconds left; None if too little is known.

        Kernels are built one after the other, and their tests run as soon as they are there and
        those of the kernels before have begun.
        """
        now = self._clock()
        built_at = tested_at = 0.0
        for kernel in self._kernels.values():
            if kernel.there is None:
                expected = kernel.forecast.build_s
                if expected is None:
                    return None
                spent = now - kernel.began if kernel.began is not None else 0.0
                built_at += max(expected - spent, 0.0)
            if kernel.over and kernel.there is not None:
                continue
            tests_s = kernel.forecast.tests_s
            if tests_s is None:
                return None
            left = tests_s * self._share_left(kernel)
            tested_at = max(tested_at, built_at) + left
        return max(tested_at, built_at)

    @staticmethod
    def _share_left(kernel: _Kernel) -> float:
        own = [cell for cell in kernel.cells.values() if cell.same_as is None]
        total = sum((cell.total or 0) - cell.before for cell in own)
        done = sum(len(cell.outcomes) for cell in own)
        return 1.0 if total <= 0 else max(0.0, 1.0 - done / total)


def _cell(cell: _Cell, kernel: _Kernel) -> tuple[str, str]:
    """Return the text of a cell of the table, and its style."""
    if kernel.failed:
        return "-", "dim"
    if cell.same_as is not None:
        return f"= {one_line(cell.same_as)}", "dim"
    if cell.total is None:
        return "", ""
    bad = sum(not outcome.as_expected for outcome in cell.outcomes)
    said = str(cell.total) if cell.over else f"{cell.done} of {cell.total}"
    return (f"{said}, {bad} bad", "bad") if bad else (said, "good" if cell.over else "")


def _line_of(kernel: _Kernel) -> Line:
    """Return the line of a finished kernel."""
    name = f"kernel {one_line(kernel.name)}"
    if kernel.failed:
        return [(f"{name}: ", "bold"), (one_line(kernel.failed), "bad")]
    line: Line = [(f"{name}: ", "bold")]
    own = [cell for cell in kernel.cells.values() if cell.same_as is None]
    same = dict.fromkeys(cell.same_as for cell in kernel.cells.values() if cell.same_as is not None)
    outcomes = count_outcomes(outcome for cell in own for outcome in cell.outcomes)
    before = sum(cell.before for cell in own)
    parts = [(tally(outcomes), "good")] if outcomes else []
    if any(not outcome.as_expected for outcome in outcomes):
        parts = [(tally(outcomes), "bad")]
    parts += [(f"{before} known from before", "")] if before else []
    parts += [(f"the same as {', '.join(map(one_line, same))}", "dim")] if same else []
    for number, part in enumerate(parts or [("no tests", "dim")]):
        line += [(", ", "")] if number else []
        line.append(part)
    return line
