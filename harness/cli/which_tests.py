# SPDX-License-Identifier: GPL-2.0-only
"""``harness which-tests``: which tests run a changed line, or a patch."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from harness.cli.options import RunName, find_project, project_option
from harness.errors import ExitCode, UserError
from harness.model.coverage import Coverage, PatchCoverage
from harness.report.coverage import describe_patch
from harness.report.text import one_line
from harness.run import rundir
from harness.run.earlier import coverage_of, last_coverage

_LINE = re.compile(r"(?P<path>.+):(?P<line>\d+)")


@click.command("which-tests")
@click.argument("what", metavar="FILE:LINE|PATCH")
@click.argument("run", metavar="[RUN]", default="", type=RunName())
@project_option
def which_tests(what: str, run: str, project_file: Path | None) -> int:
    """Print the tests that ran a changed line, or any changed line of a patch.

    PATCH is its number in the series, or a part of its subject.  The answer comes from the last run
    with --coverage, or from RUN.  The exit code is 1 where no test ran it.

    \b
    Examples:
      harness which-tests mm/restrictedmem.c:97
      harness which-tests 3
      harness which-tests 'Extend the memslot'
    """
    here = Path.cwd()
    runs = find_project(project_file, here).parent / rundir.RUNS
    if run:
        directory = rundir.find(run, here, runs)
        coverage = coverage_of(directory)
    else:
        last = last_coverage(runs)
        directory, coverage = last.directory, last.coverage
    if coverage is None:
        raise UserError(
            "this run has no coverage data",
            where=str(directory),
            hint="harness run --coverage does",
        )
    found = _LINE.fullmatch(what)
    if found:
        tests = _of_line(coverage, found["path"], int(found["line"]))
    else:
        tests = _of_patch(coverage, what).tests
    for name in tests:
        click.echo(one_line(name))
    if coverage.unmeasured:
        names = ", ".join(map(one_line, coverage.unmeasured))
        click.echo(f"not known of: {names}", file=sys.stderr)
    return ExitCode.AS_EXPECTED if tests else ExitCode.NOT_AS_EXPECTED


def _of_line(coverage: Coverage, path: str, line: int) -> tuple[str, ...]:
    """Return the tests that ran a line; UserError where the kernel has no code for it."""

    def has(patch: PatchCoverage, kind: str) -> bool:
        return any(each.path == path and each.has(line) for each in getattr(patch, kind))

    if not any(has(patch, "changed") for patch in coverage.patches):
        raise UserError(
            "no patch has changed this line",
            where=f"{path}:{line}",
            why="only lines that are in the final tree and that the series wrote are watched",
        )
    if not any(has(patch, "instrumented") for patch in coverage.patches):
        raise UserError(
            "the kernel has no code for this line",
            where=f"{path}:{line}",
            why="it is not a statement, its option is off, or the compiler merged it with another",
        )
    return coverage.tests_of(path, line)


def _of_patch(coverage: Coverage, what: str) -> PatchCoverage:
    """Return the patch with that number, or with that in its subject."""
    if what.isdecimal():
        patch = coverage.patch(int(what))
        found = [patch] if patch else []
    else:
        found = [each for each in coverage.patches if what.lower() in each.subject.lower()]
    if len(found) == 1:
        return found[0]
    raise UserError(
        f"{'several patches are' if found else 'no patch is'} called that",
        where=what,
        why="; ".join(map(describe_patch, found or coverage.patches)),
        hint="name FILE:LINE, or a patch by its number",
    )
