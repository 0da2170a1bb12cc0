# SPDX-License-Identifier: GPL-2.0-only
"""``make bench``: the figures that the project stands for."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from harness import project
from harness.cli.options import find_project, project_option
from harness.model.spec import KernelSpec
from harness.report.console import make_progress, print_error
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
    type=click.Choice(
        [
            *("guests", "matrix", "overhead", "hosts", "workers", "mutants", "bisect"),
            *("reading", "sandbox", "check"),
        ]
    ),
    default=("guests",),
    show_default=True,
    help="Measure guests and turn-around times; a matrix of ten kernels, from nothing and again, "
    "which takes half an hour; or only what the harness itself takes for a test, which is a part "
    "of that; tests over SSH and by Dask, for which this machine plays the other one; or only many "
    "attempts on simulated workers, which is a part of that; or faults that share a kernel against "
    "one build for each, which takes a quarter of an hour; or a bisection over 64 commits against "
    "`git bisect run`, which takes twenty minutes; how fast threads are read; what the sandbox "
    "costs a build; or checks of v10 against builds of its patches, which takes half an hour.",
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
    was cut off is gone on with below runs/.  What a part needs is checked before anything is
    measured; where a measurement fails, the others are made, and their figures are printed.  Exit
    code 0 means that every figure keeps its bound, 1 that one does not: on a busy machine, try
    again; 2 and 3 that something could not be measured.
    """
    from tools.bench.bench import Bench
    from tools.bench.bisect import BisectBench
    from tools.bench.figures import encode
    from tools.bench.hosts import HostsBench
    from tools.bench.many import ManyBench
    from tools.bench.matrix import MatrixBench, OverheadBench
    from tools.bench.measured import Measured, Part
    from tools.bench.mutants import MutantsBench
    from tools.bench.reading import ReadingBench
    from tools.bench.series import CheckBench, SandboxBench

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
    own = msgspec.structs.replace(request, kernels=(KernelSpec(),))
    measured = Measured()
    every: dict[str, Part] = {
        "guests": Bench(request, store, progress, rounds, virtme_rounds, measured),
        "matrix": MatrixBench(own, store, progress),
        "overhead": OverheadBench(progress),
        "hosts": HostsBench(own, store, progress),
        "workers": ManyBench(progress),
        "bisect": BisectBench(own, store, progress),
        "mutants": MutantsBench(own, store, progress, here / "runs" / "bench-mutants"),
        "reading": ReadingBench(own, progress),
        "sandbox": SandboxBench(own, store, progress),
        "check": CheckBench(own, store, progress),
    }
    for whole, within in (("matrix", "overhead"), ("hosts", "workers")):
        if whole in parts:
            del every[within]
    chosen = {name: part for name, part in every.items() if name in parts}
    # What is missing is found out before minutes of measuring.
    for part in chosen.values():
        part.check()
    try:
        for name, part in chosen.items():
            measured.take(name, part)
    finally:
        # Also after Ctrl-C: what has been measured has taken minutes.
        report = measured.report
        if as_json:
            click.echo(encode(report))
        elif table := report.table():
            click.echo(table)
        for title, error in measured.failed:
            click.echo(f"not measured: {title}", err=True)
            print_error(error, sys.stderr)
    return measured.status
