# SPDX-License-Identifier: GPL-2.0-only
"""The command line of ``harness mutants``, as far as it needs no kernel."""

from __future__ import annotations

import pytest

from harness.errors import ExitCode
from tests.cli.projects import Project
from tests.kerneltree import FakeLinux

pytestmark = [pytest.mark.unit, pytest.mark.slow]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--alone", "--together"), "exclude each other"),
        (("--repeat", "3"), "each test runs once"),
        (("--until-fail",), "each test runs once"),
        (("--at", "mm/a.c:9-7"), "not a position in a file"),
        (("--min-score", "101"), "--min-score"),
        (("--sample", "0"), "--sample"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    project: Project, words: tuple[str, ...], said: str
) -> None:
    answer = project.harness("mutants", *words)
    assert answer.status == ExitCode.USER
    assert said in answer.text


def change(linux: FakeLinux) -> None:
    linux.write(mm__new_dot_c="int f(int a)\n{\n\treturn a + 1;\n}\n")


def document(linux: FakeLinux) -> None:
    linux.write(Documentation__new_dot_rst="New\n===\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--series", "none"), "without a series"),
        (("--series", "series", "--patch", "3"), "there is no patch 3"),
        (("--series", "series", "--patch", "2"), "no changed line in which a fault"),
        (("--series", "series", "--at", "mm/new.c:1"), "no changed line in which a fault"),
        (("--series", "series", "--at", "mm/other.c"), "changed C files: mm/new.c"),
    ],
)
def test_a_place_without_faults_is_told_before_anything_is_built(
    project: Project, words: tuple[str, ...], said: str
) -> None:
    project.patches(change, document)
    answer = project.harness("mutants", *words)
    assert answer.status == ExitCode.USER
    assert said in answer.text
    assert "Building" not in answer.text


def test_a_wrong_list_of_equivalent_mutants_is_told_before_anything_is_built(
    project: Project,
) -> None:
    project.patches(change)
    (project.root / "mutants.toml").write_text("[[equivalent]]\n")
    answer = project.harness("mutants", "--series", "series")
    assert answer.status == ExitCode.USER
    assert "mutants.toml: equivalent" in answer.text
    assert "Building" not in answer.text
