# SPDX-License-Identifier: GPL-2.0-only
"""The console, for the command line: progress, the end of a run, errors.

Importing this is cheap: rich (about 0.1 s) is loaded only for a terminal whose lines move.  Text of
tests, kernels and tools is made printable first and never read as markup, so nothing that
is printed inside a guest can act on the terminal.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from harness.errors import HarnessError
from harness.model.results import Results
from harness.report.display import Display, TestProgress
from harness.report.fold import fold
from harness.report.plain import PlainProgress
from harness.report.summary import summary
from harness.report.terminal import Safe, Terminal
from harness.report.text import HINT, PATH, Span, paint
from harness.visible import visible

__all__ = [
    "Display",
    "PlainProgress",
    "Terminal",
    "TestProgress",
    "make_progress",
    "print_error",
    "print_lines",
    "print_summary",
]


def make_progress(
    stream: TextIO, terminal: Terminal | None = None, *, verbose: bool = False
) -> Display:
    """Return the progress that suits *stream*: moving lines on a terminal, else plain ones.

    With *verbose* the line of a test is as long as its reason.
    """
    terminal = terminal or Terminal.of(stream)
    if terminal.live:
        from harness.report.live import RichProgress

        return RichProgress(stream, terminal, verbose=verbose)
    return PlainProgress(stream, terminal, verbose=verbose)


def print_summary(
    results: Results,
    stream: TextIO,
    *,
    verbose: bool = False,
    directory: str = "",
    junit: str = "",
    page: str = "",
    shell: str = "",
    terminal: Terminal | None = None,
) -> None:
    """Print the summary of a finished run; see :func:`harness.report.summary.summary`."""
    terminal = terminal or Terminal.of(stream)
    lines = summary(
        results,
        verbose=verbose,
        unicode=terminal.unicode,
        directory=directory,
        junit=junit,
        page=page,
        shell=shell,
        width=terminal.columns,
    )
    print_lines(lines, stream, terminal)


def print_lines(
    lines: Iterable[list[Span]], stream: TextIO, terminal: Terminal | None = None
) -> None:
    """Print *lines*, in colour where *stream* is a terminal that has any, and within its width."""
    terminal = terminal or Terminal.of(stream)
    safe = Safe(stream)
    folded = (part for line in lines for part in fold(line, terminal.columns))
    safe.write("".join(paint(line, terminal.colour) + "\n" for line in folded))
    safe.flush()


def print_error(error: HarnessError, stream: TextIO, terminal: Terminal | None = None) -> None:
    """Print *error* in its four parts: what, where, why, and what to do about it."""
    terminal = terminal or Terminal.of(stream)
    lines: list[list[Span]] = [[("error: ", "bad"), (visible(error.what), "bold")]]
    for label, text, style in (
        ("where", error.where, PATH),
        ("why", error.why, ""),
        ("do", error.hint, HINT),
    ):
        for number, line in enumerate(visible(text).rstrip("\n").split("\n") if text else ()):
            head = f"  {label + ':':<7}" if number == 0 else " " * 9
            lines.append([(head, "dim"), (line, style)])
    print_lines(lines, stream, terminal)
