# SPDX-License-Identifier: GPL-2.0-only
"""Links that lead out of the tree, also where the diff does not show that it makes one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.context import Context
from harness.errors import UserError
from harness.progress import Quiet
from harness.series import apply, read
from harness.series.branch import apply_into
from harness.series.links import leads_out
from harness.series.stack import read_stack
from harness.source import resolve
from harness.store import Store
from tests.kerneltree import commit, format_patch, make_repository, sh

pytestmark = pytest.mark.unit

Edit = Callable[[Path], None]


def move(linux: Path) -> None:
    """Further up, its target begins elsewhere."""
    (linux / "mm/deep/link").rename(linux / "link")


def copy(linux: Path) -> None:
    (linux / "link").symlink_to("../memory.c")


def retarget(linux: Path) -> None:
    """The diff has the old mode in its index line, and no other."""
    (linux / "mm/deep/link").unlink()
    (linux / "mm/deep/link").symlink_to("../../../outside")


def through_another(linux: Path) -> None:
    """By their names alone all of these stay inside."""
    (linux / "mm/deep/here").symlink_to("..")
    (linux / "out").symlink_to("mm/deep/here/../../outside")


def change_the_way(linux: Path) -> None:
    """A link of the tree leads out through another one that is changed."""
    (linux / "mm/way").unlink()
    (linux / "mm/way").symlink_to(".")


def into_git(linux: Path) -> None:
    (linux / "mm/deep/link").unlink()
    (linux / "mm/deep/link").symlink_to("../../.git/config")


def harmless(linux: Path) -> None:
    (linux / "mm/deep/link").rename(linux / "mm/deep/other")
    (linux / "mm/up").symlink_to("../include/linux")


@pytest.fixture
def linux(tmp_path: Path) -> Path:
    tree = make_repository(tmp_path / "linux")
    (tree / "mm/deep/er").mkdir(parents=True)
    (tree / "mm/deep/er/file").write_text("x\n")
    (tree / "mm/deep/link").symlink_to("../memory.c")
    (tree / "mm/way").symlink_to("deep/er")
    (tree / "mm/far").symlink_to("way/../../../mm/memory.c")
    # Nothing that a series does.
    (tree / "old").symlink_to("/etc/os-release")
    commit(tree, "mm: Have links")
    return tree


def patch(linux: Path, edit: Edit, to: Path) -> Path:
    edit(linux)
    commit(linux, "mm: Change a link")
    format_patch(linux, to, "-C", "--find-copies-harder", count=1)
    sh("git", "reset", "-q", "--hard", "HEAD~1", cwd=linux)
    return to


@pytest.mark.parametrize(
    ("edit", "name"),
    [
        (move, "link a symbolic link to ../memory.c"),
        (copy, "link a symbolic link to ../memory.c"),
        (retarget, "mm/deep/link a symbolic link to ../../../outside"),
        (through_another, "out a symbolic link to mm/deep/here/../../outside"),
        (change_the_way, "mm/far a symbolic link to way/../../../mm/memory.c"),
        (into_git, "mm/deep/link a symbolic link to ../../.git/config"),
    ],
)
def test_a_link_that_leads_out_is_refused(
    linux: Path, tmp_path: Path, edit: Edit, name: str
) -> None:
    path = patch(linux, edit, tmp_path / "patches")
    store = Store(tmp_path / "cache")
    context = Context(store, Quiet())
    source = resolve("linux#HEAD", context, relative_to=tmp_path)
    with pytest.raises(UserError, match="reaches outside the tree") as caught:
        apply([read(path)], source, context)
    assert name in caught.value.why
    assert "refs/applied" not in sh("git", "for-each-ref", cwd=source.repo)
    with pytest.raises(UserError, match="reaches outside the tree"):
        apply_into(read_stack("x", [path]), linux, branch="new", base="", trailers=False)
    assert sh("git", "branch", "--list", "new", cwd=linux) == ""


def test_links_within_the_tree_and_old_ones_are_none_of_it(linux: Path, tmp_path: Path) -> None:
    path = patch(linux, harmless, tmp_path / "patches")
    context = Context(Store(tmp_path / "cache"), Quiet())
    source = resolve("linux#HEAD", context, relative_to=tmp_path)
    assert len(apply([read(path)], source, context).patches) == 1


def test_links_in_a_circle_lead_nowhere() -> None:
    links = {"a": "b", "b": "a", "c": "c/.."}
    assert not any(leads_out(name, links) for name in links)
