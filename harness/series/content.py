# SPDX-License-Identifier: GPL-2.0-only
"""The changes of a patch, without its message and other descriptions."""

from __future__ import annotations

import re
from collections.abc import Iterable

from harness.digest import digest

_BEGINS = re.compile(r"^(?:diff --git |--- \S)", re.M)
_HUNK = re.compile(r"(@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@)")
_HEADER = re.compile(
    r"diff --git |--- |\+\+\+ |(?:old|new) mode |(?:new|deleted) file mode |(?:rename|copy) "
    r"|GIT binary patch"
)


def changes(diff: str) -> str:
    """Return the lines of a patch's *diff* that describe the change and its position.

    Left out is what differs from one ``git format-patch`` to the next: statistics, object names,
    the function behind a hunk's numbers, the signature.  So it stays the same when the message is
    edited, and changes with any line of any hunk.
    """
    begins = _BEGINS.search(diff)
    kept: list[str] = []
    old = new = 0
    binary = False
    for line in diff[begins.start() :].split("\n") if begins else ():
        if old > 0 or new > 0:
            kept.append(line)
            if not line.startswith("\\"):
                old -= not line.startswith("+")
                new -= not line.startswith("-")
        elif hunk := _HUNK.match(line):
            old, new = (int(count) if count is not None else 1 for count in hunk.group(2, 3))
            kept.append(hunk[1])
        elif line.rstrip() == "--":
            break  # the signature
        elif _HEADER.match(line):
            binary = line.startswith("GIT")
            kept.append(line)
        elif line.startswith("\\") or (binary and line.strip()):
            kept.append(line)
    return "\n".join(kept)


def content_digest(diffs: Iterable[bytes]) -> str:
    """Return 16 hex digits that stay the same as long as the *diffs* change the same lines."""
    texts = (changes(each.decode(errors="surrogateescape")) for each in diffs)
    return digest(*(text.encode(errors="surrogateescape") for text in texts))[:16]
