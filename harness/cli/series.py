# SPDX-License-Identifier: GPL-2.0-only
"""``harness series``: look at a series, check it patch by patch, and apply it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from harness import project
from harness import series as series_room
from harness.checks import CHECKS
from harness.cli.options import (
    FilePath,
    Name,
    cc_option,
    find_project,
    program_words,
    project_option,
    summary_option,
)
from harness.errors import UserError
from harness.model.checks import Severity
from harness.model.spec import KernelSpec, Trust
from harness.report import series as report
from harness.report.console import print_lines
from harness.report.text import Span, short
from harness.run.request import Request
from harness.series import Stack
from harness.series.branch import apply_into
from harness.series.shown import show as shown_of
from harness.visible import visible

FORMS = ("sarif", "json", "junit", "markdown", "html")
"""Formats of reports that can show results of checks."""


@click.group(short_help="Show a series, check it patch by patch, or apply it.")
def series() -> None:
    """Work with a series without running tests.

    SERIES is a stack of the project file, a directory of patches, a quilt directory, a patch, an
    mbox or maildir with the whole thread, commits of a local repository (REPOSITORY#BASE..TIP),
    or a message-id or lore URL, which b4 fetches.  A path needs no project.
    """


def _which(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that select the series, and the part of it."""
    for option in (
        project_option,
        click.option(
            "--series-version",
            type=click.IntRange(min=1),
            metavar="N",
            help="Use version N, where a file contains several versions of the series.  [default: "
            "the newest complete one]",
        ),
        click.option(
            "--upto",
            type=click.IntRange(min=1),
            metavar="N",
            help="Use only the first N patches, counted through all series.  [default: all]",
        ),
        click.argument("which", metavar="SERIES...", nargs=-1, required=True, type=Name("stacks")),
    ):
        command = option(command)
    return command


@series.command(short_help="Print the patches of a series, and what was left out.")
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
    print_lines(report.lines(shown), sys.stdout)


@series.command(name="apply", short_help="Apply a series into a repository.")
@_which
@click.option(
    "--into",
    "repository",
    required=True,
    type=FilePath(file_okay=False),
    metavar="REPO",
    help="The git repository or work tree to which the commits are added.",
)
@click.option(
    "--branch",
    type=Name(),
    metavar="NAME",
    help="Create a new branch of this name; no work tree is touched.  [default: the branch that "
    "is checked out in the work tree, which must be clean]",
)
@click.option(
    "--base",
    type=Name(),
    metavar="REV",
    help="Apply on top of this commit; only with --branch.  [default: HEAD]",
)
@click.option(
    "--apply-trailers",
    is_flag=True,
    help="Add trailers such as Reviewed-by from replies to the messages, as b4 does, except those "
    "that name another person than the sender.",
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
    """Apply SERIES as commits: all patches, or none.

    If it does not apply, the error names patch, file and hunk, and shows what the patch expects
    and what the tree has.  The repository is then unchanged.

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
    print_lines(told, sys.stdout)


@series.command(short_help="Check each patch for problems that it introduces.")
@_which
@click.option(
    "--source",
    type=Name(),
    metavar="SPEC",
    help="Take the kernel from this source, as for `harness run`.  [default: kernel.source of the "
    "project file]",
)
@click.option(
    "--config",
    multiple=True,
    type=Name(),
    metavar="NAME",
    help="Add this configuration fragment of kernel-configs/.  May be repeated.  [default: "
    "kernel.config of the project file]",
)
@cc_option
@click.option(
    "--trust",
    type=click.Choice(["own", "stranger"]),
    help="Build with your own rights, or in a sandbox as a stranger's (docs/sandbox.md).  "
    "[default: stranger for mail and URLs, own for local paths]",
)
@click.option(
    "--check",
    "wanted",
    multiple=True,
    type=click.Choice(CHECKS),
    help="Run only this check.  May be repeated.  [default: all checks]",
)
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warning"]),
    default="error",
    show_default=True,
    help="The lowest severity with which a finding fails the check.",
)
@click.option(
    "--out",
    type=FilePath(file_okay=False),
    help="Write journal, reports and logs to this directory.  It must be new, empty, or the "
    "directory of an earlier run.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Continue the checks in the directory of --out that were cut off: what has a result "
    "keeps it.",
)
@click.option("--junit", type=FilePath(dir_okay=False), help="Write the JUnit report to this file.")
@summary_option
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMS),
    help="Print the complete report in this format; SARIF is for code scanning and editors.",
)
@click.option("-v", "--verbose", is_flag=True, help="Also show notes, and each check that passed.")
def check(
    which: tuple[str, ...],
    project_file: Path | None,
    series_version: int | None,
    upto: int | None,
    source: str | None,
    config: tuple[str, ...],
    cc: str | None,
    trust: str | None,
    wanted: tuple[str, ...],
    fail_on: str,
    out: Path | None,
    resume: bool,
    junit: Path | None,
    summary: Path | None,
    form: str | None,
    verbose: bool,
) -> int:
    """Check each patch of SERIES for problems that this patch introduces.

    \b
    signed-off  there is a Signed-off-by of the author and of the sender
    fixes       Fixes: names a commit of the source, with its title
    checkpatch  messages of the source's scripts/checkpatch.pl
    builds      the tree builds with the patches up to this one
    options     it also builds with each new configuration symbol inverted
    boots       its kernel boots, runs a program, and reports nothing new
    warnings    new compiler warnings at W=1, also if old ones have moved
    kernel-doc  new messages of the tree's scripts/kernel-doc about files that it touches
    sparse      new messages of sparse about C files that it touches
    headers     user-space headers that it removes (new and changed ones are notes)

    \b
    Examples:
      harness series check thread.mbox
      harness series check '../linux#v6.1..topic' --check signed-off --check checkpatch
      harness series check v10 --fail-on warning --junit checks.xml
      harness series check v10 --out checks --resume
      harness series check thread.mbox --format sarif >checks.sarif

    Exit status: 1 where a check has failed; 0 where none has.
    """
    from harness.cli.check import Wish, run

    if resume and out is None:
        raise click.UsageError("--resume needs --out, the directory of the checks to continue.")
    here = Path.cwd()
    file = find_project(project_file, here)
    wish = Wish(
        request=Request(
            project_file=file,
            project=project.load(file),
            working_dir=here,
            kernels=(
                KernelSpec(
                    source=source,
                    series=which,
                    upto=upto,
                    series_version=series_version,
                    config=config,
                    cc=cc or "",
                ),
            ),
            trust=Trust(trust) if trust else None,
            program=program_words(here),
        ),
        wanted=wanted or CHECKS,
        fail_on=Severity(fail_on),
        out=here / out if out else None,
        junit=junit,
        summary=summary,
        verbose=verbose,
        form=form or "",
        resume=resume,
    )
    return run(wish)


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
            "a version can be chosen for one series only", where=f"--series-version {version}"
        )
    name = "+".join(names) or project.NO_SERIES
    return series_room.read_stack(name, paths, upto=upto, version=version)
