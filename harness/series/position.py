# SPDX-License-Identifier: GPL-2.0-only
"""Which line of the tree is which line of a patch, and which line it was before the patch.

A patch also applies where its lines are further down or up than it says.  So the lines of the tree
are those of the commit that was made from it, and the lines of the patch are found by what both
add and remove.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher

import msgspec

from harness.series import diff
from harness.series.model import Patch

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_RENAME = re.compile(r"^rename from (.+)\nrename to (.+)$", re.M)


class Lines(msgspec.Struct, frozen=True):
    """Lines of one file before and after a patch."""

    in_diff: dict[int, int] = msgspec.field(default_factory=dict)
    """By the line after it: the line of the diff, from 0, of what the hunks show."""
    added: set[int] = msgspec.field(default_factory=set)
    """Lines after it that it has added."""
    removed: set[int] = msgspec.field(default_factory=set)
    """Lines before it that it has removed."""
    shifts: list[tuple[int, int]] = msgspec.field(default_factory=list)
    """By the first line before it that follows a hunk: how much all from there on are shifted."""

    def after(self, line: int) -> int | None:
        """Return where *line* of the file before the patch is after it; None if it is removed."""
        if line in self.removed:
            return None
        return line + self._shift(line)

    def gaps(self) -> list[int]:
        """Return for each line that is removed where it would be after the patch, in order."""
        return [line + self._shift(line) for line in sorted(self.removed)]

    def _shift(self, line: int) -> int:
        moved = 0
        for start, shift in self.shifts:
            if line < start:
                break
            moved = shift
        return moved


def lines_of(patch: Patch, applied: bytes = b"") -> dict[str, Lines]:
    """Return the lines of each file that *patch* changes, by its name after the patch.

    *applied* is the diff of its commit; without it, the patch applies where it says.  A file that
    it renames is found by both names.
    """
    rows, others = _rows(patch.diff), _rows(applied)
    found = _lines_in(rows)
    for name, real in _lines_in(others).items():
        told = found.get(name)
        if told is not None:
            moved = _moved(told, real)
            if moved is None:
                moved = _aligned(told, rows, real, others)
            # Of equal lines a diff may show one or the other as new.
            same = {
                line: index
                for line, index in moved.items()
                if line not in real.in_diff or rows[index][1:] == others[real.in_diff[line]][1:]
            }
            found[name] = msgspec.structs.replace(real, in_diff=same)
    return found


def _rows(text: bytes) -> list[str]:
    return text.decode(errors="surrogateescape").split("\n")


def _moved(told: Lines, real: Lines) -> dict[int, int] | None:
    """Return by the line of the tree, where *real* has it, the line of the diff of *told*.

    None if they do not add and remove as many lines, as where a part was in the tree before, or two
    programs see the same change in different lines.
    """
    if len(told.added) != len(real.added) or len(told.removed) != len(real.removed):
        return None
    pairs = [
        *zip(sorted(told.added), sorted(real.added), strict=True),
        *zip(told.gaps(), real.gaps(), strict=True),
    ]
    found = {}
    for line, index in told.in_diff.items():
        # What is around a change has moved with it.
        old, new = min(pairs, key=lambda pair: abs(pair[0] - line), default=(0, 0))
        found[line + new - old] = index
    return found


def _aligned(told: Lines, rows: list[str], real: Lines, others: list[str]) -> dict[int, int]:
    """Return the same of lines that both diffs show, by their text and order."""
    mine, theirs = sorted(told.in_diff.items()), sorted(real.in_diff.items())
    matcher = SequenceMatcher(
        None, [rows[n][1:] for _, n in mine], [others[n][1:] for _, n in theirs], autojunk=False
    )
    return {
        theirs[block.b + n][0]: mine[block.a + n][1]
        for block in matcher.get_matching_blocks()
        for n in range(block.size)
    }


def _lines_in(rows: list[str]) -> dict[str, Lines]:
    found: dict[str, Lines] = {}
    names: list[str] = []
    at = 0
    while at < len(rows):
        row = rows[at]
        if row.startswith("--- ") and at + 1 < len(rows) and rows[at + 1].startswith("+++ "):
            names = [n for n in map(diff.file_named, (row[4:], rows[at + 1][4:])) if n]
            lines = Lines()
            found |= dict.fromkeys(names, lines)
            at += 2
        elif names and (hunk := _HUNK.match(row)):
            at = _hunk(rows, at, hunk, found[names[-1]])
        else:
            at += 1
    return found


def renames_of(patch: Patch) -> dict[str, str]:
    """Return the new name of each file that *patch* renames, by its old one."""
    return dict(_RENAME.findall(patch.diff.decode(errors="surrogateescape")))


def line_in_file(patch: Patch, index: int | None) -> int | None:
    """Return the line of the patch's own file for line *index*, from 0, of its diff."""
    if index is None or patch.diff_line is None:
        return None
    return patch.diff_line + index


def _hunk(rows: list[str], at: int, hunk: re.Match[str], lines: Lines) -> int:
    """Go over one hunk; return the index behind it."""
    old, new = int(hunk[1]), int(hunk[3])
    left_old, left_new = (int(n) if n is not None else 1 for n in (hunk[2], hunk[4]))
    # "-5,0" means behind line 5, and likewise "+5,0".
    old += left_old == 0
    new += left_new == 0
    at += 1
    while (left_old > 0 or left_new > 0) and at < len(rows):
        mark = rows[at][:1] or " "
        if mark in " +":
            lines.in_diff[new] = at
        if mark == "+":
            lines.added.add(new)
            new, left_new = new + 1, left_new - 1
        elif mark == "-":
            lines.removed.add(old)
            old, left_old = old + 1, left_old - 1
        elif mark == " ":
            new, left_new = new + 1, left_new - 1
            old, left_old = old + 1, left_old - 1
        if mark in "+- ":
            lines.shifts.append((old, new - old))
        at += 1
    return at
