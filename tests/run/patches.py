# SPDX-License-Identifier: GPL-2.0-only
"""Series that are made up for a test: each patch changes one file of the kernel."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from harness.proc.git import git
from harness.run.prepare import Prepared

FILE = "mm/memfd.c"
HEAD = """\
From: A Developer <a@example.org>
Date: Wed, 1 Jul 2026 03:00:{number:02} +0000
Subject: [PATCH {number}/{total}] {subject}

Signed-off-by: A Developer <a@example.org>
---
"""


def text_of(prepared: Prepared) -> str:
    """Return the file that the patches change, as it is before them."""
    tree = prepared.tree
    return git("show", f"{tree.base_commit}:{FILE}", repo=tree.repo).text + "\n"


def series_of(before: str, stages: Sequence[tuple[str, str]], directory: Path) -> Path:
    """Write a series to *directory*: of each patch its subject, and the file after it."""
    directory.mkdir()
    for number, (subject, after) in enumerate(stages, 1):
        diff = difflib.unified_diff(
            before.splitlines(keepends=True),
            after.splitlines(keepends=True),
            f"a/{FILE}",
            f"b/{FILE}",
        )
        head = HEAD.format(number=number, total=len(stages), subject=subject)
        (directory / f"{number:04}.patch").write_text(head + "".join(diff))
        before = after
    return directory
