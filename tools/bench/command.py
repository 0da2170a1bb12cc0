# SPDX-License-Identifier: GPL-2.0-only
"""``make bench``: the figures that the project stands for."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path

import click
import msgspec

from harness import project
from harness.cli.options import find_project, project_option
from harness.errors import ExitCode
from harness.model.spec import KernelSpec
from harness.report.console import make_progress
from harness.run.request import Request
from harness.store import Store

_FOR_VIRTME = ("net", "virtme")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@project_option
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=30,
    show_default=True,
    help="Run this many tests in restored guests.",
)
@click.option(
    "--virtme-rounds",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Run the same program this many times under virtme-run.",
)
@click.option(
    "--part",
    "parts",
    multiple=True,
    type=click.Choice(["guests", "matrix", "overhead", "hosts", "workers", "mutants"]),
    default=("guests",),
    show_default=True,
    help="Measure guests and turn-around times; a matrix of ten kernels, from nothing and again, "
    "which takes half an hour; or only what the harness itself takes for a test, which is a part "
    "of that; tests over SSH and by Dask, for which this machine plays the other one; or only many "
    "attempts on simulated workers, which is a part of that; or faults that share a kernel against "
    "one build for each, which takes a quarter of an hour.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def bench(
    project_file: Path | None,
    rounds: int,
    virtme_rounds: int,
    parts: tuple[str, ...],
    as_json: bool,
) -> int:
    """Measure how long a user waits: restored guests, virtme-run, the turn-around after a change.

    Figures of guests are from one kernel, which is built first if need be: the project's own with
    the fragments 'net' and 'virtme' on top, as virtme-run finds its root over 9p.  Those of a
    matrix are from base and v10, in a cache of their own; those of faults are from v11, and what
    was cut off is gone on with below runs/.  Exit code 0 means that every figure keeps its bound,
    1 that one does not: on a busy machine, try again.
    """
    from tools.bench.bench import Bench
    from tools.bench.figures import Report, encode, machine
    from tools.bench.matrix import MatrixBench
    from tools.bench.mutants import MutantsBench

    here = Path.cwd()
    file = find_project(project_file, here)
    described = project.load(file)
    request = Request(
        project_file=file,
        project=described,
        working_dir=here,
        kernels=(
            KernelSpec(config=tuple(dict.fromkeys((*described.kernel.config, *_FOR_VIRTME)))),
        ),
    )
    store, progress = Store.default(), make_progress(sys.stderr)
    measured = Report(kernel="", program="", accelerator="", machine=machine(), figures=())
    if "guests" in parts:
        measured = Bench(request, store, progress, rounds, virtme_rounds).measure()
    own = dataclasses.replace(request, kernels=(KernelSpec(),))
    several = MatrixBench(own, store, progress)
    more = several.measure() if "matrix" in parts else ()
    more = several.overhead() if parts == ("overhead",) else more
    if {"hosts", "workers"} & {*parts}:
        from tools.bench.hosts import HostsBench

        hosts = HostsBench(own, store, progress)
        more = (*more, *(hosts.measure() if "hosts" in parts else hosts.many()))
    if "mutants" in parts:
        directory = here / "runs" / "bench-mutants"
        more = (*more, *MutantsBench(own, store, progress, directory).measure())
        shutil.rmtree(directory)
    measured = msgspec.structs.replace(measured, figures=(*measured.figures, *more))
    if as_json:
        click.echo(encode(measured))
    else:
        if measured.kernel:
            click.echo(f"Linux {measured.kernel}, {measured.program}, {measured.accelerator}")
        click.echo(f"{measured.machine}\n")
        width = max(len(figure.name) for figure in measured.figures)
        for figure in measured.figures:
            verdict = ("reached" if figure.reached else "NOT REACHED") if figure.bound else ""
            value = f"{figure.value:.3f}" if figure.unit == "s" else f"{figure.value:.1f}"
            click.echo(
                f"{figure.name:<{width}}  {value:>8} {figure.unit:<13}  "
                f"{figure.bound:>8}  {verdict}" + (f"  ({figure.note})" if figure.note else "")
            )
    reached = all(figure.reached for figure in measured.figures)
    return ExitCode.AS_EXPECTED if reached else ExitCode.NOT_AS_EXPECTED
