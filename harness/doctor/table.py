# SPDX-License-Identifier: GPL-2.0-only
"""Prints the results as a table: one line for each check, and below it what to do."""

from __future__ import annotations

from itertools import groupby
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.doctor.model import Check, Diagnosis
from harness.report.terminal import Safe, Terminal
from harness.report.text import one_line

_TITLES = {
    "setup": "Installed",
    "machine": "This machine",
    "guests": "Guests",
    "confidential": "Confidential guests",
}
_LOG_COLUMNS = 120
_DETAIL = 2000
"""Longest detail that is shown, in characters: a reason of QEMU may be long."""


def print_table(diagnosis: Diagnosis, stream: TextIO, terminal: Terminal | None = None) -> None:
    """Print *diagnosis* to *stream*, which may be a terminal or a log."""
    terminal = terminal or Terminal.of(stream)
    safe = Safe(stream)
    console = Console(
        file=safe,  # type: ignore[arg-type]  # of a stream, rich needs what Safe has
        force_terminal=terminal.live,
        no_color=not terminal.colour,
        width=None if terminal.live else _LOG_COLUMNS,
        highlight=False,
    )
    console.print(Text(one_line(diagnosis.machine), style="dim"))
    for group, checks in groupby(diagnosis.checks, key=lambda check: check.group):
        console.print()
        console.print(Text(_TITLES[group], style="bold"))
        console.print(_table(list(checks), terminal))
    console.print()
    console.print(_verdict(diagnosis))
    safe.flush()


def _table(checks: list[Check], terminal: Terminal) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=7, no_wrap=True)
    table.add_column(width=19, no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        text = Text(one_line(check.detail, _DETAIL))
        if check.do and check.state != "yes":
            arrow = "→" if terminal.unicode else "->"
            text.append(f"\n{arrow} {one_line(check.do, _DETAIL)}", style="green")
        table.add_row(_state(check), Text(check.name), text)
    return table


def _state(check: Check) -> Text:
    if check.fatal:
        return Text("MISSING", style="bold red")
    styles = {"yes": "green", "no": "yellow", "unknown": "dim"}
    return Text(check.state, style=styles[check.state])


def _verdict(diagnosis: Diagnosis) -> Text:
    lacking = [check.name for check in diagnosis.checks if check.fatal]
    if diagnosis.ready:
        return Text("READY: all that make test-kernel needs is there", style="bold green")
    return Text(f"NOT READY (exit 3): missing {', '.join(lacking)}", style="bold red")
