# SPDX-License-Identifier: GPL-2.0-only
"""Coverage of changed lines, from the command line to the reports, on the project's own kernel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.model import results
from harness.model.coverage import Coverage
from harness.outcome import Outcome
from tests.run.test_main_job import PROVOKE, REPOSITORY, suite

pytestmark = pytest.mark.kernel

CALL = """
	int fd = syscall(451, 0);	/* memfd_restricted */
	if (fd < 0 || ftruncate(fd, 8192))
		return 1;
"""
FILE = "mm/restrictedmem.c"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with a suite of its own, and runs apart from the user's."""
    root = tmp_path_factory.mktemp("project")
    text = (REPOSITORY / "harness.toml").read_text()
    kernel, _, _ = text.partition("\n[suites.")
    kernel = kernel.replace('"patches/', f'"{REPOSITORY}/patches/')
    kernel = kernel.replace("[kernel]\n", f'[kernel]\nconfig_dir = "{REPOSITORY}/kernel-configs"\n')
    (root / "harness.toml").write_text(f'{kernel}\n[suites.mine]\npath = "mine"\n')
    suite(
        root / "mine",
        idle="	return 0;",
        reaches=f"{CALL}	return 0;",
        crashes=CALL + PROVOKE.format("PANIC").replace("int fd =", "fd ="),
    )
    return root


def harness(where: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "harness", *words],
        cwd=where,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=3600,
        check=False,
    )
    assert "Traceback" not in done.stdout, done.stdout
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def covered(project: Path) -> Coverage:
    status, text = harness(project, "run", "--coverage")
    assert status == 1, text
    found = results.decode((project / "runs/latest/results.json").read_bytes())
    assert {test.program: test.outcome for test in found.tests} == {
        "idle": Outcome.PASS,
        "reaches": Outcome.PASS,
        "crashes": Outcome.CRASH,
    }
    assert found.machine.accelerator == "tcg"
    assert re.search(r"not run: mm/restrictedmem\.c:", text)
    assert found.coverage is not None
    return found.coverage


def test_a_test_covers_what_it_runs_also_where_its_kernel_panics(covered: Coverage) -> None:
    first = covered.patches[0]
    assert first.number == 1
    assert first.tests == ("mine:reaches", "mine:crashes")
    assert covered.unmeasured == ()
    by_name = {test.name: test.covered for test in covered.tests}
    assert by_name["mine:idle"] == ()
    (reached,) = (each for each in by_name["mine:reaches"] if each.path == FILE)
    (crashed,) = (each for each in by_name["mine:crashes"] if each.path == FILE)
    assert crashed.count >= 10
    # The one that panics has no time to close its file.
    assert crashed.count < reached.count


def test_what_no_test_can_reach_is_not_covered(covered: Coverage) -> None:
    """Only KVM asks for pages, and no test here has KVM."""
    for patch in covered.patches[1:]:
        assert patch.tests == ()
        assert patch.covered == ()
        assert patch.uncovered == patch.instrumented
    assert sum(each.count for patch in covered.patches for each in patch.uncovered) > 100


def test_the_next_run_leaves_out_what_does_not_reach_a_patch(
    project: Path, covered: Coverage
) -> None:
    assert harness(project, "which-tests", "1")[1].split() == ["mine:reaches", "mine:crashes"]
    assert harness(project, "which-tests", "2") == (1, "")
    status, text = harness(project, "run", "--for-patch", "1", "-k", "not crashes")
    assert status == 0, text
    found = results.decode((project / "runs/latest/results.json").read_bytes())
    assert [test.name for test in found.tests] == ["mine:reaches"]
    assert found.coverage is None
    assert "left out, because they run no line of patch 1: mine:idle" in found.notes
    status, text = harness(project, "run", "--for-patch", "2")
    assert status == 2
    assert "no test runs a changed line of patch 2" in text
