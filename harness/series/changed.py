# SPDX-License-Identifier: GPL-2.0-only
"""Finds which lines of the final tree each patch of a series has written.

A line belongs to the last patch that changed it, which is what ``git blame`` finds.  So lines that
a later patch has changed again count for that one, and hunks that have moved and files that were
renamed keep their patch.
"""

from __future__ import annotations

import re
from collections import defaultdict

import msgspec

from harness.proc.git import git, must
from harness.series.model import Tree

_ENTRY = re.compile(r"^(?P<commit>[0-9a-f]{40,64}) \d+ (?P<line>\d+)(?: \d+)?$")
_LIMIT_S = 300


class ChangedLines(msgspec.Struct, frozen=True):
    """The lines of one patch that are left in the final tree."""

    number: int
    """Its place among all patches of the stack, from 1."""
    subject: str
    files: dict[str, tuple[int, ...]] = msgspec.field(default_factory=dict)
    """Lines by file, from 1 and ascending; only files with lines left."""
    texts: dict[str, dict[int, str]] = msgspec.field(default_factory=dict)
    """The text of these lines; bytes that are not UTF-8 are replaced."""


def changed_lines(tree: Tree) -> tuple[ChangedLines, ...]:
    """Return the lines of every patch on *tree*, in the order in which the patches apply.

    Raises MachineError where the cache's repository cannot be read.
    """
    numbers = {patch.commit: number for number, patch in enumerate(tree.patches, 1)}
    found: dict[int, dict[str, dict[int, str]]] = {n: defaultdict(dict) for n in numbers.values()}
    for path in _touched(tree):
        blamed = must(
            git(
                "blame", "--porcelain", f"{tree.base_commit}..{tree.commit}", "--", path,
                repo=tree.repo, limit_s=_LIMIT_S,
            ),
            "the lines of a series cannot be told apart",
        )  # fmt: skip
        number, line = None, 0
        for row in blamed.stdout.decode(errors="replace").split("\n"):
            if entry := _ENTRY.match(row):
                number, line = numbers.get(entry["commit"]), int(entry["line"])
            elif number and row.startswith("\t"):
                found[number][path][line] = row[1:]
    return tuple(
        ChangedLines(
            number,
            patch.subject,
            {path: tuple(sorted(lines)) for path, lines in found[number].items()},
            dict(found[number]),
        )
        for number, patch in enumerate(tree.patches, 1)
    )


def _touched(tree: Tree) -> list[str]:
    """Return the files of the final tree that differ from the base, symbolic links left out."""
    if not tree.patches:
        return []
    raw = must(
        git(
            "diff-tree", "-r", "-z", "--no-renames", "--diff-filter=AMT",
            tree.base_commit, tree.commit, repo=tree.repo,
        ),
        "the files of a series cannot be found",
    )  # fmt: skip
    words = raw.stdout.decode(errors="surrogateescape").split("\0")
    pairs = zip(words[::2], words[1::2], strict=False)
    return [path for status, path in pairs if status.split()[1].startswith("100")]
