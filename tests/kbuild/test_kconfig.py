# SPDX-License-Identifier: GPL-2.0-only
"""Why an option was dropped, from a small tree's Kconfig files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.kbuild.kconfig import Dependencies

pytestmark = pytest.mark.unit

KCONFIG = """\
config MODULES
\tbool "Modules"
\tmodules

config ARCH_HAS_X
\tbool

config NET
\tbool "Networking"

config SMP
\tbool "SMP"

config FEATURE
\tbool "Feature"
\tdepends on NET && (SMP || ARCH_HAS_X)

config HELPER
\tbool

config USER
\tbool "User"
\tselect HELPER

choice
\tprompt "Colour"
config RED
\tbool "Red"
config BLUE
\tbool "Blue"
endchoice

source "$(SRCARCH).kconfig"
"""


@pytest.fixture
def dependencies(tmp_path: Path) -> Dependencies:
    (tmp_path / "Kconfig").write_text(KCONFIG)
    (tmp_path / "x86.kconfig").write_text('config MORE\n\tbool "More"\n')
    (tmp_path / ".config").write_text("CONFIG_USER=y\nCONFIG_RED=y\n")
    return Dependencies(tmp_path, tmp_path / ".config", {"SRCARCH": "x86"})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("FEATURE", "unmet: NET is n, SMP || ARCH_HAS_X is n"),
        ("NOWHERE", "no such option"),
        ("ARCH_HAS_X", "no prompt"),
        ("HELPER", "selected by: USER"),
        ("BLUE", "where RED is taken"),
    ],
)
def test_the_reason_is_told(dependencies: Dependencies, name: str, expected: str) -> None:
    assert expected in dependencies.unmet(name)


def test_the_environment_is_left_as_it_was(dependencies: Dependencies) -> None:
    assert "SRCARCH" not in os.environ
