# SPDX-License-Identifier: GPL-2.0-only
"""``harness bisect``: the first commit on which a test fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from harness.cli.options import Name
from harness.cli.testing import Asked, TestingCommand, conduct, testing_options
from harness.errors import UserError
from harness.model.spec import BisectTable
from harness.project import NO_SERIES
from harness.run.history import between, of_commit
from harness.run.request import Request


@click.command(cls=TestingCommand)
@testing_options
@click.option(
    "--good",
    type=Name(),
    metavar="COMMIT",
    help="A commit of the repository on which the test passes.  It is only tested if the result "
    "depends on it.",
)
@click.option(
    "--bad",
    type=Name(),
    metavar="COMMIT",
    help="A later commit on which the test fails.  It is tested first.",
)
@click.option(
    "--tests",
    "tests_from",
    type=click.Choice(["tip", "own"]),
    default="tip",
    show_default=True,
    help="Take suites of the kernel tree from the bad commit for every kernel (tip), or from each "
    "kernel's own tree (own).  Other suites are the same for all kernels.",
)
def bisect(good: str | None, bad: str | None, tests_from: str, **options: Any) -> int:
    """Find the first commit between --good and --bad on which tests fail.

    --source is a local repository; its work tree is not touched.  git chooses the commits, as in
    `git bisect`: so merges and skipped commits mean the same.  A kernel that does not build or
    boot, and one on which the test does not run, is skipped; if the bad commit itself does not
    build or boot, the first such commit is looked for.  The test runs on each kernel as often as
    necessary to be sure.  At the end the first bad commit is compared with the one before it.  An
    unstable test is reported as such.  With several tests each gets an answer of its own, and
    they share kernels.

    Exit code 0 means that the first bad commit of each test is found.  The end tells a command
    that runs the test there again, and the log for `git bisect replay`.

    \b
    Examples:
      harness bisect --good v6.1 --bad HEAD --source ~/linux --suite kernel:memfd -k memfd_test
      harness bisect --good v6.1 --bad topic --source ~/linux --series ~/fixup.patch -k fstat
      harness bisect --resume latest
    """
    asked = Asked(**options)

    def shape(request: Request) -> Request:
        if not good or not bad or not asked.source:
            missing = [
                name
                for name, value in (("--good", good), ("--bad", bad), ("--source", asked.source))
                if not value
            ]
            raise UserError(
                f"{missing[0]} is missing",
                where="harness bisect",
                why="a bisection is between two commits of a repository on this machine",
                hint="harness bisect --good COMMIT --bad COMMIT --source REPOSITORY -k TEST; for "
                "the patches of a series: harness matrix --bisect",
            )
        table = _between(asked.source, good, bad, own_tests=tests_from == "own")
        whole = msgspec.structs.replace(asked, series=asked.series or (NO_SERIES,)).kernel()
        # It comes last, whatever stands between.
        kernel = of_commit(whole, table, table.bad, _LAST)
        return msgspec.structs.replace(request, kernels=(kernel,), bisect=table)

    return conduct(asked, shape)


_LAST = 1 << 40


def _between(source: str, good: str, bad: str, *, own_tests: bool) -> BisectTable:
    repository = Path(source).expanduser().absolute()
    if not repository.is_dir():
        raise UserError(
            "a bisection needs a repository on this machine",
            where=f"--source {source}",
            hint="git clone it, and name the clone",
        )
    return between(repository.resolve(), good, bad, own_tests=own_tests)
