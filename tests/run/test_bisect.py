# SPDX-License-Identifier: GPL-2.0-only
"""``harness bisect`` over commits of a repository, with real kernels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.errors import ExitCode
from harness.run.prepare import Prepared
from tests.kerneltree import sh
from tests.run.patches import series_of, text_of
from tests.run.test_planted import DEFECTS, GUILTY, SUITE, harness, with_defect

pytestmark = [pytest.mark.kernel, pytest.mark.proof, pytest.mark.long(900)]

BROKEN = (3, 4)
"""Commits that do not compile; git tries one of them, as they are in the middle."""
BAD = 6


def repository(prepared: Prepared, scratch: Path) -> tuple[Path, list[str]]:
    """Return a repository of the project's source and of eight commits, and their ids.

    The first is the source.
    """
    text = text_of(prepared)
    defect = with_defect(text, DEFECTS["wrong result in one case"])
    stages = []
    for number in range(1, 8):
        after = (defect if number >= BAD else text) + f"/* planted {number} */\n"
        after += "#error planted\n" if number in BROKEN else ""
        stages.append((GUILTY if number == BAD else f"mm: Say nothing new, {number}", after))
    series = series_of(text, stages, scratch / "series")
    base, place = prepared.tree.base_commit, scratch / "linux"
    sh("git", "init", "-q", str(place), cwd=scratch)
    # Its commits have no names there, so git would clone nothing.
    objects = prepared.tree.repo / "objects"
    (place / ".git" / "objects" / "info" / "alternates").write_text(f"{objects}\n")
    done = harness(
        *("series", "apply", str(series), "--into", str(place)),
        *("--branch", "topic", "--base", base),
    )
    assert done.returncode == ExitCode.AS_EXPECTED, done.stdout + done.stderr
    commits = sh("git", "rev-list", "--reverse", f"{base}..topic", cwd=place).split()
    return place, [base, *commits]


def test_the_first_bad_commit_is_found_past_what_does_not_build(
    prepared: Prepared, tmp_path: Path
) -> None:
    place, commits = repository(prepared, tmp_path)
    assert len(commits) == 8
    out = tmp_path / "out"
    done = harness(
        *("bisect", "--source", str(place), "--good", commits[0], "--bad", "topic"),
        *("--suite", str(SUITE), "-k", "seals_test or flaky_test_1", "--out", str(out)),
        limit_s=1800,
    )
    said = done.stdout
    # Of the unstable test no commit is named, so not all is found.
    assert done.returncode == ExitCode.NOT_AS_EXPECTED, said + done.stderr
    found = {
        each["test"]: each for each in json.loads((out / "results.json").read_text())["bisected"]
    }
    seals, flaky = found["planted:seals_test"], found["planted:flaky_test_1"]
    assert seals["first_bad"] == commits[BAD][:12]
    assert seals["title"] == GUILTY
    assert f"First bad: commit {commits[BAD][:12]}, '{GUILTY}'" in said
    assert (flaky["first_bad"], bool(flaky["why"])) == ("", True)
    # git in a clone says the same, from the log alone; what did not compile is skipped there.
    assert "git bisect skip" in seals["log"]
    clone = tmp_path / "clone"
    sparse = ("git", "clone", "-q", "--shared", "--sparse", "--branch", "topic")
    sh(*sparse, str(place), str(clone), cwd=tmp_path)
    (tmp_path / "log").write_text(seals["log"])
    again = sh("git", "bisect", "replay", str(tmp_path / "log"), cwd=clone)
    assert f"{commits[BAD]} is the first bad commit" in again
