# SPDX-License-Identifier: GPL-2.0-only
"""git bisect in a repository of its own: what git says, and a log that git takes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.source.bisection import Bisection, commit_of, commits_between
from tests.kerneltree import sh

pytestmark = [pytest.mark.unit, pytest.mark.slow]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of 12 commits in a row: c0 to c11."""
    path = tmp_path / "repository"
    path.mkdir()
    sh("git", "init", "-q", "-b", "master", cwd=path)
    for number in range(12):
        sh("git", "commit", "-q", "--allow-empty", "-m", f"c{number}", cwd=path)
    return path


def ids(repository: Path) -> list[str]:
    return sh("git", "rev-list", "--reverse", "HEAD", cwd=repository).split()


def bisect(repository: Path, at: Path, good: str, bad: str, says: dict[str, str]) -> Bisection:
    """Go to the end; a commit that *says* does not name is good."""
    found = Bisection(repository, at, bad, (good,))
    while (commit := found.next) is not None:
        found.mark(commit, says.get(commit, "good"))  # type: ignore[arg-type]
    return found


def replay(repository: Path, log: str, at: Path) -> str:
    """Return what the user's git says to a log, in a clone."""
    sh("git", "clone", "-q", str(repository), str(at), cwd=repository)
    (at / "log").write_text(log)
    return sh("git", "bisect", "replay", "log", cwd=at)


@pytest.mark.parametrize("first", [1, 4, 11])
def test_the_first_bad_commit_is_found_in_a_row(
    repository: Path, tmp_path: Path, first: int
) -> None:
    commits = ids(repository)
    says = dict.fromkeys(commits[first:], "bad")
    found = bisect(repository, tmp_path / "at", commits[0], commits[-1], says)
    assert found.first_bad == commits[first]
    assert f"{commits[first]} is the first bad commit" in replay(
        repository, found.log, tmp_path / "clone"
    )


def test_skipped_commits_that_are_in_the_way_are_named(repository: Path, tmp_path: Path) -> None:
    commits = ids(repository)
    says = dict.fromkeys(commits[7:], "bad") | dict.fromkeys(commits[5:7], "skip")
    found = bisect(repository, tmp_path / "at", commits[0], commits[-1], says)
    assert found.first_bad == ""
    assert set(found.possible) == set(commits[5:8])
    assert found.next is None


def test_a_merge_is_followed_into_its_side_branch(repository: Path, tmp_path: Path) -> None:
    good = ids(repository)[-1]
    sh("git", "checkout", "-q", "-b", "side", cwd=repository)
    for number in range(4):
        sh("git", "commit", "-q", "--allow-empty", "-m", f"side {number}", cwd=repository)
    side = sh("git", "rev-list", "--reverse", "master..side", cwd=repository).split()
    sh("git", "checkout", "-q", "master", cwd=repository)
    sh("git", "commit", "-q", "--allow-empty", "-m", "main", cwd=repository)
    sh("git", "merge", "-q", "--no-ff", "-m", "merge", "side", cwd=repository)
    bad = sh("git", "rev-parse", "HEAD", cwd=repository)
    between = commits_between(repository, good, bad)
    assert len(between) == 6
    assert between[-1] == bad
    assert set(side) < set(between)
    says = dict.fromkeys((*side[2:], bad), "bad")
    found = bisect(repository, tmp_path / "at", good, bad, says)
    assert found.first_bad == side[2]
    assert len(commit_of(repository, bad, "--bad").parents) == 2


def test_where_the_fork_is_bad_already_git_says_so(repository: Path, tmp_path: Path) -> None:
    fork = ids(repository)[5]
    sh("git", "checkout", "-q", "-b", "good", fork, cwd=repository)
    sh("git", "commit", "-q", "--allow-empty", "-m", "mended", cwd=repository)
    good, bad = (sh("git", "rev-parse", name, cwd=repository) for name in ("good", "master"))
    found = bisect(repository, tmp_path / "at", good, bad, {fork: "bad"})
    assert found.next is None
    assert fork in found.stuck
    assert found.first_bad == ""


def test_the_repository_is_left_alone(repository: Path, tmp_path: Path) -> None:
    commits = ids(repository)
    before = sorted(str(path) for path in (repository / ".git").rglob("*"))
    bisect(repository, tmp_path / "at", commits[0], commits[-1], {})
    assert sorted(str(path) for path in (repository / ".git").rglob("*")) == before
    done = subprocess.run(
        ["git", "bisect", "log"], cwd=repository, capture_output=True, check=False
    )
    assert done.returncode != 0


def test_what_is_no_commit(repository: Path) -> None:
    with pytest.raises(UserError) as caught:
        commit_of(repository, "nothing", "--good")
    assert "--good nothing" in caught.value.where
