# SPDX-License-Identifier: GPL-2.0-only
"""``harness inject``: one call of a test fails after the other, each in a guest of its own."""

from __future__ import annotations

import errno
import re
from typing import Any

import click
import msgspec

from harness.cli.testing import Asked, TestingCommand, conduct, once_only, testing_options
from harness.errors import UserError
from harness.model.faults import InjectSpec, parse_point
from harness.model.ids import TestId
from harness.run.request import Request

_FUNCTION = re.compile(r"[A-Za-z_][\w.]*(?:=(?P<error>E[A-Z0-9]+))?")


@click.command(cls=TestingCommand)
@click.argument("targets", metavar="[TEST...]", nargs=-1)
@testing_options
@click.option(
    "--fail",
    "kinds",
    multiple=True,
    type=click.Choice(["slab", "page"]),
    help="Let allocations fail: of objects (kmalloc and slab caches) or of pages.  May be "
    "repeated.  [default: both; none with --function]",
)
@click.option(
    "--function",
    "functions",
    multiple=True,
    metavar="NAME[=ERRNO]",
    help="Let calls of this function fail, with this error or its default error.  The kernel must "
    "mark the function with ALLOW_ERROR_INJECTION().",
)
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    metavar="K",
    help="Try K calls of each test and kind, evenly spaced.  [default: all]",
)
@click.option(
    "--budget",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Start no guest after this time.  Remaining calls are reported as skipped, and --resume "
    "continues with them.",
)
def inject(
    targets: tuple[str, ...],
    kinds: tuple[str, ...],
    functions: tuple[str, ...],
    sample: int | None,
    budget: float | None,
    **options: Any,
) -> int:
    """Make the calls of a test fail one by one, and check how the kernel handles it.

    For each n the n-th allocation of the test fails in a guest of its own, threads and children of
    the test included.  A test that then fails has seen an error, which is as it should be; a crash,
    a complaint of the kernel, a hang and memory that is never freed are failures.  TEST is the name
    of a test, SUITE:PROGRAM, or of one such point, SUITE:PROGRAM@slab#17.  The kernel gets the
    fragment 'inject' (docs/failures.md).

    \b
    Examples:
      harness inject restrictedmem:create_test
      harness inject --series v11 --sample 50
      harness inject restrictedmem:create_test@slab#17
      harness inject memfd:memfd_test --function __filemap_add_folio=ENOSPC
      harness inject --budget 600 --junit junit.xml
      harness inject --resume latest
    """
    for name in functions:
        found = _FUNCTION.fullmatch(name)
        if not found or (found["error"] and not hasattr(errno, found["error"])):
            raise UserError(
                "this is no function with an error",
                where=f"--function {name}",
                hint="write NAME or NAME=ERRNO: __filemap_add_folio=ENOSPC",
            )
    suites = options["suites"] or tuple(dict.fromkeys(map(_suite, targets)))
    asked = Asked(**{**options, "suites": suites})
    once_only(
        asked, targets, "each point of a sweep runs once", "run one point several times by its name"
    )
    spec = InjectSpec(
        targets=targets,
        kinds=kinds or (() if functions else ("slab", "page")),  # type: ignore[arg-type]  # click has checked
        functions=functions,
        sample=sample,
        budget_s=budget,
    )

    def shape(request: Request) -> Request:
        return msgspec.structs.replace(request, kernels=(asked.kernel(),), inject=spec)

    return conduct(asked, shape)


def _suite(target: str) -> str:
    """Return the suite of a test or a point; UserError where *target* is the name of neither."""
    point = parse_point(target)
    return TestId.parse(point.test if point else target).suite
