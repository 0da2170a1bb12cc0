# SPDX-License-Identifier: GPL-2.0-only
"""The same input gives the same kernel, from empty directories and through no compiler cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import kbuild, project
from harness.context import Context
from harness.digest import digest_file
from harness.progress import Quiet
from harness.run.prepare import Prepared
from harness.store import Store
from tests.conftest import PROJECT_FILE


@pytest.mark.proof
def test_two_builds_from_empty_directories_give_one_vmlinux(
    prepared: Prepared, tmp_path: Path
) -> None:
    table = project.load(PROJECT_FILE).kernel
    fragments = kbuild.load(PROJECT_FILE.parent / table.config_dir, table.config)
    store = Store(tmp_path / "a-cache-elsewhere")
    again = kbuild.build(
        prepared.tree,
        fragments,
        kbuild.slot(store, "another slot", fragments),
        context=Context(store, Quiet()),
        log=tmp_path / "log",
        limit_s=3600,
    )
    assert again.key == prepared.kernel.key
    assert digest_file(again.vmlinux) == digest_file(prepared.kernel.vmlinux)
    assert digest_file(again.image) == digest_file(prepared.kernel.image)
