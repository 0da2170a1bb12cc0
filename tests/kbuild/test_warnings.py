# SPDX-License-Identifier: GPL-2.0-only
"""Which warnings are a patch's own: by message and place, with shifted lines matched."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.kbuild.diagnostics import Warned
from harness.kbuild.warnings import new_warnings
from harness.series.model import Patch
from harness.series.position import Lines, lines_of

pytestmark = pytest.mark.unit

TEXTS = st.lists(st.sampled_from("abcd"), max_size=20).map(lambda lines: [f"{x}\n" for x in lines])


def patch_of(old: list[str], new: list[str], *, name: str = "f.c", was: str = "f.c") -> Patch:
    rows = difflib.unified_diff(old, new, f"a/{was}", f"b/{name}", n=1)
    data = f"From: A <a@example.org>\nSubject: x\n\nWhy.\n---\n\n{''.join(rows)}".encode()
    return Patch(1, 1, "x", "A <a@example.org>", Path("p"), "p", (name,), data, "", diff_line=100)


def changed(old: str, new: str) -> dict[str, Lines]:
    return lines_of(patch_of([f"{x}\n" for x in old.split()], [f"{x}\n" for x in new.split()]))


@given(TEXTS, TEXTS)
def test_each_line_is_followed_to_where_it_has_gone(old: list[str], new: list[str]) -> None:
    if old == new:
        return
    patch = patch_of(old, new)
    lines = lines_of(patch)["f.c"]
    kept = [n for n in range(1, len(old) + 1) if lines.after(n) is not None]
    assert len(old) - len(kept) == len(lines.removed)
    for number in kept:
        after = lines.after(number)
        assert after is not None
        assert new[after - 1] == old[number - 1]
    assert lines.added == set(range(1, len(new) + 1)) - {lines.after(n) for n in kept}
    rows = patch.diff.decode().split("\n")
    for number, row in lines.in_diff.items():
        assert rows[row][1:] + "\n" == new[number - 1]


@example(["b\n"] * 3, ["b\n", "a\n", "b\n", "b\n"], 1)  # one diff adds two lines, the other one
@given(TEXTS, TEXTS, st.integers(0, 5))
def test_a_patch_is_followed_to_where_it_applies(old: list[str], new: list[str], by: int) -> None:
    """Lines of the tree are those of the commit, and lines of the patch its own."""
    if old == new:
        return
    above = [f"{n}\n" for n in range(by)]
    told = patch_of(old, new)
    # The same hunks, further down; and what a diff of the whole files may say instead.
    moved = re.sub(
        rb"^@@ -(\d+)(\S*) \+(\d+)",
        lambda row: b"@@ -%d%s +%d" % (int(row[1]) + by, row[2], int(row[3]) + by),
        told.diff,
        flags=re.M,
    )
    rows, tree = told.diff.decode().split("\n"), above + new
    for applied in (moved, patch_of(above + old, above + new).diff):
        lines = lines_of(told, applied)["f.c"]
        real = lines_of(msgspec.structs.replace(told, data=b"\n---\n\n" + applied))["f.c"]
        assert (lines.added, lines.shifts) == (real.added, real.shifts)
        for line, index in lines.in_diff.items():
            if applied is moved or line in real.in_diff:
                assert rows[index][1:] + "\n" == tree[line - 1]
        if applied is moved:
            assert lines.in_diff.keys() == real.in_diff.keys()


def warned(*places: tuple[int, str]) -> list[Warned]:
    return [Warned("f.c", line, text) for line, text in places]


@pytest.mark.parametrize(
    ("old", "new", "before", "after", "told"),
    [
        # Shifted by lines above.
        ("a b c", "x y a b c", [(2, "w")], [(4, "w")], []),
        # Shifted up.
        ("x y a b", "a b", [(4, "w")], [(2, "w")], []),
        # One goes and another of the same words comes: the count is the same.
        ("a b c d e", "b c d e X", [(1, "w")], [(5, "v")], [(5, "v")]),
        ("a b c d", "a b X c d", [(4, "w")], [(3, "w"), (5, "w")], [(3, "w")]),
        # Moved with its line within the file.
        ("a b c d e f", "b c d e f a", [(1, "w")], [(6, "w")], []),
        # Another message at the same place.
        ("a b", "a b c", [(1, "w")], [(1, "v")], [(1, "v")]),
        # Two of the same words at one line.
        ("a b", "a b c", [(1, "w")], [(1, "w"), (1, "w")], [(1, "w")]),
        # In the line that was changed.
        ("a b c", "a B c", [], [(2, "w")], [(2, "w")]),
        # Below the last hunk, far from it.
        ("a b c d e f g h", "X a b c d e f g h", [(8, "w")], [(9, "w")], []),
    ],
)
def test_new_warnings(
    old: str,
    new: str,
    before: list[tuple[int, str]],
    after: list[tuple[int, str]],
    told: list[tuple[int, str]],
) -> None:
    found = new_warnings(warned(*before), warned(*after), changed(old, new))
    assert found == warned(*told)


def test_a_warning_elsewhere_is_new_where_its_words_are() -> None:
    other = Warned("g.c", 7, "w")
    assert new_warnings([], [other], changed("a", "b")) == [other]
    assert new_warnings([other], [other], changed("a", "b")) == []


def test_a_file_that_is_renamed_is_followed() -> None:
    lines = lines_of(patch_of(["a\n", "b\n"], ["x\n", "a\n", "b\n"], name="new.c", was="old.c"))
    assert lines["old.c"] is lines["new.c"]
    assert lines["new.c"].after(2) == 3
