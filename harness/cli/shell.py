# SPDX-License-Identifier: GPL-2.0-only
"""``harness shell``: into a guest of a run, to look around."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import click

from harness import project
from harness.cli.options import FilePath, RunName, find_project, project_option
from harness.context import Context
from harness.errors import UserError
from harness.foreign import of_os
from harness.lab.templates import TemplateFactory
from harness.model.spec import LimitsTable
from harness.proc import signals
from harness.report.console import make_progress
from harness.report.terminal import Safe
from harness.run import journal, rundir
from harness.run.job import check_planned
from harness.shell.choose import choose
from harness.shell.terminal import Terminal
from harness.shell.visit import KernelLogTail, Screen, Visit
from harness.store import Store
from harness.visible import visible


@click.command(short_help="Open a shell in a guest of a run.")
@click.argument("run", metavar="[RUN]", default=rundir.LATEST, type=RunName())
@project_option
@click.option(
    "--test",
    metavar="NAME",
    default="",
    help="First run this test of the run (SUITE:PROGRAM, or PROGRAM alone) with the same "
    "arguments, directory, environment, time limit and seed.  The shell opens in its guest.",
)
@click.option(
    "--suite",
    "suites",
    multiple=True,
    metavar="NAME",
    help="Put only this suite's programs into the guest.  May be repeated.  "
    "[default: all suites of the run]",
)
@click.option(
    "--guest",
    type=click.Choice(["sealed", "vng"]),
    help="Use this type of guest.  [default: that of the run]",
)
@click.option(
    "--command",
    metavar="WORDS",
    default="",
    help="Run this shell command instead of an interactive shell; needs no terminal.",
)
@click.option(
    "--gdb",
    is_flag=True,
    help="Stop before the first instruction until gdb continues; the command that starts gdb is "
    "printed.",
)
@click.option(
    "--kernel-log",
    type=FilePath(dir_okay=False),
    metavar="FILE",
    help="Write the kernel log to FILE as it arrives, for `tail -f` in another terminal.",
)
def shell(
    run: str,
    project_file: Path | None,
    test: str,
    suites: tuple[str, ...],
    guest: str | None,
    command: str,
    gdb: bool,
    kernel_log: Path | None,
) -> int:
    """Boot the kernel of RUN and open a shell in the guest, with the suites' programs on the PATH.

    RUN is a run's directory or its name below runs/.  [default: latest]  Kernel and suites come
    from the cache; nothing is built.  Ctrl-C goes to the guest.  exit, Ctrl-D and Ctrl-] end the
    shell and the guest.

    \b
    Examples:
      harness shell
      harness shell --test restrictedmem:create_test
      harness shell --gdb --kernel-log /tmp/console
      harness shell runs/20260701-030000-3f2a --command 'uname -a; create_test'

    Exit code 0 means that the shell has ended, whatever the status of its last command, or that
    you have left it.  1 means that the guest died, or that --command ended with another status
    than 0.
    """
    here = Path.cwd()
    # A terminal that is not there should not be found out after half a minute of booting.
    terminal = None if command else Terminal.of(sys.stdin.fileno(), sys.stdout.fileno())
    try:
        file = find_project(project_file, here)
        described, runs = project.load(file), file.parent / rundir.RUNS
        limits = described.limits
    except UserError:
        if project_file:
            raise
        limits, runs = LimitsTable(), None  # outside a project a run's directory will do
    directory = rundir.find(run, here, runs)
    records = journal.read(directory)
    check_planned(records, directory)
    store = Store.default()
    place = choose(records, store, test=test, suite_names=suites, guest=guest or "")
    progress = make_progress(sys.stderr)
    with ExitStack() as stack:
        visit = Visit(
            place=place,
            maker=TemplateFactory(place.kernel, limits.boot_s, Context(store, progress)),
            screen=_screen(),
            log=KernelLogTail(stack.enter_context(_open(kernel_log)) if kernel_log else None),
            environ=os.environ,
            terminal=terminal,
            line=command,
            gdb=gdb,
        )
        return signals.run(visit.make())


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("wb")
    except OSError as error:
        raise of_os(error, "the kernel log cannot be written", path, kind=UserError) from None


def _screen() -> Screen:
    told, shown = Safe(sys.stderr), Safe(sys.stdout)

    def say(text: str) -> None:
        told.write(visible(text) + "\n")
        told.flush()

    def text(text: str) -> None:
        shown.write(visible(text))
        shown.flush()

    def out(data: bytes) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def err(data: bytes) -> None:
        sys.stderr.buffer.write(data)
        sys.stderr.buffer.flush()

    return Screen(say, text, out, err)
