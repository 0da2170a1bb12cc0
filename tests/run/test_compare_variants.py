# SPDX-License-Identifier: GPL-2.0-only
"""``harness compare --variants`` on real kernels: one per cent more is found, and where it is."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.judge.variants import Comparison
from harness.proc.git import git
from harness.run.prepare import Prepared
from tests.run.test_coverage import harness
from tests.run.test_main_job import REPOSITORY, suite

pytestmark = [pytest.mark.kernel, pytest.mark.proof]

FILE = "mm/memory.c"
HEAD = """\
From: A Developer <a@example.org>
Date: Wed, 1 Jul 2026 03:00:00 +0000
Subject: [PATCH] {0}

Signed-off-by: A Developer <a@example.org>
---
"""
PAGES = 4000
FAULTS = f"""
	char *memory = malloc({PAGES}UL << 12);

	for (unsigned long page = 0; page < {PAGES}; page++)
		memory[page << 12] = 1;
	return 0;
"""
ROUNDS = 40
LOOP = f"""
	unsigned int left = {ROUNDS};

	asm volatile("1: dec %0; jnz 1b" : "+r"(left));
"""
MARK = "	__set_current_state(TASK_RUNNING);\n\n	count_vm_event(PGFAULT);\n"


def patch(prepared: Prepared, path: Path, subject: str, old: str, new: str) -> None:
    """Write to *path* a patch that replaces *old* in the file of the fault path."""
    text = git("show", f"{prepared.tree.commit}:{FILE}", repo=prepared.tree.repo).text + "\n"
    assert text.count(old) == 1
    diff = difflib.unified_diff(
        text.splitlines(keepends=True),
        text.replace(old, new).splitlines(keepends=True),
        f"a/{FILE}",
        f"b/{FILE}",
    )
    path.write_text(HEAD.format(subject) + "".join(diff))


def project(root: Path, *more: str) -> None:
    """Write the project file of this project to *root*, with a suite of its own and *more*."""
    text = (REPOSITORY / "harness.toml").read_text()
    kernel, _, _ = text.partition("\n[suites.")
    kernel = kernel.replace('"patches/', f'"{REPOSITORY}/patches/')
    kernel = kernel.replace("[kernel]\n", f'[kernel]\nconfig_dir = "{REPOSITORY}/kernel-configs"\n')
    lines = (kernel, "[suites.mine]", 'path = "mine"', *more)
    (root / "harness.toml").write_text("\n".join(lines) + "\n")
    suite(root / "mine", faults=FAULTS)


@pytest.fixture(scope="module")
def compared(
    prepared: Prepared, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Comparison, Path]:
    root = tmp_path_factory.mktemp("project")
    project(root)
    slow, broken = root / "slow.patch", root / "broken.patch"
    patch(prepared, slow, "mm: Fault slowly", MARK, "	{" + LOOP + "	}\n" + MARK)
    patch(prepared, broken, "mm: Do not build", MARK, "#error planted\n" + MARK)
    base = "v10+test-vm"
    words = ["compare", "--variants", base, f"{base},{slow}", f"{base},{broken}"]
    words += ["--metric", "instructions", "--metric", "own:handle_mm_fault", "--functions"]
    status, said = harness(root, *words)
    assert status == 1, said
    assert "not built: the kernel does not compile" in said
    directory = root / "runs/latest"
    found = msgspec.json.decode((directory / "variants.json").read_bytes(), type=Comparison)
    return found, directory


def test_one_per_cent_is_found(compared: tuple[Comparison, Path]) -> None:
    found, _ = compared
    first, slow, broken = found.rows[0].figures
    assert first is not None
    assert slow is not None
    assert broken is None
    assert slow.exact
    assert slow.percent is not None
    assert 0.5 < slow.percent < 2
    assert slow.difference == pytest.approx(PAGES * 2 * ROUNDS, rel=0.05)
    assert [each.rank if each else None for each in found.rows[0].figures] == [1, 2, None]
    assert found.variants[1].size.added == 5


def test_it_is_attributed_to_its_function(compared: tuple[Comparison, Path]) -> None:
    found, directory = compared
    results: dict[str, Any] = json.loads((directory / "results.json").read_text())
    own = [
        {name: each for name, each, *_ in test["functions"]}
        for test in results["tests"]
        if test["functions"]
    ]
    changes = {name: own[1].get(name, 0) - own[0].get(name, 0) for name in own[0] | own[1]}
    assert max(changes, key=lambda name: changes[name]) == "handle_mm_fault"
    (row,) = (each for each in found.rows if each.metric == "own:handle_mm_fault")
    assert row.figures[1] is not None
    assert row.figures[1].difference == changes["handle_mm_fault"]
    page = (directory / "variants.html").read_text()
    graph = page.partition('<a href="')[2].partition('"')[0]
    assert "handle_mm_fault" in (directory / graph).read_text()


def test_variants_of_two_compilers(tmp_path: Path) -> None:
    """The second one is a script that leaves all functions out of line that have one caller."""
    compiler = tmp_path / "mycc"
    compiler.write_text('#!/bin/sh\nexec gcc "$@" -fno-inline-functions-called-once\n')
    compiler.chmod(0o755)
    project(tmp_path, "[variants.plain]", 'series = ["none"]')
    with (tmp_path / "harness.toml").open("a") as file:
        file.write(f'[variants.other]\nseries = ["none"]\ncc = "{compiler}"\n')
    words = ["compare", "--variants", "plain", "other", "--metric", "instructions_kernel"]
    status, said = harness(tmp_path, *words)
    assert status == 0, said
    directory = tmp_path / "runs/latest"
    found = msgspec.json.decode((directory / "variants.json").read_bytes(), type=Comparison)
    (row,) = found.rows
    _, other = row.figures
    assert other is not None
    assert other.exact
    assert other.difference
    assert [each.size.patches for each in found.variants] == [0, 0]
    results: dict[str, Any] = json.loads((directory / "results.json").read_text())
    tools = [each["toolchain"] for each in results["kernels"].values()]
    assert len(set(tools)) == 2
