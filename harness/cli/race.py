# SPDX-License-Identifier: GPL-2.0-only
"""``harness race``: a test under many schedules, each of which is a seed."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from harness.cli.testing import Asked, TestingCommand, conduct, once_only, testing_options
from harness.model.ids import TestId
from harness.model.races import MOST_SEED, RaceSpec
from harness.run.request import Request

_SCHEDULES = 50


@click.command(cls=TestingCommand)
@click.argument("targets", metavar="[TEST...]", nargs=-1)
@testing_options
@click.option(
    "--schedules",
    "count",
    type=click.IntRange(min=1, max=1_000_000),
    default=_SCHEDULES,
    show_default=True,
    metavar="N",
    help="Run each test under N schedules.",
)
@click.option(
    "--first",
    type=click.IntRange(min=1, max=MOST_SEED),
    default=1,
    show_default=True,
    metavar="SEED",
    help="Count the seeds of the schedules from this one on.",
)
@click.option(
    "--budget",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Begin no further schedule after this time; what is left is reported as skipped, and "
    "--resume goes on with it.",
)
@click.option(
    "--shorten/--no-shorten",
    default=True,
    show_default=True,
    help="Look for the preemptions that matter in schedules that fail, and say between which "
    "functions they are.",
)
def race(
    targets: tuple[str, ...],
    count: int,
    first: int,
    budget: float | None,
    shorten: bool,
    **options: Any,
) -> int:
    """Run a test under many schedules, and make those short under which it fails.

    A schedule says at which instructions of the test the thread that runs stands back, and for how
    long.  It comes from a seed, and is the same each time: what fails under one fails again.  The
    guest has one processor and is emulated.  TEST is the name of a test, SUITE:PROGRAM
    (docs/failures.md).

    \b
    Examples:
      harness race restrictedmem:pages_test --schedules 200
      harness race --suite kernel:memfd --budget 600
      harness race kvm_private_memory:punch_test --first 201
      harness race --resume latest
      harness run kvm_private_memory:punch_test --schedule 17
      harness run kvm_private_memory:punch_test --schedule 1204512+20000
    """
    asked = Asked(**{**options, "suites": options["suites"] or suites_of(targets)})
    once_only(
        asked,
        targets,
        "each schedule runs once",
        "run one several times: harness run TEST --schedule SEED --repeat N",
    )
    spec = RaceSpec(targets=targets, count=count, first=first, budget_s=budget, shorten=shorten)

    def shape(request: Request) -> Request:
        return msgspec.structs.replace(request, kernels=(asked.kernel(),), race=spec)

    return conduct(asked, shape)


def suites_of(targets: tuple[str, ...]) -> tuple[str, ...]:
    """Return the suites of tests; UserError where one of *targets* is no name of a test."""
    return tuple(dict.fromkeys(TestId.parse(each).suite for each in targets))
