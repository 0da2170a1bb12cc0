# SPDX-License-Identifier: GPL-2.0-only
"""Why an option was dropped, from a small tree's Kconfig files."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UserError
from harness.kbuild.kconfig import unmet
from harness.proc.sandbox import Sandbox

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
def tree(tmp_path: Path) -> Path:
    (tmp_path / "Kconfig").write_text(KCONFIG)
    (tmp_path / "x86.kconfig").write_text('config MORE\n\tbool "More"\n')
    (tmp_path / ".config").write_text("CONFIG_USER=y\nCONFIG_RED=y\n")
    return tmp_path


def why(tree: Path, name: str, sandbox: Sandbox | None = None) -> str:
    return unmet(tree, tree / ".config", {"SRCARCH": "x86"}, [name], sandbox)[name]


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
def test_the_reason_is_told(tree: Path, name: str, expected: str) -> None:
    assert expected in why(tree, name)


def test_what_programs_print_is_no_answer(tree: Path) -> None:
    with (tree / "Kconfig").open("a") as file:
        file.write('config X\n\tdef_bool $(shell, echo "{}" >&2; echo y)\n')
    assert "no prompt" in why(tree, "HELPER")


def test_a_tree_that_cannot_be_read(tree: Path) -> None:
    (tree / "Kconfig").write_text('source "nowhere"\n')
    with pytest.raises(UserError, match="Kconfig files cannot be read") as caught:
        why(tree, "HELPER")
    assert "nowhere" in caught.value.why


def test_a_strangers_kconfig_files_run_programs_in_a_sandbox(tree: Path, tmp_path: Path) -> None:
    canary, trap = tmp_path / "canary", tmp_path / "trap"
    canary.write_text("secret")
    with (tree / "Kconfig").open("a") as file:
        file.write(
            f"config SEEN\n\tdef_bool $(shell,cat {canary} >/dev/null && touch {trap} && echo y"
            ' || echo n)\nconfig OTHER\n\tbool "Other"\n\tdepends on SEEN\n'
        )
    shown = (tree / "Kconfig", tree / "x86.kconfig", tree / ".config")
    assert "SEEN is n" in why(tree, "OTHER", Sandbox(readable=shown))
    assert not trap.exists()
    assert "SEEN is n" not in why(tree, "OTHER")
    assert trap.exists()
