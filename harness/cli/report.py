# SPDX-License-Identifier: GPL-2.0-only
"""``harness report``: what a run said, told again from its journal."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from harness.cli.options import RunName, find_project, project_option, shell_command
from harness.context import Context
from harness.errors import UserError
from harness.report import kcidb
from harness.report.console import make_progress, print_summary
from harness.report.files import PAGE
from harness.report.formats import FORMATS, View
from harness.report.text import short
from harness.run import rundir
from harness.run.job import read_results
from harness.run.symbolize import decode_all
from harness.store import Store

_CONSOLE = "console"


def _check_origin(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"[a-z0-9_]+", value):
        raise click.BadParameter("a name has only lower-case letters, digits and _", ctx, param)
    return value


@click.command()
@click.argument("run", metavar="RUN", default=rundir.LATEST, type=RunName())
@project_option
@click.option(
    "--format",
    "form",
    type=click.Choice([_CONSOLE, *FORMATS]),
    default=_CONSOLE,
    show_default=True,
    help=f"Print the summary ({_CONSOLE}), or the complete report in one of the other formats.",
)
@click.option(
    "--origin",
    metavar="NAME",
    callback=_check_origin,
    help="With --format kcidb: the name of the reporting CI system at KernelCI.  "
    f"[default: {kcidb.ORIGIN}]",
)
@click.option(
    "--decode",
    is_flag=True,
    help="Look up file and line for all kernel reports, also those of expected failures.",
)
@click.option(
    "--as-expectations",
    is_flag=True,
    help="Print an entry for expectations.toml for each failed test; add the reasons yourself.",
)
@click.option(
    "-v",
    "--verbose",
    is_flag=True,
    help="List every case in the summary, and print reasons in full.",
)
def report(
    run: str,
    project_file: Path | None,
    form: str,
    origin: str | None,
    decode: bool,
    as_expectations: bool,
    verbose: bool,
) -> int:
    """Render the run RUN again: its directory, or its name below runs/.  [default: latest]

    Everything comes from the journal, so a run that was killed, or that still goes on, can be
    rendered as far as it went: its other tests are 'notrun'.  The exit code is that of the run.

    A run looks up lines only for tests that did not end as expected; --decode does it for all
    others, as long as the kernel and the directory in which it was built are there.

    \b
    Examples:
      harness report
      harness report runs/20260701-030000-3f2a --format junit >junit.xml
      harness report --format mail >reply.eml && git send-email --dry-run reply.eml
      harness report --format kcidb --origin myci
      harness report --decode
      harness report latest --as-expectations >>selftests/mine/expectations.toml
    """
    here = Path.cwd()
    try:
        runs = find_project(project_file, here).parent / rundir.RUNS
    except UserError:
        runs = None  # outside a project a run's directory will do
    directory = rundir.find(run, here, runs)
    if decode:
        decode_all(directory, Context(Store.default(), make_progress(sys.stderr)))
    results = read_results(directory)
    if as_expectations:
        if form != _CONSOLE or verbose:
            raise UserError(
                "--as-expectations is a form of its own",
                where="harness report",
                hint="leave out --format and --verbose",
            )
        from harness.report.expectations import render as entries

        sys.stdout.buffer.write(entries(results).encode())
    elif form in FORMATS:
        data = FORMATS[form].render(results, View(short(directory, here), origin or kcidb.ORIGIN))
        sys.stdout.buffer.write(data)
    else:
        page = directory / FORMATS[PAGE].of_run
        print_summary(
            results,
            sys.stdout,
            verbose=verbose,
            directory=short(directory, here),
            page=short(page, here) if page.is_file() else "",
            shell=shell_command(directory, here),
        )
    return results.exit_code
