# SPDX-License-Identifier: GPL-2.0-only
"""A small kernel in a store, and three patches for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.context import Context
from harness.progress import Quiet
from harness.source import Source, resolve
from harness.store import Store
from tests.kerneltree import commit, format_patch, make_repository, replace


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def linux(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "linux")


@pytest.fixture
def source(linux: Path, store: Store, tmp_path: Path) -> Source:
    """The fake kernel, before any patch."""
    return resolve("linux#HEAD", Context(store, Quiet()), relative_to=tmp_path)


@pytest.fixture
def patches(linux: Path, source: Source, tmp_path: Path) -> Path:
    """A directory with a v10 of three patches and a cover letter."""
    replace(linux / "mm/memory.c", "return a + 3;", "return a + 33;")
    commit(linux, "mm: change three")
    (linux / "mm/memfd.c").write_text("int memfd;\n")
    (linux / "mm/shmem.c").rename(linux / "mm/shmem2.c")
    replace(linux / "mm/shmem2.c", "return a + 5;", "return a + 55;")
    (linux / "scripts/check.sh").unlink()
    commit(linux, "mm: add, rename, delete")
    replace(linux / "mm/memory.c", "return a + 9;", "return a + 99;")
    commit(linux, "mm: change nine")
    format_patch(linux, tmp_path / "patches", "-v10", "--cover-letter", count=3)
    return tmp_path / "patches"
