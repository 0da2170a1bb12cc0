# SPDX-License-Identifier: GPL-2.0-only
"""Two versions of a series side by side."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import pytest

from harness.judge.changes import changes
from harness.model.results import Kernel
from harness.report.changes import told
from harness.report.console import print_lines
from harness.series.rangediff import range_diff
from tests.kerneltree import FakeLinux, replace
from tests.report import samples as s

pytestmark = pytest.mark.unit


def version(fake: FakeLinux, base: str, *values: int) -> Kernel:
    """Return the kernel of a series upon *base* that changes one number in each of its patches."""
    fake.git("checkout", "-q", "--detach", base)
    for number, value in enumerate(values, 1):
        path = fake.work / "mm" / f"new{number}.c"
        path.write_text(f"int new{number} = 1;\nint value{number} = {value};\n" + "int x;\n" * 20)
        fake.commit(f"mm: Add number {number}")
    return Kernel(
        release="6.1.0",
        source="s",
        base_commit=base,
        series_commit=fake.git("rev-parse", "HEAD"),
        series_digest=str(values),
        patches=tuple(f"mm: Add number {number}" for number, _ in enumerate(values, 1)),
    )


@pytest.fixture
def fake(tmp_path: Path) -> FakeLinux:
    return FakeLinux.create(tmp_path / "linux")


def test_what_has_become_of_each_patch(fake: FakeLinux) -> None:
    base = fake.git("rev-parse", "HEAD")
    v1, v2 = version(fake, base, 1, 2), version(fake, base, 1, 3, 4)
    found = range_diff(fake.repo, v1, v2)
    same, changed, new = found.text.splitlines()
    assert " = " in same and "mm: Add number 1" in same  # noqa: PT018
    assert " ! " in changed and "mm: Add number 2" in changed  # noqa: PT018
    assert " > " in new and "mm: Add number 3" in new  # noqa: PT018
    assert "+int value2 = 3;" in range_diff(fake.repo, v1, v2, whole=True).text
    assert not found.missing


def test_another_base_is_no_change_of_the_patches(fake: FakeLinux) -> None:
    base = fake.git("rev-parse", "HEAD")
    v1 = version(fake, base, 1)
    fake.git("checkout", "-q", "master")
    replace(fake.work / "mm" / "foo.c", "\n", "\n/* newer */\n")
    rebased = version(fake, fake.commit("mm: Newer").commit, 1)
    rebased = msgspec.structs.replace(rebased, series_digest="other")
    (line,) = range_diff(fake.repo, v1, rebased).text.splitlines()
    assert " = " in line


def test_there_is_nothing_to_tell_of_the_same_series_or_none(fake: FakeLinux) -> None:
    base = fake.git("rev-parse", "HEAD")
    v1 = version(fake, base, 1)
    none = Kernel(release="6.1.0", source="s", base_commit=base)
    for before, after in ((v1, v1), (v1, none), (none, v1)):
        found = range_diff(fake.repo, before, after)
        assert (found.text, found.missing) == ("", "")


def test_commits_that_are_gone_are_told(fake: FakeLinux, tmp_path: Path) -> None:
    base = fake.git("rev-parse", "HEAD")
    v1 = version(fake, base, 1)
    gone = msgspec.structs.replace(v1, series_commit="1" * 40, series_digest="other")
    assert "run after" in range_diff(fake.repo, v1, gone).missing
    assert "run before" in range_diff(tmp_path / "nothing", v1, gone).missing


def test_the_range_diff_precedes_the_changes() -> None:
    found = msgspec.structs.replace(
        changes(s.run(), s.run()), range_diff="1:  a = 1:  a mm: \x1b[2J"
    )
    stream = io.StringIO()
    print_lines(told(found), stream)
    text = stream.getvalue()
    assert "Patches, before and after:\n  1:  a = 1:  a mm: " in text
    assert "\x1b" not in text
