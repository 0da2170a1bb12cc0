# SPDX-License-Identifier: GPL-2.0-only
"""What a suite needs of its guests."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UserError
from harness.model.spec import GuestTable
from harness.suites import settings

pytestmark = pytest.mark.unit

FILE = """
requires = ["kvm"]
[guest]
numa_nodes = 2
[program."huge_*"]
guest = { memory_mib = 4096 }
requires = ["numa", "kvm"]
[program.huge_small_test]
guest = { memory_mib = 1024, numa_nodes = 1 }
"""


def load(path: Path, text: str) -> settings.Settings:
    (path / settings.FILE_NAME).write_text(text)
    return settings.load(path / settings.FILE_NAME)


def test_the_most_specific_word_counts(tmp_path: Path) -> None:
    found, own = load(tmp_path, FILE), GuestTable(cpus=3)
    assert found.of("plain_test", own) == (GuestTable(cpus=3, numa_nodes=2), ("kvm",))
    large = GuestTable(cpus=3, numa_nodes=2, memory_mib=4096)
    assert found.of("huge_test", own) == (large, ("kvm", "numa"))
    small = GuestTable(cpus=3, memory_mib=1024)
    assert found.of("huge_small_test", own) == (small, ("kvm", "numa"))


def test_nothing_said_changes_nothing(tmp_path: Path) -> None:
    own = GuestTable(memory_mib=99)
    assert load(tmp_path, "").of("a", own) == (own, ())


@pytest.mark.parametrize(
    ("text", "where", "why"),
    [
        ("[guest]\nmemory = 3", "guest.memory", "did you mean 'memory_mib'"),
        ('[guest]\ntype = "vng"', "guest.type", "expected one of"),
        ("[guest]\ncpus = 0", "guest.cpus", ">= 1"),
        ('[program.a]\nguest = "big"', "program.a.guest", "a table"),
        ("[program.a]\ntimeout = 3", "program.a.timeout", "expected one of"),
        ('requires = "kvm"', "requires", "an array"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, where: str, why: str) -> None:
    with pytest.raises(UserError) as error:
        load(tmp_path, text)
    assert error.value.where == f"{tmp_path / settings.FILE_NAME}: {where}"
    assert why in f"{error.value.why} {error.value.hint}"


def test_an_entry_that_matches_no_program_is_an_error(tmp_path: Path) -> None:
    found = load(tmp_path, '[program."huge_*"]\nguest = { cpus = 1 }\n')
    settings.check_programs(found, ["huge_a"], tmp_path)
    with pytest.raises(UserError) as error:
        settings.check_programs(found, ["hug_a"], tmp_path)
    assert "program.huge_*" in error.value.where
    assert "did you mean 'hug_a'" in error.value.hint
