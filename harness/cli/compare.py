# SPDX-License-Identifier: GPL-2.0-only
"""``harness compare``: what a run says other than an earlier one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from harness.cli.options import RunName, find_project
from harness.cli.testing import Asked, TestingCommand, testing_options
from harness.cli.variants import compare_variants
from harness.errors import ExitCode, UserError
from harness.judge.changes import changes
from harness.judge.merge import comparable
from harness.model.results import encode
from harness.report.changes import told
from harness.report.console import print_lines
from harness.run import rundir
from harness.run.job import read_results
from harness.series.rangediff import range_diff
from harness.source import repository
from harness.store import Store
from harness.visible import visible


@click.command(cls=TestingCommand)
@click.argument("names", nargs=-1, metavar="BEFORE [AFTER] | --variants A B...", type=RunName())
@testing_options
@click.option("--json", "as_json", is_flag=True, help="Print the whole comparison as JSON.")
@click.option(
    "--variants",
    is_flag=True,
    help="Build the kernels A, B, ... and run the suites on each; show cost beside correctness "
    "(docs/cost.md).  The other options below are those of `harness run`.",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    help="Compare variants by this metric: one that tests print, `instructions`, or "
    "`calls:FUNCTION`, `own:FUNCTION` or `total:FUNCTION` for a kernel function.  [default: "
    "instructions]",
)
@click.option(
    "--functions",
    is_flag=True,
    help="Show the difference in instructions per kernel function, as a flame graph.",
)
def compare(
    names: tuple[str, ...],
    as_json: bool,
    variants: bool,
    metrics: tuple[str, ...],
    functions: bool,
    **options: Any,
) -> int:
    """Compare the run AFTER with the run BEFORE, case by case; or kernels, by what they cost.

    Each is a run's directory, or its name below runs/.  [AFTER's default: latest]  Both may be of
    any series, source and configuration, or a matrix: cases with the same name are compared.  Of a
    matrix beside a run over one kernel, the last kernel is compared.

    Exit code 1 means that something is worse: a regression, or a new case that fails.  A test that
    failed before and still fails is listed and does not count; neither does a repeated test that
    is unstable.  The exit code is also 1 if AFTER was cut off or has no test.

    If the runs are of two versions of a series, git range-diff shows which patches differ; -v
    shows the differences.

    \b
    Examples:
      harness compare 20260701-030000-3f2a
      harness compare runs/v9 runs/v10
      harness compare runs/base runs/latest --json
      harness compare --variants v10+test-vm v11 --suite restrictedmem
      harness compare --variants none ~/my-fix.patch --metric calls:schedule
    """
    asked = Asked(**options)
    if variants:
        return compare_variants(names, metrics, asked, as_json=as_json, functions=functions)
    _refuse_without_variants()
    if not 1 <= len(names) <= 2:
        raise UserError(
            "two runs are compared, the second one by itself being the latest",
            where=f"harness compare {' '.join(names)}".strip(),
            hint="harness compare BEFORE [AFTER], or --variants A B",
        )
    before, after = (*names, rundir.LATEST)[:2]
    here = Path.cwd()
    try:
        runs = find_project(asked.project_file, here).parent / rundir.RUNS
    except UserError:
        runs = None  # outside a project a run's directory will do
    found_runs = (read_results(rundir.find(each, here, runs)) for each in (before, after))
    one, other = comparable(*found_runs)
    repo = repository.where(Store.default())
    versions = range_diff(repo, one.kernel, other.kernel, whole=asked.verbose)
    found = msgspec.structs.replace(changes(one, other), range_diff=versions.text)
    if as_json:
        sys.stdout.buffer.write(encode(found))
    else:
        print_lines(told(found, verbose=asked.verbose), sys.stdout)
    if versions.missing:
        click.echo(visible(f"note: no range-diff of the series: {versions.missing}"), err=True)
    bad = found.worse or found.unknown
    return ExitCode.NOT_AS_EXPECTED if bad else ExitCode.AS_EXPECTED


_OF_RUNS = frozenset({"names", "project_file", "as_json", "verbose"})


def _refuse_without_variants() -> None:
    """Raise UserError for options that only kernels can be compared with."""
    context = click.get_current_context()
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if source is click.core.ParameterSource.COMMANDLINE and name not in _OF_RUNS:
            raise UserError(
                f"{parameter.opts[0]} goes with --variants",
                why="what has run is compared as it is",
                hint="harness compare --variants A B, or leave it out",
            )
