# SPDX-License-Identifier: GPL-2.0-only
"""Compare two versions of a series with `git range-diff`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.model.results import Kernel
from harness.proc.git import git, object_id

_LIMIT_S = 300


class Versions(msgspec.Struct, frozen=True):
    """The changes of each patch from one version of a series to the next."""

    text: str
    """The output of git; empty if there is nothing to compare."""
    missing: str = ""
    """Why the comparison failed, if it did."""


def range_diff(repo: Path, before: Kernel, after: Kernel, *, whole: bool = False) -> Versions:
    """Compare the series of two kernels, by their commits in *repo*.

    With *whole* the differences of the differences are told too, and not only which patch has
    changed.  There is nothing to tell where one has no series, or both have the same.
    """
    if not before.patches or not after.patches or before.series_digest == after.series_digest:
        return Versions("")
    for name, kernel in (("before", before), ("after", after)):
        for commit in (kernel.base_commit, kernel.series_commit):
            if not (repo / "HEAD").is_file() or object_id(repo, f"{commit}^{{commit}}") is None:
                return Versions("", f"the series of the run {name} is no longer in the cache")
    done = git(
        "range-diff", "--no-color", *(() if whole else ("--no-patch",)),
        f"{before.base_commit}..{before.series_commit}",
        f"{after.base_commit}..{after.series_commit}",
        repo=repo, limit_s=_LIMIT_S,
    )  # fmt: skip
    if not done.ok:
        return Versions("", f"git range-diff failed: {done.stderr}")
    return Versions(done.stdout.decode(errors="replace").rstrip("\n"))
