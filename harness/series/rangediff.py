# SPDX-License-Identifier: GPL-2.0-only
"""Two versions of a series side by side: what `git range-diff` says of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.model.results import Kernel
from harness.proc.git import git, object_id

_LIMIT_S = 300


@dataclass(frozen=True)
class Versions:
    """What has become of each patch, from one version of a series to the next."""

    text: str
    """The words of git; empty where there is nothing to be told."""
    missing: str = ""
    """Why it cannot be told, where there is something."""


def range_diff(repo: Path, before: Kernel, after: Kernel, *, whole: bool = False) -> Versions:
    """Hold the series of two kernels against each other, by their commits in *repo*.

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
