# SPDX-License-Identifier: GPL-2.0-only
"""``[posted]``: entries that hold for the content of a series, and for nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from harness import project
from harness.entries import Entry, about_to_end
from harness.errors import UserError
from harness.model import expectations
from harness.run.posted import unlike_posted
from harness.series import read
from tests.conftest import PROJECT_FILE
from tests.run.test_request import FILE, PATCH, request
from tests.run.test_request import unlike_posted as why_not_posted

pytestmark = pytest.mark.unit
ZERO = "0" * 16


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name in ("one", "two"):
        path = tmp_path / "patches" / name
        path.mkdir(parents=True)
        for number in (1, 2):
            text = PATCH.format(f"{name}{number}").replace("[PATCH]", f"[PATCH {number}/2]")
            (path / f"{number}.patch").write_text(text)
    (tmp_path / "here").mkdir()
    pin(tmp_path)
    return tmp_path


def pin(directory: Path, **contents: str) -> None:
    pins = {"one": read(directory / "patches/one").content} | contents
    lines = "".join(f'"patches/{name}" = "{content}"\n' for name, content in pins.items())
    (directory / "harness.toml").write_text(f"{FILE}\n[posted]\n{lines}")


@pytest.mark.parametrize(
    "series", [(), ("one",), ("both",), ("../patches/one",), ("one", "../patches/two")]
)
def test_a_series_as_posted(directory: Path, series: Sequence[str]) -> None:
    assert why_not_posted(request(directory, *series)) == ""
    assert why_not_posted(request(directory, *series, upto=1)) == ""


def test_a_series_that_was_changed_is_named_with_its_new_digits(directory: Path) -> None:
    path = directory / "patches/one/2.patch"
    path.write_text(path.read_text().replace("+one2", "+one two"))
    digits = read(directory / "patches/one").content
    for upto in (None, 1):
        why = why_not_posted(request(directory, "both", upto=upto))
        assert f'write "patches/one" = "{digits}" there' in why
        assert "patches/two" not in why
    # That line, and all is well.
    pin(directory)
    assert why_not_posted(request(directory, "both")) == ""


def test_every_series_that_is_named_counts(directory: Path) -> None:
    pin(directory, two=ZERO)
    assert why_not_posted(request(directory, "one")) == ""
    assert 'write "patches/two" = ' in why_not_posted(request(directory, "both"))


def test_nothing_is_as_posted_where_nothing_is_named(directory: Path) -> None:
    digits = read(directory / "patches/two").content
    why = why_not_posted(request(directory, "../patches/two"))
    assert "has none of the applied series" in why
    assert why.endswith(f'add "patches/two" = "{digits}"')
    (directory / "here/mine.patch").write_text(PATCH.format("mine"))
    for series in ("none", "mine.patch"):
        assert "no applied series can be in" in why_not_posted(request(directory, series))


def test_a_part_without_the_rest_cannot_be_compared(directory: Path) -> None:
    (directory / "patches/one/2.patch").unlink()
    (directory / "harness.toml").write_text(f'{FILE}\n[posted]\n"patches/one" = "{ZERO}"\n')
    assert "cannot be compared" in why_not_posted(request(directory, "one", upto=1))


@pytest.mark.parametrize(
    ("pins", "where", "what"),
    [
        ('"patches/noe" = "0123456789abcdef"', "posted", "no stack has the series"),
        ('"patches/one" = "0123"', "posted.patches/one", "wrong value"),
        ('"patches/one" = "0123456789ABCDEF"', "posted.patches/one", "wrong value"),
    ],
)
def test_mistakes_in_the_table(tmp_path: Path, pins: str, where: str, what: str) -> None:
    path = tmp_path / "harness.toml"
    path.write_text(f"{FILE}\n[posted]\n{pins}\n")
    with pytest.raises(UserError) as caught:
        project.load(path)
    assert what in caught.value.what
    assert caught.value.where == f"{path}: {where}"
    assert what != "no stack has the series" or "did you mean" in caught.value.hint


def test_this_project_names_what_it_has() -> None:
    """Fails where ``patches/v10`` has changed, and says which line of harness.toml is right."""
    mine = project.load(PROJECT_FILE)
    assert mine.posted
    for path in mine.posted:
        assert unlike_posted([PROJECT_FILE.parent / path], mine, PROJECT_FILE) == ""


def test_no_entry_of_this_project_ends() -> None:
    """A run of the project's own suites is green in two years, and without a warning till then."""
    mine = project.load(PROJECT_FILE)
    today = datetime.now(UTC).date()
    days = [today + timedelta(days=30 * month) for month in range(25)]
    files = [PROJECT_FILE.parent / table.path for table in mine.suites.values() if table.default]
    known = [path / expectations.FILE_NAME for path in files]
    entries = [each for path in known if path.exists() for each in named(path)]
    assert entries
    for day in [*days, date(today.year + 2, today.month, 28)]:
        assert about_to_end(entries, day) == []


def named(path: Path) -> Sequence[tuple[str, Entry]]:
    return expectations.named(expectations.load(path))
