# SPDX-License-Identifier: GPL-2.0-only
"""A range of commits of a local repository as a series."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.context import Context
from harness.errors import UserError
from harness.progress import Quiet
from harness.series import apply, exists, name_of, read
from harness.source import Source
from harness.store import Store
from tests.kerneltree import commit, replace, sh

pytestmark = pytest.mark.unit


def test_a_range_is_the_same_as_its_patches(
    linux: Path, patches: Path, source: Source, store: Store
) -> None:
    sh("git", "branch", "user/topic", cwd=linux)
    asked = Path(f"{linux}#HEAD~3..user/topic")
    series = read(asked)
    assert [patch.subject for patch in series.patches] == [
        "mm: change three",
        "mm: add, rename, delete",
        "mm: change nine",
    ]
    assert series.content == read(patches).content
    tree = apply([series], source, Context(store, Quiet()))
    assert tree.tree == sh("git", "rev-parse", "HEAD^{tree}", cwd=linux)
    assert exists(asked)
    assert (name_of(asked), series.title) == ("topic", "topic")
    assert series.patches[1].where == f"{asked}, mail 2"
    assert [patch.number for patch in read(asked, upto=1).patches] == [1]
    assert name_of(Path(f"{linux}#HEAD~1..")) == "linux"
    assert read(Path(f"{linux}#HEAD~1..")).title == "mm: change nine"


def test_settings_of_the_repository_and_words_of_a_message_change_nothing(
    linux: Path, source: Source, store: Store
) -> None:
    for key, value in (
        ("format.subjectPrefix", "WRONG"), ("format.signOff", "true"), ("format.attach", "x"),
        ("format.coverLetter", "true"), ("diff.noprefix", "true"), ("diff.external", "false"),
        ("format.numbered", "false"), ("format.pretty", "oneline"),
    ):  # fmt: skip
        sh("git", "config", key, value, cwd=linux)
    replace(linux / "mm/memory.c", "return a + 3;", "return a + 33;")
    message = "mm: x\n\nFrom the start\n>From a\n\nFrom a@x Tue Nov 14 22:13:20 2023\nFrom: b\n"
    commit(linux, message)
    (patch,) = read(Path(f"{linux}#HEAD~1..HEAD")).patches
    assert patch.subject == "mm: x"
    tree = apply([read(Path(f"{linux}#HEAD~1.."))], source, Context(store, Quiet()))
    assert tree.tree == sh("git", "rev-parse", "HEAD^{tree}", cwd=linux)
    said = sh("git", f"--git-dir={tree.repo}", "log", "-1", "--format=%B", tree.commit, cwd=linux)
    assert said.strip() == message.strip()


@pytest.mark.parametrize(
    ("span", "what"),
    [
        ("no-such..HEAD", "does not know this range"),
        ("HEAD..HEAD", "no commits"),
        ("--output=x..HEAD", "does not know this range"),
        ("HEAD~2..HEAD", "has merges"),
    ],
)
def test_ranges_that_are_no_series(linux: Path, span: str, what: str) -> None:
    replace(linux / "mm/memory.c", "return a + 3;", "return a + 33;")
    commit(linux, "mm: x")
    sh("git", "checkout", "-q", "-b", "side", "HEAD~1", cwd=linux)
    replace(linux / "mm/memory.c", "return a + 9;", "return a + 99;")
    commit(linux, "mm: y")
    sh("git", "checkout", "-q", "master", cwd=linux)
    sh("git", "merge", "-q", "--no-edit", "side", cwd=linux)
    replace(linux / "mm/memory.c", "return a + 5;", "return a + 55;")
    commit(linux, "mm: z")
    with pytest.raises(UserError, match=what) as caught:
        read(Path(f"{linux}#{span}"))
    assert caught.value.where == f"{linux}#{span}"


def test_a_directory_that_is_no_repository(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with pytest.raises(UserError, match="does not know this range"):
        read(tmp_path / "plain#a..b")
    assert not exists(tmp_path / "nowhere#a..b")


def test_an_error_names_the_range_and_no_temporary_file(linux: Path) -> None:
    (linux / "mm/latin.c").write_bytes(b"/* \xe9 */\n")
    commit(linux, "mm: latin")
    with pytest.raises(UserError, match="not UTF-8") as caught:
        read(Path(f"{linux}#HEAD~1..HEAD"))
    assert caught.value.where.startswith(f"{linux}#HEAD~1..HEAD:")
