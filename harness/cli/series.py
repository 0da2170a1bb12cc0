# SPDX-License-Identifier: GPL-2.0-only
"""``harness series``: look at a series, and apply it, without building anything."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from harness import project
from harness import series as series_room
from harness.cli.options import FilePath, Name, find_project, project_option
from harness.errors import UserError
from harness.report import series as report
from harness.report.terminal import Safe, Terminal
from harness.report.text import Span, paint, short
from harness.series import Stack
from harness.series.branch import apply_into
from harness.series.shown import show as shown_of
from harness.visible import visible


@click.group(short_help="Look at a series, or apply it into a repository.")
def series() -> None:
    """Work with a series without building it.

    SERIES is a stack of the project file or whatever holds a series: a directory of patches, a
    quilt directory, a patch, an mbox or maildir with the whole thread, commits of a local
    repository (REPOSITORY#BASE..TIP), or a message-id or lore URL, which b4 fetches.  A path needs
    no project.
    """


def _which(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what says which series, and which part of it."""
    for option in (
        project_option,
        click.option(
            "--series-version",
            type=click.IntRange(min=1),
            metavar="N",
            help="Of several versions of the series in one file, take vN.  [default: the newest "
            "that is whole]",
        ),
        click.option(
            "--upto",
            type=click.IntRange(min=1),
            metavar="N",
            help="Take only the first N patches, counted through all series.  [default: all]",
        ),
        click.argument("which", metavar="SERIES...", nargs=-1, required=True, type=Name()),
    ):
        command = option(command)
    return command


@series.command(short_help="Print what a series is made of.")
@_which
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON (docs/series.md).")
def show(
    which: tuple[str, ...],
    project_file: Path | None,
    series_version: int | None,
    upto: int | None,
    as_json: bool,
) -> None:
    """Print title, version, base, patches and trailers, and what was left out and why.

    \b
    Examples:
      harness series show thread.mbox
      harness series show v10 --json | jq '.series[].patches[].subject'
      harness series show 20231105163040.14904-1-someone@example.org
    """
    shown = shown_of(_stack(which, project_file, upto, series_version))
    if as_json:
        from harness.model.results import encode

        click.echo(encode(shown), nl=False)
        return
    _print(report.lines(shown))


@series.command(name="apply", short_help="Apply a series into a repository.")
@_which
@click.option(
    "--into",
    "repository",
    required=True,
    type=FilePath(file_okay=False),
    metavar="REPO",
    help="The git repository or work tree that gets the commits.",
)
@click.option(
    "--branch",
    type=Name(),
    metavar="NAME",
    help="Make a new branch of this name; no work tree is touched.  [default: the branch that the "
    "work tree is on moves; the tree has to be clean]",
)
@click.option(
    "--base",
    type=Name(),
    metavar="REV",
    help="Apply upon this commit; only with --branch.  [default: HEAD]",
)
@click.option(
    "--apply-trailers",
    is_flag=True,
    help="Add Reviewed-by and the like from replies to the messages, as b4 does: not those that "
    "name another person than the sender.",
)
def apply_command(
    which: tuple[str, ...],
    project_file: Path | None,
    series_version: int | None,
    upto: int | None,
    repository: Path,
    branch: str | None,
    base: str | None,
    apply_trailers: bool,
) -> None:
    """Apply SERIES as commits: all of it, or nothing.

    Where it does not apply, the error names patch, file and hunk and shows what the patch expects
    and what the tree has; the repository is as it was.

    \b
    Examples:
      harness series apply thread.mbox --into ~/linux --branch review/foo --base v6.1
      harness series apply fix.patch --into ~/linux
    """
    here = Path.cwd()
    stack = _stack(which, project_file, upto, series_version)
    if not stack.series:
        raise UserError("there is nothing to apply", where="'none' is the source as it is")
    done = apply_into(
        stack,
        here / repository,
        branch=branch or "",
        base=base or "",
        trailers=apply_trailers,
    )
    number = f"{done.count} patch{'es' if done.count > 1 else ''}"
    into = f"the branch {done.branch}" if done.branch else "the work tree"
    place = f" to {into} of {short(here / repository, here)}: "
    span = f"{done.base[:12]}..{done.commit[:12]}"
    told: list[list[Span]] = [
        [(f"{number} applied", "good"), (visible(place), ""), (span, "bold")],
    ]
    told += [[("note: ", "warn"), (visible(note), "")] for note in (*stack.notes, *done.notes)]
    _print(told)


def _stack(
    which: tuple[str, ...], project_file: Path | None, upto: int | None, version: int | None
) -> Stack:
    """Read the series; outside of a project only paths can be named."""
    here = Path.cwd()
    file, found = here / project.FILE_NAME, None
    try:
        file = find_project(project_file, here)
    except UserError:
        if project_file is not None:
            raise
    else:
        found = project.load(file)
    names, paths = series_room.resolve(which, found, file, here)
    if version is not None and len(paths) != 1:
        raise UserError(
            "a version can be chosen of one series only", where=f"--series-version {version}"
        )
    name = "+".join(names) or project.NO_SERIES
    return series_room.read_stack(name, paths, upto=upto, version=version)


def _print(lines: list[list[Span]]) -> None:
    terminal = Terminal.of(sys.stdout)
    safe = Safe(sys.stdout)
    safe.write("".join(paint(line, terminal.colour) + "\n" for line in lines))
    safe.flush()
