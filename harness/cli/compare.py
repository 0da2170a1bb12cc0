# SPDX-License-Identifier: GPL-2.0-only
"""``harness compare``: what a run says other than an earlier one."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.cli.options import find_project, project_option
from harness.errors import ExitCode, UserError
from harness.judge.changes import changes
from harness.model.results import encode
from harness.report.changes import told
from harness.report.console import print_lines
from harness.run import rundir
from harness.run.job import read_results


@click.command()
@click.argument("before", metavar="BEFORE")
@click.argument("after", metavar="AFTER", default=rundir.LATEST)
@project_option
@click.option("--json", "as_json", is_flag=True, help="Print every case of both runs as JSON.")
@click.option("-v", "--verbose", is_flag=True, help="Name every case that has changed.")
def compare(
    before: str, after: str, project_file: Path | None, as_json: bool, verbose: bool
) -> int:
    """Compare the run AFTER with the run BEFORE, case by case.

    Each is a run's directory, or its name below runs/.  [AFTER's default: latest]  Both may be of
    any series, source and configuration, or a matrix: cases with the same name are compared.

    Exit code 1 means that something is worse: a regression, or a new case that fails.  What failed
    before and still fails is told, and is none.  It is 1 as well where AFTER was cut off or has no
    test: then it cannot say that nothing is worse.

    \b
    Examples:
      harness compare 20260701-030000-3f2a
      harness compare runs/v9 runs/v10
      harness compare runs/base runs/latest --json
    """
    here = Path.cwd()
    try:
        runs = find_project(project_file, here).parent / rundir.RUNS
    except UserError:
        runs = None  # outside a project a run's directory will do
    found = changes(*(read_results(rundir.find(each, here, runs)) for each in (before, after)))
    if as_json:
        sys.stdout.buffer.write(encode(found))
    else:
        print_lines(told(found, verbose=verbose), sys.stdout)
    bad = found.worse or found.unknown
    return ExitCode.NOT_AS_EXPECTED if bad else ExitCode.AS_EXPECTED
