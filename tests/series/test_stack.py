# SPDX-License-Identifier: GPL-2.0-only
"""Series upon series: in order, counted through, and each still held to be whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.context import Context
from harness.errors import UserError
from harness.progress import Quiet
from harness.series import apply, read, read_stack
from harness.source import Source
from harness.store import Store
from tests.kerneltree import commit, format_patch, replace

pytestmark = pytest.mark.unit


@pytest.fixture
def fix(linux: Path, patches: Path, tmp_path: Path) -> Path:
    """A patch that applies upon *patches* only."""
    replace(linux / "mm/memfd.c", "int memfd;", "int memfd = 1;")
    commit(linux, "mm: mend")
    (file,) = format_patch(linux, tmp_path / "fix", count=1)
    return file


def test_series_apply_one_upon_the_other(
    patches: Path, fix: Path, source: Source, store: Store
) -> None:
    stack = read_stack("both", [patches, fix])
    tree = apply(stack.series, source, Context(store, Quiet()))
    assert [patch.subject for patch in tree.patches] == [
        "mm: change three",
        "mm: add, rename, delete",
        "mm: change nine",
        "mm: mend",
    ]
    assert tree.base_commit == source.commit
    assert stack.title.endswith(" + mm: mend")
    below = apply([read(patches)], source, Context(store, Quiet()))
    assert tree.patches[:3] == below.patches
    with pytest.raises(UserError, match=r"mm/memfd\.c|does not apply"):
        apply(read_stack("turned", [fix, patches]).series, source, Context(store, Quiet()))


def test_the_digest_is_that_of_the_patches(patches: Path, fix: Path) -> None:
    one, both = read_stack("one", [patches]), read_stack("both", [patches, fix])
    assert one.digest == read(patches).digest
    assert len({one.digest, both.digest, read_stack("none", []).digest}) == 3
    assert read_stack("none", []).digest == ""


@pytest.mark.parametrize("upto", [1, 2, 3, 4])
def test_upto_counts_through_all_series(patches: Path, fix: Path, upto: int) -> None:
    stack = read_stack("both", [patches, fix], upto=upto)
    assert len(stack.patches) == upto
    assert stack.patches == read_stack("both", [patches, fix]).patches[:upto]


def test_upto_beyond_the_last_patch(patches: Path, fix: Path) -> None:
    with pytest.raises(UserError, match="up to 5 are requested, and the series has 4"):
        read_stack("both", [patches, fix], upto=5)


def test_a_hole_below_is_a_hole(patches: Path, fix: Path) -> None:
    next(patches.glob("*0003-*")).unlink()
    assert len(read_stack("both", [patches, fix], upto=2).patches) == 2
    with pytest.raises(UserError, match="incomplete"):
        read_stack("both", [patches, fix], upto=4)
