# SPDX-License-Identifier: GPL-2.0-only
"""``harness run``: the main job."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import click

from harness import project
from harness.report.console import make_progress, print_summary
from harness.run.job import run as run_job
from harness.run.prepare import Request
from harness.store import Store


@click.command()
@click.option(
    "--project",
    "project_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The project file.  [default: harness.toml here or in the nearest directory above]",
)
@click.option(
    "--source",
    metavar="SPEC",
    help="Take the kernel from debian:PACKAGE[=VERSION], a directory, a tarball, or a git URL or "
    "path with #REF.  [default: kernel.source of the project file]",
)
@click.option(
    "--series",
    metavar="PATH|none",
    help="Apply this series: a directory of git format-patch files, one such file, or an mbox; "
    "'none' tests the source as it is.  [default: series.path of the project file]",
)
@click.option(
    "--upto",
    type=click.IntRange(min=1),
    metavar="N",
    help="Apply only patches 1 to N of the series.  [default: series.upto of the project file "
    "for its own series, else all]",
)
@click.option(
    "--config",
    "config",
    multiple=True,
    metavar="NAME",
    help="Build with this fragment of kernel-configs/; give it several times for several.  "
    "[default: kernel.config of the project file]",
)
@click.option(
    "--suite",
    "suites",
    multiple=True,
    metavar="NAME|DIR",
    help="Run this suite: one of the project file, a directory in kselftest layout, or a suite of "
    "the kernel tree; give it several times for several.  [default: all of the project file]",
)
@click.option(
    "-k",
    "expression",
    default="",
    metavar="EXPR",
    help="Run only tests whose names match, as in pytest: 'size and not mmap'.  A whole name "
    "(SUITE:PROGRAM) matches that test alone.  [default: all tests]",
)
@click.option(
    "--jobs",
    "-j",
    type=click.IntRange(min=1),
    default=len(os.sched_getaffinity(0)),
    show_default="one per processor",
    help="Run this many guests at a time.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Put journal, logs and reports of the run there; an earlier run's are replaced.  "
    "[default: a new directory below runs/, with the link runs/latest]",
)
@click.option(
    "--junit",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the JUnit report there.  [default: junit.xml in the run's directory]",
)
@click.option("-v", "--verbose", is_flag=True, help="List every case in the summary.")
def run(
    project_file: Path | None,
    source: str | None,
    series: str | None,
    upto: int | None,
    config: tuple[str, ...],
    suites: tuple[str, ...],
    expression: str,
    jobs: int,
    out: Path | None,
    junit: Path | None,
    verbose: bool,
) -> int:
    """Apply the series, build the kernel and the suites, and run every test in its own guest.

    What was built before is taken from the cache (HARNESS_CACHE), so a second run goes straight to
    the tests.

    \b
    Examples:
      harness run
      harness run --series none --suite kvm -k set_sregs
      harness run --series ~/my-series --suite selftests/restrictedmem
      harness run --source ~/linux#my-branch --series none
    """
    here = Path.cwd()
    file = (here / project_file) if project_file else project.find(here)
    request = Request(
        project_file=file,
        project=project.load(file),
        working_dir=here,
        source=source,
        series=series,
        upto=upto,
        config=config,
        suites=suites,
        expression=expression,
        command=(*_program(here), *sys.argv[1:]),
        program=_program(here),
    )
    results, written = run_job(
        request,
        Store.default(),
        make_progress(sys.stderr),
        jobs=jobs,
        out=here / out if out else None,
        junit=here / junit if junit else None,
    )
    print_summary(
        results,
        sys.stdout,
        verbose=verbose,
        directory=_short(written.results.parent, here),
        junit=_short(written.junit, here),
    )
    return results.exit_code


def _program(here: Path) -> tuple[str, ...]:
    """Return the words that call this program again from the directory *here*."""
    called = Path(sys.argv[0]).absolute()
    if called.name == "__main__.py":
        return (sys.executable, "-m", "harness")
    if shutil.which(called.name) == str(called):
        return (called.name,)
    return (_short(called, here),)


def _short(path: Path, here: Path) -> str:
    """Return *path* as a person in the directory *here* would write it."""
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
