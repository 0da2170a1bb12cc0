# SPDX-License-Identifier: GPL-2.0-only
"""``harness doctor``: what this machine can do, what it lacks, and what to do about it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness import project
from harness.cli.options import Name, find_project, project_option
from harness.doctor.model import Diagnosis
from harness.errors import ExitCode, UserError
from harness.model.spec import GuestTable
from harness.report.console import make_progress
from harness.visible import visible


@click.command()
@project_option
@click.option("--quick", is_flag=True, help="Boot no kernel, and finish in a second.")
@click.option(
    "--require",
    "required",
    multiple=True,
    metavar="NAME",
    help="Exit with 3 unless this feature works as well, such as kvm or tdx.  May be repeated.  "
    "For CI jobs whose tests must not be skipped.",
)
@click.option(
    "--host",
    "hosts",
    multiple=True,
    type=Name(),
    metavar="NAME",
    help="Check this host of the project file instead ([hosts.NAME], docs/hosts.md).  May be "
    "repeated.  Later runs use the result to decide which tests can run there.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def doctor(
    project_file: Path | None,
    quick: bool,
    required: tuple[str, ...],
    hosts: tuple[str, ...],
    as_json: bool,
) -> int:
    """Check what works on this machine, and print what is missing, why, and what to do.

    Accelerators and nested guests are tested by booting a kernel of the cache, which takes some
    twenty seconds and needs a kernel: `make test-kernel` builds one.  Later runs use the result for
    KVM.

    Exit code 0 means that everything that `make test-kernel` needs is there, 3 that something is
    missing.  Features marked 'no' are not needed for that: tests that require them are skipped
    with the reason shown here.

    \b
    Examples:
      harness doctor
      harness doctor --quick --json
      harness doctor --require kvm --require tdx
      harness doctor --host big
    """
    if hosts:
        return _ask(hosts, find_project(project_file, Path.cwd()), quick, required, as_json)
    from harness.doctor.diagnose import Doctor
    from harness.guest.capabilities import HostFacts

    guest = GuestTable()
    here = Path.cwd()
    try:
        file = find_project(project_file, here)
    except UserError:
        # Outside a project the machine can be looked at all the same.
        file = None
    if file is not None:
        guest = project.load(file).guest
    diagnosis = Doctor(HostFacts(), make_progress(sys.stderr), guest, quick=quick).diagnose()
    return _tell(diagnosis, required, as_json)


def _ask(
    names: tuple[str, ...], file: Path, quick: bool, required: tuple[str, ...], as_json: bool
) -> int:
    """Look at hosts, and keep what is found; return the worst exit code."""
    from harness.context import Context
    from harness.run.hosts import ask_doctor
    from harness.store import Store

    loaded = project.load(file)
    tables = {name: project.host(loaded, file, name) for name in names}
    context = Context(Store.default(), make_progress(sys.stderr))
    codes = []
    for name, table in tables.items():
        diagnosis = ask_doctor(name, table, context, quick=quick)
        if not as_json and len(tables) > 1:
            click.echo(f"host {name}")
        codes.append(_tell(diagnosis, required, as_json))
    return max(codes)


def _tell(diagnosis: Diagnosis, required: tuple[str, ...], as_json: bool) -> int:
    from harness.doctor.diagnose import missing
    from harness.doctor.model import encode

    lacking = missing(diagnosis, required)
    if as_json:
        sys.stdout.buffer.write(encode(diagnosis))
    else:
        from harness.doctor.table import print_table

        print_table(diagnosis, sys.stdout)
    for check in lacking:
        click.echo(visible(f"--require {check.name}: {check.state}: {check.detail}"), err=True)
    return ExitCode.AS_EXPECTED if diagnosis.ready and not lacking else ExitCode.MACHINE
