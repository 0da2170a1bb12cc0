# SPDX-License-Identifier: GPL-2.0-only
"""The list of faults that change nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UserError
from harness.mutants import equivalent
from tests.mutants.code import planned

pytestmark = pytest.mark.unit

SOURCE = b"static int f(int a)\n{\n\tg(a);\n\treturn a > 1;\n}\n"
ENTRY = '[[equivalent]]\nmutant = "{}"\nreason = "no caller asks"\nowner = "me"\n'


def write(path: Path, *names: str) -> Path:
    path.write_text("\n".join(map(ENTRY.format, names)))
    return path


def test_there_need_not_be_a_list(tmp_path: Path) -> None:
    assert equivalent.load(tmp_path / "none.toml") == ()


def test_an_entry_names_a_mutant_by_what_it_changes(tmp_path: Path) -> None:
    known = planned(SOURCE, 4)
    entries = equivalent.load(write(tmp_path / "m.toml", known[0].name))
    assert str(entries[0]) == "no caller asks (me)"
    assert equivalent.stale(entries, known) == ()


def test_an_entry_for_no_mutant_is_told(tmp_path: Path) -> None:
    known = planned(SOURCE, 4)
    entries = equivalent.load(
        write(tmp_path / "m.toml", "lib/tiny.c:f: a > 2 => a < 2", "mm/other.c:g: x => y")
    )
    (note,) = equivalent.stale(entries, known)
    assert "'lib/tiny.c:f: a > 2 => a < 2'" in note


def test_an_entry_holds_for_the_series_that_it_names(tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text(
        ENTRY.format("a") + 'series = ["v1?"]\n' + ENTRY.format("a") + 'series = ["v9"]\n'
        '[[equivalent]]\nmutant = "b"\nreason = "r"\nowner = "me"\n'
    )
    in_v11, in_v9, in_all = equivalent.load(path)
    assert [in_v11.holds_for(name) for name in ("v11", "v10+test-vm", "v9")] == [True, False, False]
    assert in_v9.holds_for("v9")
    assert in_all.holds_for("none")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("equivalent = 1", "equivalent"),
        ('[[equivalent]]\nmutant = "a"\nowner = "b"', "reason"),
        ('[[equivalent]]\nmutant = "a"\nreason = " "\nowner = "b"', "equivalent[1].reason"),
        ('[[equivalent]]\nmutant = "a"\nreason = "r"\nowner = "b"\nline = 3', "line"),
        (ENTRY.format("a") + ENTRY.format("a"), "equivalent[2]"),
        (ENTRY.format("a") + "series = []\n", "equivalent[1].series"),
        (ENTRY.format("a") + 'series = ["v10", ""]\n', "equivalent[1].series"),
        ("[[equivalent", "m.toml"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, where: str) -> None:
    path = tmp_path / "m.toml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        equivalent.load(path)
    assert str(path) in error.value.where
    assert where in error.value.where
