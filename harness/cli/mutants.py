# SPDX-License-Identifier: GPL-2.0-only
"""``harness mutants``: faults planted in the changed lines, and whether the tests notice."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from harness.cli.testing import Asked, TestingCommand, conduct, testing_options
from harness.errors import UserError
from harness.model.spec import MutantsAsked
from harness.run.mutant_plan import Place
from harness.run.request import Request


@click.command(cls=TestingCommand)
@testing_options
@click.option(
    "--upto",
    type=click.IntRange(min=0),
    metavar="N",
    help="Apply only the first N patches, counted through all series.  [default: all]",
)
@click.option(
    "--at",
    multiple=True,
    metavar="FILE[:LINE[-LINE]]",
    help="Plant faults only there; FILE may be a pattern (mm/*.c).  May be repeated.  [default: "
    "all changed lines]",
)
@click.option(
    "--patch",
    "patches",
    multiple=True,
    type=click.IntRange(min=1),
    metavar="N",
    help="Plant faults only in lines that patch N wrote.  May be repeated.",
)
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    metavar="N",
    help="Plant only N of the faults; every run chooses the same ones.",
)
@click.option(
    "--min-score",
    type=click.FloatRange(0, 100),
    metavar="PERCENT",
    help="Exit with 1 if the tests notice a smaller share of the faults.  [default: no minimum]",
)
@click.option(
    "--alone",
    is_flag=True,
    help="Build one kernel per fault, even where faults could share one.  Each takes a quarter of "
    "a minute or more.",
)
@click.option(
    "--together",
    is_flag=True,
    help="Leave out faults that need a kernel of their own: those in macros and in initialisers "
    "outside functions.",
)
def mutants(
    upto: int | None,
    at: tuple[str, ...],
    patches: tuple[int, ...],
    sample: int | None,
    min_score: float | None,
    alone: bool,
    together: bool,
    **options: Any,
) -> int:
    """Plant faults in the lines that the series changed, and check whether the tests detect them.

    First the tests run on the kernel of the series, and it is watched which changed lines they run.
    Then each fault is tried with the tests that run its line, until one does not end as expected.
    All faults within functions are in one kernel, in which one of them is chosen before a test
    starts.  Faults that are known to change nothing stand in mutants.toml (docs/depth.md).

    The exit code is that of the tests without a fault, unless --min-score asks for more.

    \b
    Examples:
      harness mutants
      harness mutants --at mm/restrictedmem.c
      harness mutants --patch 3 --suite ~/my-selftests --min-score 80
      harness mutants --sample 50
      harness mutants --resume latest
    """
    asked = Asked(**options)
    if alone and together:
        raise UserError("--alone and --together exclude each other", where="harness mutants")
    if (asked.repeat or 1) > 1 or asked.until_fail:
        raise UserError(
            "with faults each test runs once",
            where="--repeat, --until-fail",
            hint="find out with `harness run` whether a test is stable",
        )
    if asked.hosts:
        raise UserError(
            "faults are tried on this machine only", where="--host", hint="leave it out"
        )
    for place in at:
        Place.parse(place)
    wanted = MutantsAsked(
        at=at,
        patches=patches,
        sample=sample,
        min_score=min_score,
        alone=alone,
        together=together,
    )

    def shape(request: Request) -> Request:
        return msgspec.structs.replace(
            request, kernels=(asked.kernel(upto),), coverage=True, mutants=wanted
        )

    return conduct(asked, shape)
