# SPDX-License-Identifier: GPL-2.0-only
"""A tree with other files on top."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import MachineError
from harness.series.planted import contents, with_files
from tests.kerneltree import FakeLinux

pytestmark = pytest.mark.unit


def test_a_file_is_replaced_and_another_added(tmp_path: Path) -> None:
    linux = FakeLinux.create(tmp_path / "linux")
    linux.write(mm__a_dot_c="int a;\n", mm__b_dot_c="int b;\n")
    tree = linux.commit()
    made = with_files(tree, {"mm/a.c": b"long a;\n", "mm/\xfc.c": b"new\0"}, "faults", tmp_path)
    assert contents(made, ["mm/a.c", "mm/b.c", "mm/\xfc.c"]) == {
        "mm/a.c": b"long a;\n",
        "mm/b.c": b"int b;\n",
        "mm/\xfc.c": b"new\0",
    }
    assert linux.git("rev-parse", f"{made.commit}^") == tree.commit
    assert linux.git("rev-parse", f"{made.commit}^{{tree}}") == made.tree
    assert made.patches == tree.patches
    # The work tree and its index are the user's.
    assert linux.git("status", "--porcelain") == ""
    assert contents(tree, ["mm/a.c"]) == {"mm/a.c": b"int a;\n"}


def test_the_same_files_are_the_same_commit(tmp_path: Path) -> None:
    tree = FakeLinux.create(tmp_path / "linux").commit()
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    files = {"mm/a.c": b"int a;\n"}
    one = with_files(tree, files, "faults", tmp_path / "one")
    assert with_files(tree, files, "faults", tmp_path / "two") == one


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    tree = FakeLinux.create(tmp_path / "linux").commit()
    with pytest.raises(MachineError, match="file of the series"):
        contents(tree, ["mm/none.c"])
