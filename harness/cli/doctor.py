# SPDX-License-Identifier: GPL-2.0-only
"""``harness doctor``: what this machine can do, what it lacks, and what to do about it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness import project
from harness.cli.options import find_project, project_option
from harness.errors import ExitCode, UserError
from harness.model.spec import GuestTable
from harness.report.console import make_progress
from harness.visible import visible


@click.command()
@project_option
@click.option(
    "--quick", is_flag=True, help="Boot nothing: say only what can be seen without, in a second."
)
@click.option(
    "--require",
    "required",
    multiple=True,
    metavar="NAME",
    help="Exit with 3 unless this is there as well, such as kvm or tdx; give it several times for "
    "several.  For a CI job that must not skip what it was set up for.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def doctor(project_file: Path | None, quick: bool, required: tuple[str, ...], as_json: bool) -> int:
    """Say what this machine can do for the harness: yes or no, why, and what to do about it.

    Accelerators, and guests inside the guest, are tried by booting a kernel of the cache, which
    takes some ten seconds and needs a kernel: `make test-kernel` builds one.  What is found out
    about KVM counts for later runs.

    Exit code 0 means that all that `make test-kernel` needs is there, 3 that something is missing.
    What is marked 'no' is not needed for that: tests that require it are skipped with the reason
    that stands here.

    \b
    Examples:
      harness doctor
      harness doctor --quick --json
      harness doctor --require kvm --require tdx
    """
    from harness.doctor.diagnose import Doctor, missing
    from harness.doctor.model import encode
    from harness.guest.capabilities import Survey

    guest = GuestTable()
    here = Path.cwd()
    try:
        file = find_project(project_file, here)
    except UserError:
        # Outside a project the machine can be looked at all the same.
        file = None
    if file is not None:
        guest = project.load(file).guest
    diagnosis = Doctor(Survey(), make_progress(sys.stderr), guest, quick=quick).diagnose()
    lacking = missing(diagnosis, required)
    if as_json:
        sys.stdout.buffer.write(encode(diagnosis))
    else:
        from harness.doctor.table import print_table

        print_table(diagnosis, sys.stdout)
    for check in lacking:
        click.echo(visible(f"--require {check.name}: {check.state}: {check.detail}"), err=True)
    return ExitCode.AS_EXPECTED if diagnosis.ready and not lacking else ExitCode.MACHINE
