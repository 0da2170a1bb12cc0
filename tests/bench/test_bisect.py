# SPDX-License-Identifier: GPL-2.0-only
"""The bisection of ``make bench``: the commits that it searches."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import MachineError
from harness.proc.git import git, must
from tools.bench import bisect

pytestmark = pytest.mark.unit

SEALS = "void f(int *file_seals, int seals)\n{\n" + bisect._SEALS + "}\n"


def repository(at: Path, memfd: str) -> tuple[Path, str]:
    """Return a bare repository with 70 files below ``mm/``, and its commit."""
    must(git("init", "-q", "--bare", str(at)), "no repository")

    def ask(*words: str, given: str = "") -> str:
        return must(git(*words, repo=at, stdin=given.encode()), "git failed").text

    files = {f"mm/f{number:02}.c": f"int f{number};\n" for number in range(70)}
    for name, text in {**files, "mm/memfd.c": memfd, "mm/Makefile": "\n"}.items():
        blob = ask("hash-object", "-w", "--stdin", given=text)
        ask("update-index", "--add", "--cacheinfo", f"100644,{blob},{name}")
    return at, ask("commit-tree", ask("write-tree"), "-m", "base")


def test_each_commit_changes_one_file_and_one_of_them_seals(tmp_path: Path) -> None:
    place, base = repository(tmp_path / "linux.git", SEALS)
    commits = bisect.make_commits(place, base)
    assert len(commits) == len(set(commits)) == bisect.COMMITS
    line = git("rev-list", "--reverse", f"{base}..topic", repo=place).text.split()
    assert line == commits
    changed = [
        git("diff", "--name-only", f"{each}^", each, repo=place).text.splitlines()
        for each in commits
    ]
    assert all(len(each) == 1 for each in changed)
    assert len({each[0] for each in changed}) == bisect.COMMITS
    lost = [
        number
        for number, each in enumerate(commits, 1)
        if bisect._SEALS not in git("show", f"{each}:mm/memfd.c", repo=place).stdout.decode()
    ]
    assert lost == list(range(bisect.BAD, bisect.COMMITS + 1))


def test_a_source_without_the_statement_is_refused(tmp_path: Path) -> None:
    place, base = repository(tmp_path / "linux.git", "int memfd;\n")
    with pytest.raises(MachineError, match="statement"):
        bisect.make_commits(place, base)
