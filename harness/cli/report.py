# SPDX-License-Identifier: GPL-2.0-only
"""``harness report``: what a run said, told again from its journal."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.cli.options import find_project, project_option, shell_command, short
from harness.errors import UserError
from harness.report.console import print_summary
from harness.run import rundir
from harness.run.job import read_results


@click.command()
@click.argument("run", metavar="RUN", default=rundir.LATEST)
@project_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["console", "json", "junit"]),
    default="console",
    show_default=True,
    help="Print the summary, results.json or JUnit XML.",
)
@click.option("-v", "--verbose", is_flag=True, help="List every case in the summary.")
def report(run: str, project_file: Path | None, form: str, verbose: bool) -> int:
    """Render the run RUN again: its directory, or its name below runs/.  [default: latest]

    Everything comes from the journal, so a run that was killed, or that still goes on, can be
    rendered as far as it went: its other tests are 'notrun'.  The exit code is that of the run.

    \b
    Examples:
      harness report
      harness report runs/20260701-030000-3f2a --format junit >junit.xml
    """
    here = Path.cwd()
    try:
        runs = find_project(project_file, here).parent / rundir.RUNS
    except UserError:
        runs = None  # outside a project a run's directory will do
    directory = rundir.find(run, here, runs)
    results = read_results(directory)
    if form == "json":
        from harness.run.results import encode

        sys.stdout.buffer.write(encode(results))
    elif form == "junit":
        from harness.report.junit import render

        sys.stdout.buffer.write(render(results))
    else:
        print_summary(
            results,
            sys.stdout,
            verbose=verbose,
            directory=short(directory, here),
            shell=shell_command(directory, here),
        )
    return results.exit_code
