# SPDX-License-Identifier: GPL-2.0-only
"""What commands that run tests have in common: their options, and a run from first to last."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from harness import project
from harness.cli.options import (
    FilePath,
    Name,
    RunName,
    cc_option,
    find_project,
    program_words,
    project_option,
    reports_of,
    shell_command,
    summary_option,
)
from harness.errors import HarnessError, UserError
from harness.judge.sequential import MOST
from harness.model.plan import ENDLESS
from harness.model.races import parse_name
from harness.model.records import Record
from harness.model.spec import KernelSpec, Trust
from harness.proc import signals
from harness.prune import most_bytes
from harness.report.console import make_progress, print_summary
from harness.report.files import JUNIT, PAGE
from harness.report.text import short
from harness.run import journal, rundir
from harness.run.job import Job, request_of
from harness.run.request import Request
from harness.store import Store
from harness.visible import visible

F = TypeVar("F", bound=Callable[..., Any])


class TestingCommand(click.Command):
    """A command line that is wrong is a run that was refused: it leaves no good report behind."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse *args*; where they are wrong, say so in the reports that they name."""
        given = tuple(args)
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            with suppress(HarnessError):
                _refuse(ctx.info_name or "", given, error)
            raise


def _refuse(name: str, args: Sequence[str], error: click.UsageError) -> None:
    here = Path.cwd()
    junit, summary, out = (_given(args, each) for each in ("--junit", "--summary", "--out"))
    reports = reports_of(here, junit, summary, ("harness", name, *args))
    with suppress(UserError), ExitStack() as stack, reports.kept_true():
        if out and (here / out).is_dir():
            place = stack.enter_context(rundir.fresh(here / out, reports.junit))
            reports.begin_in(place.path)
        raise UserError(error.format_message())


def _given(args: Sequence[str], option: str) -> str:
    """Return the value of *option* in a command line that cannot be parsed; empty for none."""
    value = ""
    for word, following in zip(args, (*args[1:], ""), strict=False):
        if word == option:
            value = following
        elif word.startswith(f"{option}="):
            value = word.partition("=")[2]
    return value


@project_option
@click.option(
    "--source",
    type=Name(),
    metavar="SPEC",
    help="Take the kernel from debian:PACKAGE[=VERSION], a directory, a tarball, or a git URL or "
    "repository with #REF.  [default: kernel.source of the project file]",
)
@click.option(
    "--series",
    "series",
    multiple=True,
    type=Name("stacks"),
    metavar="NAME|PATH|none",
    help="Apply this series: a name from [stacks] of the project file, a directory of patches, a "
    "quilt directory, a patch, an mbox or maildir with the whole thread (FILE#2: the second "
    "series in it), a message-id or URL of a mail, or a range of commits in a local repository "
    "(REPOSITORY#BASE..TIP).  'none' tests the unpatched source.  May be repeated: each series "
    "applies on top of the one before.  [default: series of the project file]",
)
@click.option(
    "--series-version",
    type=click.IntRange(min=1),
    metavar="N",
    help="Apply version N, where a file contains several versions of the series.  [default: the "
    "newest complete one]",
)
@click.option(
    "--config",
    "config",
    multiple=True,
    type=Name(),
    metavar="NAME",
    help="Add this configuration fragment of kernel-configs/.  May be repeated.  [default: "
    "kernel.config of the project file]",
)
@cc_option
@click.option(
    "--suite",
    "suites",
    multiple=True,
    type=Name("suites"),
    metavar="NAME|DIR|kernel:NAME[:GLOB]",
    help="Run this suite: one of the project file, a directory in kselftest layout, or a suite of "
    "the kernel tree (kernel:mm), optionally limited to programs that match a pattern "
    "(kernel:kvm:x86_64/*regs*).  May be repeated.  [default: all suites of the project file]",
)
@click.option(
    "-k",
    "expression",
    default="",
    metavar="EXPR",
    help="Run only tests whose names match, with the syntax of pytest: 'size and not mmap'.  A "
    "full name (SUITE:PROGRAM) selects exactly that test.  [default: all tests]",
)
@click.option(
    "--jobs",
    "-j",
    type=click.IntRange(min=1),
    show_default="one per processor, if the memory suffices",
    help="Run this many guests at a time.",
)
@click.option(
    "--host",
    "hosts",
    multiple=True,
    type=Name(),
    metavar="NAME",
    help="Run the tests on this host of the project file ([hosts.NAME], docs/hosts.md).  May be "
    "repeated; 'local' adds this machine.  [default: this machine; a test that requires what this "
    "machine lacks runs on a host whose `harness doctor` found it]",
)
@click.option(
    "--dask",
    type=Name(),
    metavar="SCHEDULER|auto",
    help="Run the tests as tasks of the Dask cluster with this scheduler (tcp://HOST:8786).  "
    "'auto' starts a cluster on this machine (docs/hosts.md).",
)
@click.option(
    "--guest",
    type=click.Choice(["sealed", "vng"]),
    show_default="guest.type of the project file",
    help="Run tests in this type of guest.  'sealed' sees nothing of this machine.  'vng' sees "
    "its files read-only through virtme-ng, so shell scripts run there; use it only for kernels "
    "that you trust.",
)
@click.option(
    "--trust",
    type=click.Choice(["own", "stranger"]),
    help="Build source and series with your own rights, or in a sandbox as a stranger's "
    "(docs/sandbox.md).  [default: stranger for mail and URLs, own for local paths, unless "
    "kernel.trust or [trust] of the project file says otherwise]",
)
@click.option(
    "--out",
    type=FilePath(file_okay=False),
    help="Write the journal, logs and reports of the run to this directory.  It must be new, "
    "empty, or the directory of an earlier run, which is replaced once this run has a plan.  "
    "[default: a new directory below runs/, with the link runs/latest]",
)
@click.option(
    "--junit",
    type=FilePath(dir_okay=False),
    help="Write the JUnit report to this file.  Until the run ends, the file says that the run "
    "was cut off.  [default: junit.xml in the run's directory]",
)
@summary_option
@click.option(
    "--repeat",
    type=click.IntRange(min=1),
    metavar="N",
    help="Run each test N times.  A test that does not pass every time is reported as '7/10 "
    "passed', never as a pass.  [default: 1; unlimited with --until-fail]",
)
@click.option(
    "--until-fail",
    is_flag=True,
    help="Repeat each test until it does not end as expected, at most N times with --repeat N.",
)
@click.option(
    "--reuse/--fresh",
    default=None,
    help="Reuse the result of an earlier run in which a test ended as expected with the same "
    "kernel, suite and guest, compared by content (docs/matrix.md), or run all tests.  --repeat, "
    "--until-fail, --coverage, --cost and --inject always run all.  [default: --reuse for matrix, "
    "--fresh for run]",
)
@click.option(
    "--resume",
    type=RunName(),
    metavar="RUN",
    help="Continue an interrupted run: its directory, its name below runs/, or 'latest'.  "
    "Finished tests keep their results; the rest run with the options of the interrupted run.",
)
@click.option(
    "-v",
    "--verbose",
    is_flag=True,
    help="List every case in the summary, and print reasons in full.",
)
def _carrier() -> None:
    """Has the options that every command gets which runs tests."""


reruns_option = click.option(
    "--reruns",
    type=click.IntRange(min=0),
    default=MOST,
    show_default=True,
    metavar="N",
    help="Where a test ends differently on two neighbouring kernels, run it again on both in "
    "turns, until the counts decide between a change and an unstable test; at most N times on "
    "each.  0: the first result counts.",
)


def testing_options(function: F) -> F:
    """Give a command the options of every command that runs tests."""
    params: list[click.Parameter] = vars(_carrier)["__click_params__"]
    own: list[click.Parameter] = vars(function).setdefault("__click_params__", [])
    own.extend(params)
    return function


class Asked(msgspec.Struct, frozen=True):
    """The values of :func:`testing_options`."""

    project_file: Path | None
    source: str | None
    series: tuple[str, ...]
    series_version: int | None
    config: tuple[str, ...]
    cc: str | None
    suites: tuple[str, ...]
    expression: str
    jobs: int | None
    hosts: tuple[str, ...]
    dask: str | None
    guest: str | None
    trust: str | None
    out: Path | None
    junit: Path | None
    summary: Path | None
    repeat: int | None
    until_fail: bool
    reuse: bool | None
    resume: str | None
    verbose: bool

    def kernel(self, upto: int | None = None) -> KernelSpec:
        """Return the kernel that is asked for, with *upto* patches."""
        return KernelSpec(
            source=self.source,
            series=self.series,
            upto=upto,
            series_version=self.series_version,
            config=self.config,
            cc=self.cc or "",
        )


def by_names(asked: Asked, targets: Sequence[str]) -> None:
    """Raise UserError where tests are named in *targets*, and that cannot be."""
    if targets and asked.expression:
        raise UserError("tests are chosen by their names or by -k, not both", where="-k")
    if targets and asked.resume is not None:
        raise UserError(
            "tests cannot be named with --resume",
            why="a run goes on with the options that it began with",
        )


def once_only(asked: Asked, targets: Sequence[str], what: str, hint: str) -> None:
    """Raise UserError where the variations of tests in *targets* cannot be had as *asked*.

    *what* says that each of them runs once, *hint* what to do.
    """
    by_names(asked, targets)
    if asked.repeat is not None or asked.until_fail:
        option = "--repeat" if asked.repeat is not None else "--until-fail"
        raise UserError(what, where=option, hint=hint)


def test_of(target: str, schedule: str | None) -> tuple[str, str | None]:
    """Return the test of the name *target*, and its schedule as text; None for none.

    A test under a schedule has a name of its own in reports.  Raises UserError where that and
    *schedule* are given.
    """
    found = parse_name(target)
    if found is None or not found[1]:
        return target, schedule
    if schedule is not None:
        raise UserError("the name of the test has a schedule already", where=target)
    return found


class Finished(msgspec.Struct, frozen=True):
    """A run that has come to its end."""

    request: Request
    directory: Path
    shown: str
    """The directory as the user would write it."""
    records: Sequence[Record]


def conduct(
    asked: Asked,
    shape: Callable[[Request], Request],
    finish: Callable[[Finished], int] | None = None,
    *,
    output_is_data: bool = False,
) -> int:
    """Run the tests that are *asked* for, and return the exit code.

    *shape* returns the request with its kernels, and with what only one command knows of.  *finish*
    has the last word, and the exit code; with *output_is_data* it alone writes to standard output.
    """
    here = Path.cwd()
    program = program_words(here)
    command = (*program, *sys.argv[1:])
    reports = reports_of(here, asked.junit, asked.summary, command)
    # First of all, so that no report of an earlier run is taken for this one's.
    with signals.interruptible(), reports.kept_true(), ExitStack() as stack:
        if asked.resume is not None:
            _refuse_with_resume()
            directory = rundir.find(asked.resume, here, _runs(asked.project_file, here))
            place = stack.enter_context(rundir.again(directory))
            request = Request.again(request_of(journal.read(directory), directory), program)
            if asked.hosts or asked.dask:
                dask = asked.dask or ""
                request = msgspec.structs.replace(request, hosts=asked.hosts, dask=dask)
            name = ""
        else:
            name = rundir.new_name()
            if asked.out:
                place = stack.enter_context(rundir.fresh(here / asked.out, reports.junit))
            else:
                runs = find_project(asked.project_file, here).parent / rundir.RUNS
                place = stack.enter_context(rundir.fresh(runs / name))
                rundir.point(runs / rundir.LATEST, name)
            reports.begin_in(place.path)
            file = find_project(asked.project_file, here)
            request = Request(
                project_file=file,
                project=project.load(file),
                working_dir=here,
                suites=asked.suites,
                expression=asked.expression,
                guest=asked.guest or "",
                trust=Trust(asked.trust) if asked.trust else None,
                repeat=asked.repeat or (ENDLESS if asked.until_fail else 1),
                until_fail=asked.until_fail,
                reuse=bool(asked.reuse),
                hosts=asked.hosts,
                dask=asked.dask or "",
                command=command,
                program=program,
            )
            request = shape(request)
        most_bytes()
        job = Job(
            request=request,
            store=Store.default(),
            display=make_progress(sys.stderr, verbose=asked.verbose),
            jobs=asked.jobs,
            place=place,
            reports=reports,
        )
        ended = job.resume() if asked.resume is not None else job.run(name)
    written = ended.written
    print_summary(
        ended.results,
        # What is read from standard output is the report and nothing else.
        sys.stderr if reports.on_stdout or output_is_data else sys.stdout,
        verbose=asked.verbose,
        directory=short(place.path, here),
        junit=short(written.paths[JUNIT], here) if written else "",
        page=short(written.paths[PAGE], here) if written else "",
        shell=shell_command(place.path, here),
    )
    if written and written.note:
        click.echo(visible(f"note: {written.note}"), err=True)
    if ended.error is not None:
        raise ended.error
    if finish is not None and not ended.results.interrupted:
        shown = short(place.path, here)
        return finish(Finished(request, place.path, shown, journal.read(place.path)))
    return ended.results.exit_code


_WITH_RESUME = frozenset(
    {
        "resume",
        "hosts",
        "dask",
        "jobs",
        "junit",
        "summary",
        "verbose",
        "project_file",
        "variants",
        "as_json",
    }
)


def _refuse_with_resume() -> None:
    """Raise UserError for options that a run which is taken up again cannot obey."""
    context = click.get_current_context()
    given = [
        name
        for name in context.params
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    ]
    options = {parameter.name: parameter.opts[0] for parameter in context.command.params}
    refused = [options[name] for name in given if name not in _WITH_RESUME]
    if refused:
        raise UserError(
            f"{refused[0]} cannot be given with --resume",
            why="a run goes on with the options that it began with",
            hint="leave it out, or start a new run",
        )


def _runs(project_file: Path | None, here: Path) -> Path | None:
    """Return where runs are kept; None outside a project, where a run's directory will do."""
    try:
        return find_project(project_file, here).parent / rundir.RUNS
    except UserError:
        return None
