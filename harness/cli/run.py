# SPDX-License-Identifier: GPL-2.0-only
"""``harness run``: the main job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
import msgspec

from harness.cli.options import Name
from harness.cli.race import suites_of
from harness.cli.testing import (
    Asked,
    TestingCommand,
    by_names,
    conduct,
    reruns_option,
    test_of,
    testing_options,
)
from harness.errors import UserError
from harness.model.ids import BASE, ONLY
from harness.model.races import RaceSpec
from harness.model.spec import KernelSpec
from harness.run import rundir
from harness.run.earlier import last_coverage, left_to
from harness.run.matrix import against
from harness.run.request import Request


@click.command(cls=TestingCommand)
@click.argument("targets", metavar="[TEST...]", nargs=-1)
@testing_options
@click.option(
    "--upto",
    type=click.IntRange(min=0),
    metavar="N",
    help="Apply only the first N patches, counted through all series.  0 applies none, but the "
    "expectations of the series still hold.  [default: all]",
)
@click.option(
    "--coverage",
    is_flag=True,
    help="Record which changed lines of the series each test runs (docs/depth.md).  Guests are "
    "emulated even where KVM is available.",
)
@click.option(
    "--cost",
    is_flag=True,
    help="Count the instructions of each test in a guest with one processor, where a test takes "
    "the same number every time (docs/cost.md).",
)
@click.option(
    "--functions",
    is_flag=True,
    help="With --cost: also count per kernel function, and draw a flame graph of each test.",
)
@click.option(
    "--schedule",
    metavar="SEED|AT+LENGTH,...",
    help="Preempt the tests as this schedule of `harness race` says: by its seed or its points.",
)
@click.option(
    "--for-patch",
    type=click.IntRange(min=1),
    metavar="N",
    help="Leave out tests that ran no changed line of patch N in the last run with --coverage.  "
    "Tests without coverage data are kept.",
)
@click.option(
    "--base",
    is_flag=False,
    flag_value=BASE,
    type=Name(),
    metavar="[SOURCE]",
    help="Also test the unpatched kernel, or another SOURCE as for --source, and compare.  Exit "
    "code 1 then means a regression; a test that fails on both kernels is reported, but is no "
    "regression.",
)
@reruns_option
def run(
    targets: tuple[str, ...],
    upto: int | None,
    coverage: bool,
    cost: bool,
    functions: bool,
    schedule: str | None,
    for_patch: int | None,
    base: str | None,
    reruns: int,
    **options: Any,
) -> int:
    """Apply the series, build the kernel and the suites, and run every test in its own guest.

    What was built before is taken from the cache (HARNESS_CACHE), so a second run goes straight to
    the tests.

    \b
    Examples:
      harness run
      harness run --series none --suite kvm -k set_sregs
      harness run --series ~/my-series --suite selftests/restrictedmem
      harness run --suite kernel:mm --suite 'kernel:kvm:x86_64/*regs*'
      harness run --series v10 --series ~/my-fix.patch
      harness run --series ~/thread.mbox --series-version 3
      harness run --source ~/linux#my-branch --series none
      harness run --guest vng --suite ~/my-shell-scripts
      harness run --base                       # is it the series, or was it broken before?
      harness run --series ~/v10 --base ~/linux#v6.1
      harness run -k punch --repeat 100
      harness run -k punch --cost --functions
      harness run memfd:memfd_test --schedule 17 --repeat 20
      harness run --junit junit.xml --summary summary.md
      harness run --resume latest
    """
    if len(targets) == 1:
        target, schedule = test_of(targets[0], schedule)
        targets = (target,)
    asked = Asked(**{**options, "suites": options["suites"] or suites_of(targets)})
    by_names(asked, targets)
    if functions and not cost:
        raise UserError(
            "--functions counts instructions, so it goes with --cost", hint="add --cost"
        )
    if cost and coverage:
        raise UserError(
            "--cost and --coverage are two runs",
            why="what watches lines would be counted, or what counts be slowed down by it",
        )
    if schedule is not None and (cost or coverage or base is not None):
        others = (("--cost", cost), ("--coverage", coverage), ("--base", base is not None))
        raise UserError(
            "a schedule belongs to one kernel, and nothing else is measured under it",
            where=next(f"--schedule with {name}" for name, given in others if given),
        )
    under = None if schedule is None else RaceSpec.under(schedule, targets)

    def shape(request: Request) -> Request:
        whole = asked.kernel(upto)
        kernels: tuple[KernelSpec, ...] = (whole,)
        if base is not None:
            kernels = against(whole, base, len(request.stack(whole).patches))
        request = msgspec.structs.replace(
            request,
            kernels=kernels,
            coverage=coverage,
            cost=cost,
            functions=functions,
            expression=request.expression or _chosen(targets),
            race=under,
            for_patch=for_patch,
            base=BASE if base is not None else ONLY,
            reruns=reruns,
        )
        if for_patch is None:
            return request
        return left_to(request, last_coverage(request.project_dir / rundir.RUNS))

    return conduct(asked, shape)


def _chosen(targets: Sequence[str]) -> str:
    """Return the expression that selects *targets* and no others."""
    if len(targets) == 1:
        return targets[0]
    quoted = (each.replace("\\", "\\\\").replace('"', '\\"') for each in targets)
    return " or ".join(f'"{each}"' for each in quoted)
