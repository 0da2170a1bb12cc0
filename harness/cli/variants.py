# SPDX-License-Identifier: GPL-2.0-only
"""``harness compare --variants``: kernels side by side, by what they cost and whether they work."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click
import msgspec

from harness.cli.testing import Asked, Finished, conduct
from harness.errors import ExitCode, UserError
from harness.judge import verdict
from harness.judge.interval import FEWEST, available
from harness.model.results import encode
from harness.report.console import print_lines
from harness.report.variants import told
from harness.run import variants
from harness.run.request import Request

DEFAULT = ("instructions",)


def compare_variants(
    names: Sequence[str], metrics: Sequence[str], asked: Asked, *, as_json: bool, functions: bool
) -> int:
    """Run the suites on each variant, print what they come to, and return the exit code."""
    metrics = tuple(dict.fromkeys(metrics)) or DEFAULT

    def shape(request: Request) -> Request:
        kernels = variants.specs(request, names, asked.kernel())
        cost, by_function = variants.counts(metrics)
        request = msgspec.structs.replace(
            request,
            kernels=kernels,
            cost=cost or functions,
            functions=by_function or functions,
            metrics=metrics,
        )
        request.guest_table()  # cost may be out of the question
        if not request.cost and request.repeat >= FEWEST and not available():
            raise UserError(
                "intervals for figures with scatter need SciPy, which is not installed",
                where=f"--metric {' '.join(metrics)}",
                hint="pip install 'kernel-selftest-harness[statistics]', or --repeat 1",
            )
        return request

    def finish(finished: Finished) -> int:
        each = verdict.every(finished.records)
        request = finished.request
        asked_for = request.metrics or metrics
        found = variants.write(each, asked_for, request, finished.records, finished.directory)
        if as_json:
            sys.stdout.buffer.write(encode(found))
        else:
            print_lines([[], *told(found)], sys.stdout)
            click.echo(f"\npage:  {finished.shown}/{variants.NAMES[2]}")
        return ExitCode.AS_EXPECTED if found.all_right else ExitCode.NOT_AS_EXPECTED

    return conduct(asked, shape, finish, output_is_data=as_json)
