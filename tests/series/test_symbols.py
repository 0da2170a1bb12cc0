# SPDX-License-Identifier: GPL-2.0-only
"""Which configuration symbols a user can choose."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.series.symbols import has_prompt, in_tree
from tests.kerneltree import commit, make_repository, sh

pytestmark = pytest.mark.unit

KCONFIG = """
config ASKED
\tbool "Ask for it"
\tdepends on OTHER

menuconfig ASKED_BELOW
\ttristate
\tdefault y
\tprompt "Ask for it" if EXPERT

config SELECTED
\tbool
\thelp
\t  Some set this to
\t  bool "and more"

config GIVEN
\tdef_bool $(shell,echo "y")

config ASKED_TWICE
\tbool

if OTHER
config INDENTED
\tint 'How many'
endif
"""


def test_prompts(tmp_path: Path) -> None:
    linux = make_repository(tmp_path / "linux")
    (linux / "mm/Kconfig").write_text(KCONFIG)
    (linux / "mm/Kconfig.debug").write_text('config ASKED_TWICE\n\tbool "Here"\n')
    commit(linux, "mm: Add options")
    tip, repo = sh("git", "rev-parse", "HEAD", cwd=linux).strip(), linux / ".git"
    names = ("ASKED", "ASKED_BELOW", "SELECTED", "GIVEN", "ASKED_TWICE", "INDENTED")
    assert all(in_tree(repo, tip, name) for name in names)
    assert not in_tree(repo, tip, "ASK")
    asked = {name for name in names if has_prompt(repo, tip, name)}
    assert asked == {"ASKED", "ASKED_BELOW", "ASKED_TWICE", "INDENTED"}
