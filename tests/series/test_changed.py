# SPDX-License-Identifier: GPL-2.0-only
"""Which lines of the final tree are whose."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.context import Context
from harness.progress import Quiet
from harness.series import apply, read
from harness.series.changed import changed_lines
from harness.source import resolve
from harness.store import Store
from tests.kerneltree import commit, make_repository, sh

pytestmark = pytest.mark.unit


def series_of(linux: Path, start: str, out: Path) -> Path:
    out.mkdir()
    sh("git", "format-patch", "-q", "-o", str(out), start, cwd=linux)
    return out


def test_a_line_is_the_last_patchs_that_wrote_it(tmp_path: Path) -> None:
    linux = make_repository(tmp_path / "linux")
    file = linux / "mm" / "new.c"
    base = sh("git", "rev-parse", "HEAD", cwd=linux)
    bare = make_repository(tmp_path / "base")
    file.write_text("".join(f"int a{n};\n" for n in range(1, 9)))
    commit(linux, "mm: one")
    lines = file.read_text().splitlines(keepends=True)
    lines[3] = "int changed;\n"
    del lines[6]
    file.write_text("/* above */\n" + "".join(lines))
    commit(linux, "mm: two")
    sh("git", "mv", "mm/new.c", "mm/named ü.c", cwd=linux)
    commit(linux, "mm: three")
    (linux / "mm/named ü.c").unlink()
    kept = linux / "mm" / "kept.c"
    kept.write_text("int kept;\n")
    sh("git", "checkout", "HEAD", "--", "mm/named ü.c", cwd=linux)
    commit(linux, "mm: four")
    source = resolve(str(bare), Context(Store(tmp_path / "cache"), Quiet()), relative_to=tmp_path)
    patches = read(series_of(linux, base, tmp_path / "patches"))
    tree = apply([patches], source, Context(Store(tmp_path / "cache"), Quiet()))
    found = changed_lines(tree)
    assert [(each.number, each.subject) for each in found] == [
        (1, "mm: one"), (2, "mm: two"), (3, "mm: three"), (4, "mm: four"),
    ]  # fmt: skip
    assert [each.files for each in found] == [
        {"mm/named ü.c": (2, 3, 4, 6, 7, 8)},
        {"mm/named ü.c": (1, 5)},
        {},
        {"mm/kept.c": (1,)},
    ]
    assert found[1].texts == {"mm/named ü.c": {1: "/* above */", 5: "int changed;"}}


def test_numbers_go_on_through_a_stack(tmp_path: Path) -> None:
    linux = make_repository(tmp_path / "linux")
    base = sh("git", "rev-parse", "HEAD", cwd=linux)
    bare = make_repository(tmp_path / "base")
    (linux / "one.c").write_text("int one;\n")
    commit(linux, "one")
    middle = sh("git", "rev-parse", "HEAD", cwd=linux)
    (linux / "two.c").write_text("int two;\n")
    commit(linux, "two")
    (linux / "one.c").write_text("int one;\nint more;\n")
    commit(linux, "three")
    store = Store(tmp_path / "cache")
    second = series_of(linux, middle, tmp_path / "second")
    sh("git", "checkout", "-q", middle, cwd=linux)
    first = series_of(linux, base, tmp_path / "first")
    source = resolve(str(bare), Context(store, Quiet()), relative_to=tmp_path)
    tree = apply([read(first), read(second)], source, Context(store, Quiet()))
    assert [(each.number, each.files) for each in changed_lines(tree)] == [
        (1, {"one.c": (1,)}),
        (2, {"two.c": (1,)}),
        (3, {"one.c": (2,)}),
    ]


def test_without_a_series_nothing_is_changed(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    source = resolve(
        str(make_repository(tmp_path / "base")), Context(store, Quiet()), relative_to=tmp_path
    )
    assert changed_lines(apply([], source, Context(store, Quiet()))) == ()
