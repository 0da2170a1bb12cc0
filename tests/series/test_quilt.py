# SPDX-License-Identifier: GPL-2.0-only
"""Quilt directories: the ``series`` file decides, and patches need not be mails."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.context import Context
from harness.errors import UserError
from harness.progress import Quiet
from harness.series import apply, name_of, read
from harness.source import Source
from harness.store import Store
from tests.series import mails as m

pytestmark = pytest.mark.unit


@pytest.fixture
def quilt(tmp_path: Path) -> Path:
    directory = tmp_path / "patches"
    (directory / "sub").mkdir(parents=True)
    (directory / "aaa-last.patch").write_bytes(m.patch("[PATCH 1/9] mm: last", 9).bytes())
    (directory / "zzz-first.patch").write_text(f"mm: first\n\nBecause.\n\n{m.diff(3)}")
    (directory / "sub/middle").write_text(
        f"Description: mm: middle\nAuthor: {m.BOB}\nForwarded: no\n\n{m.diff(5)}"
    )
    (directory / "bad.patch").write_bytes(m.patch("[PATCH] mm: known bad", 7).bytes())
    (directory / "series").write_text(
        "# order matters\n\nzzz-first.patch -p1\nsub/middle # a remark\naaa-last.patch\n"
        "#bad.patch\n"
    )
    return directory


def test_order_and_choice_are_those_of_the_series_file(
    quilt: Path, source: Source, store: Store
) -> None:
    series = read(quilt)
    assert [(p.number, p.total, p.subject, p.author) for p in series.patches] == [
        (1, 3, "mm: first", "unknown author <unknown@localhost>"),
        (2, 3, "mm: middle", m.BOB),
        (3, 3, "mm: last", m.ADA),
    ]
    assert series.title == "patches"
    assert any("does not list, so it is left out: bad.patch" in note for note in series.notes)
    assert any("zzz-first.patch names no author" in note for note in series.notes)
    assert "Because." in series.patches[0].data.decode()
    assert len(apply([series], source, Context(store, Quiet())).patches) == 3


def test_the_series_file_or_the_directory_above_will_do(quilt: Path) -> None:
    digest = read(quilt).digest
    assert read(quilt / "series").digest == digest
    assert read(quilt.parent).digest == digest
    assert name_of(quilt / "series") == "patches"
    assert [patch.number for patch in read(quilt, upto=2).patches] == [1, 2]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("gone.patch", "lists a patch that is not there: gone.patch"),
        ("zzz-first.patch", "lists zzz-first.patch twice"),
        ("../x.patch", "outside its directory"),
        ("/x.patch", "outside its directory"),
        ("bad.patch -p0", "option that is not supported: -p0"),
        ("bad.patch -R", "option that is not supported: -R"),
        ("'bad.patch", "cannot be understood"),
    ],
)
def test_a_wrong_line_is_named(quilt: Path, line: str, what: str) -> None:
    with (quilt / "series").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(UserError, match=what) as caught:
        read(quilt)
    assert caught.value.where == f"{quilt}/series:7"


def test_a_series_file_without_patches(quilt: Path) -> None:
    (quilt / "series").write_text("# nothing\n")
    with pytest.raises(UserError, match="lists no patch"):
        read(quilt)


def test_a_listed_file_without_a_diff(quilt: Path) -> None:
    (quilt / "sub/middle").write_text("To be written.\n")
    with pytest.raises(UserError, match="no diff"):
        read(quilt)


def test_there_are_no_versions_to_choose_from(quilt: Path) -> None:
    with pytest.raises(UserError, match="nothing to choose"):
        read(quilt, version=2)


def test_numbers_in_names_count_as_numbers(tmp_path: Path) -> None:
    for name, number in (("99-first", 3), ("100-second", 5), ("1000-third", 9)):
        letter = m.patch(f"mm: {name}", number)
        (tmp_path / f"{name}.patch").write_bytes(letter.bytes())
    assert [patch.subject for patch in read(tmp_path).patches] == [
        "mm: 99-first",
        "mm: 100-second",
        "mm: 1000-third",
    ]


def test_a_plain_diff_is_a_patch_without_an_author(
    tmp_path: Path, source: Source, store: Store
) -> None:
    path = tmp_path / "fix.diff"
    path.write_text(m.diff(3))
    series = read(path)
    assert series.patches[0].subject == "fix"
    assert "names no author" in series.notes[0]
    (patch,) = apply([series], source, Context(store, Quiet())).patches
    assert patch.subject == "fix"
