# SPDX-License-Identifier: GPL-2.0-only
"""``--coverage`` where it cannot be had, before anything is built."""

from __future__ import annotations

import pytest

from harness.errors import ExitCode
from tests.cli.projects import Project
from tests.kerneltree import FakeLinux

pytestmark = [pytest.mark.unit, pytest.mark.slow]


def change(linux: FakeLinux) -> None:
    linux.write(mm__new_dot_c="int f(int a)\n{\n\treturn a + 1;\n}\n")


@pytest.mark.parametrize("words", [("run", "--base"), ("matrix",)])
def test_several_kernels_are_watched_in_runs_of_their_own(
    project: Project, words: tuple[str, ...]
) -> None:
    project.patches(change)
    answer = project.harness(*words, "--series", "series", "--coverage")
    assert answer.status == ExitCode.USER
    assert "one kernel only" in answer.text
    assert "--upto N" in answer.text
    assert "Building" not in answer.text
