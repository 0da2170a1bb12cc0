# SPDX-License-Identifier: GPL-2.0-only
"""How many objects a build will make is told from what they were made from before."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.kbuild.stale import changed_files, made_from
from harness.proc.git import git, must

pytestmark = pytest.mark.unit

COMMAND = """\
cmd_mm/{name}.o := gcc -I/s/include -c -o mm/{name}.o ../src/mm/{name}.c

source_mm/{name}.o := ../src/mm/{name}.c

deps_mm/{name}.o := \\
    $(wildcard include/config/SMP) \\
  ../src/include/linux/{header}.h \\

mm/{name}.o: $(deps_mm/{name}.o)
"""


@pytest.fixture
def slot(tmp_path: Path) -> Path:
    """Return a directory with a work tree of two commits and the objects of the first."""
    source, objects = tmp_path / "src", tmp_path / "obj"
    for directory in (source / "mm", source / "include/linux", source / "Documentation"):
        directory.mkdir(parents=True)
    for name in ("mm/a.c", "mm/b.c", "include/linux/one.h", "include/linux/two.h"):
        (source / name).write_text("1\n")
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    must(git("init", "-q", cwd=source), "git")
    must(git("add", ".", cwd=source), "git")
    must(git(*who, "commit", "-qm", "first", cwd=source), "git")
    (objects / "mm").mkdir(parents=True)
    for name, header in (("a", "one"), ("b", "two")):
        (objects / f"mm/.{name}.o.cmd").write_text(COMMAND.format(name=name, header=header))
    (objects / "mm/.built-in.a.cmd").write_text("cmd_mm/built-in.a := ar a.o b.o\n")
    return tmp_path


def commit(source: Path, *names: str) -> str:
    for name in names:
        (source / name).write_text("2\n")
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    must(git("add", ".", cwd=source), "git")
    must(git(*who, "commit", "-qm", "next", cwd=source), "git")
    made = must(git("rev-parse", "HEAD", cwd=source), "git").text
    must(git("checkout", "-q", "HEAD~1", cwd=source), "git")
    return made


@pytest.mark.parametrize(
    ("names", "count"),
    [
        (["mm/a.c"], 1),
        (["include/linux/two.h", "mm/b.c"], 1),
        (["include/linux/one.h", "mm/b.c"], 2),
        (["Documentation/page.rst"], 0),
        (["mm/a.cc"], 0),
    ],
)
def test_objects_that_were_made_from_what_changes(slot: Path, names: list[str], count: int) -> None:
    following = commit(slot / "src", *names)
    changed = changed_files(slot / "src", following)
    assert changed == sorted(names)
    assert made_from(slot / "obj", slot / "src", changed) == count


def test_nothing_is_known_of_what_is_not_there(slot: Path) -> None:
    assert changed_files(slot / "none", "HEAD") is None
    assert changed_files(slot / "src", "0" * 40) is None
    assert made_from(slot / "none", slot / "src", ["mm/a.c"]) == 0
