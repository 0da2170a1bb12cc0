# SPDX-License-Identifier: GPL-2.0-only
"""``harness inject`` as a user meets it who has asked for something that cannot be."""

from __future__ import annotations

import pytest

from harness.errors import ExitCode
from tests.cli.projects import Project

pytestmark = [pytest.mark.unit, pytest.mark.slow]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--function", "open it"], "NAME=ERRNO"),
        (["--function", "open_it=ENOTHING"], "no function with an error"),
        (["--function", "open_it=5"], "no function with an error"),
        (["s:p", "-k", "p"], "not both"),
        (["p"], "SUITE:PROGRAM"),
        (["--repeat", "3"], "each point of a sweep runs once"),
        (["--until-fail"], "each point of a sweep runs once"),
        (["s:p", "--resume", "latest"], "cannot be named with --resume"),
        (["--sample", "0"], "--sample"),
        (["--budget", "0"], "--budget"),
        (["--sample", "3", "--resume", "latest"], "--sample cannot be given with --resume"),
    ],
)
def test_what_cannot_be_is_refused(project: Project, arguments: list[str], words: str) -> None:
    answer = project.harness("inject", *arguments)
    assert answer.status == ExitCode.USER
    assert words in " ".join(answer.text.split())


def test_a_point_names_its_suite(project: Project) -> None:
    answer = project.harness("inject", "nowhere:p@slab#3")
    assert answer.status == ExitCode.USER
    assert "nowhere" in answer.text
