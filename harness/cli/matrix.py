# SPDX-License-Identifier: GPL-2.0-only
"""``harness matrix``: the tests on what a series is based on, and after each of its patches."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from harness.cli.testing import (
    Asked,
    TestingCommand,
    conduct,
    reruns_option,
    testing_options,
)
from harness.errors import UserError
from harness.model.spec import BisectTable
from harness.run.coverage import several
from harness.run.matrix import patches_of, specs
from harness.run.request import Request


@click.command(cls=TestingCommand)
@testing_options
@click.option(
    "--patches",
    default="all",
    show_default=True,
    metavar="all|ends|LIST",
    help="Test the base and the kernel after each of these patches: 'all', 'ends' (only the "
    "last), or numbers and ranges such as 2,5-7, counted through all series.",
)
@click.option(
    "--tests",
    "tests_from",
    type=click.Choice(["tip", "own"]),
    default="tip",
    show_default=True,
    help="Take suites of the kernel tree from the last patch for every kernel (tip), or from each "
    "kernel's own tree (own).  Other suites are the same for all kernels.",
)
@click.option(
    "--bisect",
    is_flag=True,
    help="Test the base and the last patch, and between them only the kernels that are needed to "
    "find the first patch that breaks each test.",
)
@click.option("--coverage", is_flag=True, hidden=True)
@reruns_option
def matrix(
    patches: str, tests_from: str, bisect: bool, coverage: bool, reruns: int, **options: Any
) -> int:
    """Run the suites on the base and after each patch, and name the patch that breaks a test.

    Kernels are built one after the other, while tests of those before run.  A kernel that does not
    build or boot is told with the reason, and the others are tested.  A patch that makes the same
    kernel as before it is shown as '=', and is not tested.  Exit code 0 means that each test ended
    as expected on each kernel.

    \b
    Examples:
      harness matrix
      harness matrix --series ~/thread.mbox --suite kernel:memfd
      harness matrix --patches 3,7-9 -k fstat
      harness matrix --patches ends --suite kvm
      harness matrix --fresh
      harness matrix --bisect -k fstat         # log2 kernels are enough to name the patch
      harness matrix --resume latest
    """
    asked = Asked(**options)
    if asked.until_fail and asked.repeat is None and asked.resume is None:
        raise UserError(
            "without a number of attempts the first kernel would be tested for ever",
            where="--until-fail",
            hint="add --repeat N",
        )

    def shape(request: Request) -> Request:
        whole = asked.kernel()
        count = len(request.stack(whole).patches)
        if not count:
            raise UserError(
                "there is no series, so there are no patches to test one after the other",
                where="harness matrix",
                hint="name a series with --series, or use `harness run`",
            )
        if bisect and patches not in ("all", "ends"):
            raise UserError(
                "a bisection chooses the patches itself",
                where=f"--bisect --patches {patches}",
                hint="leave --patches out",
            )
        own = tests_from == "own"
        chosen = patches_of("ends" if bisect else patches, count)
        kernels = specs(whole, chosen, count, own_tests=own)
        if coverage:
            raise several(len(kernels))
        table = BisectTable(own_tests=own) if bisect else None
        reuse = asked.reuse is not False
        return msgspec.structs.replace(
            request, kernels=kernels, reruns=reruns, bisect=table, reuse=reuse
        )

    return conduct(asked, shape)
