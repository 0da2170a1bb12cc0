# SPDX-License-Identifier: GPL-2.0-only
"""Prints the results as a table: one line for each check, and below it what to do."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import TextIO

from harness.doctor.model import Check, Diagnosis
from harness.report.console import print_lines
from harness.report.fold import fold
from harness.report.terminal import Terminal
from harness.report.text import LOG_COLUMNS, Span, one_line

Line = list[Span]

_TITLES = {
    "setup": "Installed",
    "machine": "This machine",
    "guests": "Guests",
    "confidential": "Confidential guests",
}
_DETAIL = 2000
"""Longest detail that is shown, in characters: a reason of QEMU may be long."""
_STATE, _NAME = 9, 21
"""Columns of state and name, with the blanks behind them."""
_LEAST_DETAIL = 40
"""Columns of details beside the names; in a narrower terminal details stand below them."""
_STYLES = {"yes": "good", "no": "warn", "unknown": "dim"}


def print_table(diagnosis: Diagnosis, stream: TextIO, terminal: Terminal | None = None) -> None:
    """Print *diagnosis* to *stream*, which may be a terminal or a log."""
    terminal = terminal or Terminal.of(stream)
    print_lines(_lines(diagnosis, terminal), stream, terminal)


def _lines(diagnosis: Diagnosis, terminal: Terminal) -> Iterator[Line]:
    yield [(one_line(diagnosis.machine), "dim")]
    for group, checks in groupby(diagnosis.checks, key=lambda check: check.group):
        yield []
        yield [(_TITLES[group], "bold")]
        for check in checks:
            yield from _row(check, terminal)
    yield []
    yield _verdict(diagnosis)


def _row(check: Check, terminal: Terminal) -> Iterator[Line]:
    state = ("MISSING", "bad") if check.fatal else (check.state, _STYLES[check.state])
    head: Line = [(f"{state[0]:<{_STATE}}", state[1]), (f"{check.name:<{_NAME}}", "")]
    width = min(terminal.columns, LOG_COLUMNS)
    beside = width >= _STATE + _NAME + _LEAST_DETAIL
    indent = _STATE + _NAME if beside else 4
    parts = fold([(one_line(check.detail, _DETAIL), "")], width - indent)
    if check.do and check.state != "yes":
        arrow = "→" if terminal.unicode else "->"
        advice = [(f"{arrow} {one_line(check.do, _DETAIL)}", "good")]
        parts += fold(advice, width - indent)
    if not beside:
        yield head
    for number, part in enumerate(parts):
        yield [*head, *part] if beside and number == 0 else [(" " * indent, ""), *part]


def _verdict(diagnosis: Diagnosis) -> Line:
    lacking = [check.name for check in diagnosis.checks if check.fatal]
    if diagnosis.ready:
        return [("READY: all that make test-kernel needs is there", "good")]
    return [(f"NOT READY (exit 3): missing {', '.join(lacking)}", "bad")]
