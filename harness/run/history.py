# SPDX-License-Identifier: GPL-2.0-only
"""The range of a bisection: the patches of a series, or commits of a repository."""

from __future__ import annotations

import functools
from pathlib import Path

import msgspec

from harness.errors import UserError
from harness.model.ids import BASE
from harness.model.spec import BisectTable, KernelSpec
from harness.run.course import History
from harness.run.prepare import Selected
from harness.run.request import Request
from harness.source.bisection import commit_of, commits_between


def history(request: Request, last: Selected) -> History:
    """Return the commits that the bisection of *request* is about; *last* is its bad kernel."""
    assert request.bisect is not None  # noqa: S101  the caller's condition
    if request.bisect.repository:
        return _of_commits(request, request.bisect)
    return _of_patches(last)


def _of_patches(last: Selected) -> History:
    tree = last.tree
    ids = [tree.base_commit, *(patch.commit for patch in tree.patches)]
    numbers = {commit: number for number, commit in enumerate(ids)}

    def spec(commit: str) -> KernelSpec:
        number = numbers[commit]
        name = str(number) if number else BASE
        return msgspec.structs.replace(last.spec, name=name, upto=number, position=number)

    return History(
        repository=tree.repo,
        good=tree.base_commit,
        bad=tree.commit,
        assumed=False,
        spec=spec,
        commit=functools.cache(lambda commit: commit_of(tree.repo, commit, "")),
    )


def _of_commits(request: Request, table: BisectTable) -> History:
    repository = Path(table.repository)
    order = commits_between(repository, table.good, table.bad)
    numbers = {commit: number for number, commit in enumerate(order, 1)}
    bad = request.kernels[-1]

    def spec(commit: str) -> KernelSpec:
        if commit == table.bad:
            return bad
        # If good and bad have diverged, the commits before the fork come first.
        return of_commit(bad, table, commit, numbers.get(commit, 0))

    return History(
        repository=repository,
        good=table.good,
        bad=table.bad,
        assumed=True,
        spec=spec,
        commit=functools.cache(lambda commit: commit_of(repository, commit, "")),
    )


def of_commit(whole: KernelSpec, table: BisectTable, commit: str, position: int) -> KernelSpec:
    """Return the kernel of a *commit* of the repository, with all other settings of *whole*."""
    tests = "" if table.own_tests or commit == table.bad else table.bad[:12]
    return msgspec.structs.replace(
        whole,
        name=commit[:12],
        source=f"{table.repository}#{commit}",
        position=position,
        tests_of=tests,
    )


def between(repository: Path, good: str, bad: str, *, own_tests: bool) -> BisectTable:
    """Return the range from *good* to *bad* in *repository*; UserError where there is none."""
    first, last = commit_of(repository, good, "--good"), commit_of(repository, bad, "--bad")
    if first.id == last.id:
        raise UserError(
            "the good and the bad commit are the same one",
            where=f"--good {good} --bad {bad}",
            why=f"both are {first.short} ({first.subject})",
        )
    if not commits_between(repository, first.id, last.id):
        raise UserError(
            "the bad commit is older than the good one",
            where=f"--good {good} --bad {bad}",
            why=f"{first.short} holds {last.short}",
            hint="exchange the two; to find what mended a test, swap good and bad in git bisect",
        )
    return BisectTable(repository=str(repository), good=first.id, bad=last.id, own_tests=own_tests)
