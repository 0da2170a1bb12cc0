# SPDX-License-Identifier: GPL-2.0-only
"""The command line that runs a test again, tried by running it.

The kernel is the one in miniature, which does not boot: what a run plans is all that matters here.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from harness.model.plan import PlannedTest
from harness.model.records import CellPlanned
from harness.run import journal
from tests.cli.projects import REPOSITORY, Project

pytestmark = [pytest.mark.unit, pytest.mark.slow]
ODD = ("a,b", "a@b", "it's", "größe", "-dash", "{~a}")


def suite(directory: Path, *scripts: str) -> Path:
    """Write a suite of scripts with these names."""
    directory.mkdir()
    (directory / "Makefile").write_text(f"TEST_PROGS := {' '.join(scripts)}\ninclude ../lib.mk\n")
    for name in scripts:
        (directory / name).write_text("#!/bin/sh\nexit 0\n")
        (directory / name).chmod(0o755)
    return directory


def planned(project: Project, *options: str, out: str) -> tuple[PlannedTest, ...]:
    """Return what a run with these options plans."""
    answer = project.harness("run", *options, "--out", out)
    return _plan(project.root / out, answer.text)


def again(project: Project, line: str, out: str) -> list[str]:
    """Return the names that *line* plans, run in a shell as by a user who copies it."""
    done = subprocess.run(
        ["/bin/sh", "-c", f"{line} --out {out}"],
        cwd=project.root,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "HARNESS_CACHE": f"{project.root}/cache"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return [test.name for test in _plan(project.root / out, f"{line}\n{done.stdout}")]


def _plan(out: Path, said: str) -> tuple[PlannedTest, ...]:
    plans = [each for each in journal.read(out) if isinstance(each, CellPlanned)]
    assert plans, said
    return tuple(test for plan in plans for test in plan.tests)


def test_each_of_these_names_is_run_again_alone(project: Project) -> None:
    directory = suite(project.root / "odd, 'suite'@é", "a_b", *ODD)
    first = planned(project, "--suite", str(directory), out="first")
    assert sorted(test.program for test in first) == sorted(["a_b", *ODD])
    for number, test in enumerate(first):
        assert again(project, test.rerun, f"again-{number}") == [test.name]


def test_a_suite_that_was_asked_for_by_two_globs(project: Project) -> None:
    globs = ["--suite", "kernel:demo:go*", "--suite", "kernel:demo:scr*"]
    first = planned(project, *globs, out="first")
    assert sorted(test.name for test in first) == ["demo:good", "demo:script.sh"]
    for number, test in enumerate(first):
        assert again(project, test.rerun, f"again-{number}") == [test.name]


def test_a_suite_that_was_asked_for_by_a_path_that_ends_otherwise(project: Project) -> None:
    (project.root / "suites").mkdir()
    (suite(project.root / "suites" / "mine", "one", "two") / "below").mkdir()
    first = planned(project, "--suite", "suites/mine/below/..", out="first")
    assert sorted(test.name for test in first) == ["mine:one", "mine:two"]
    assert again(project, first[1].rerun, "again") == [first[1].name]


def test_the_projects_own_suites_by_their_names(project: Project) -> None:
    first = planned(project, out="first")
    assert "--suite demo " in first[0].rerun
    assert again(project, first[0].rerun, "again") == [first[0].name]
