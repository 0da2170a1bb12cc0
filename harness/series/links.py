# SPDX-License-Identifier: GPL-2.0-only
"""Symbolic links that lead out of a tree, followed as a program would follow them.

A diff does not show all of them: where it moves or copies a link, or changes only the target, it
does not say that the file is one.  So the commits are looked at, before they have a name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from harness.errors import UserError
from harness.proc.git import git, must
from harness.series.model import Series

_CHANGES = re.compile(r"^:\d{6} 120000 ", re.M)
_MOST_LINKS = 40
"""As many links of one path as Linux follows."""
_LIMIT_S = 600


def check_links(series: Series, repo: Path, base: str, tip: str) -> None:
    """Refuse a series whose commits *base*..*tip* make a link lead out of the tree or into .git.

    Links of *base* that do so are not the series' own.  Raises UserError.
    """
    asked = ("log", "--reverse", "--raw", "--no-renames", "--format=%x00%H", f"{base}..{tip}")
    listed = must(git(*asked, repo=repo, limit_s=_LIMIT_S), "the commits cannot be listed")
    commits = [part for part in listed.text.split("\0") if part.strip()]
    before: Mapping[str, str] | None = None
    for patch, told in zip(series.patches, commits, strict=False):
        if not _CHANGES.search(told):
            continue
        if before is None:
            before = _leaving(_links(repo, base))
        for name, target in sorted(_leaving(_links(repo, told.split()[0])).items()):
            if name not in before:
                raise UserError(
                    f"{patch.title} reaches outside the tree",
                    where=patch.where,
                    why=f"it makes {name} a symbolic link to {target}",
                    hint="do not use this series before you know why",
                )


def leads_out(name: str, links: Mapping[str, str]) -> bool:
    """Return whether the link *name* leads out of the tree with these *links*, or into .git.

    *links* has the targets by name.
    """
    at: list[str] = []
    left = name.split("/")
    followed = 0
    while left:
        part = left.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            if not at:
                return True
            at.pop()
            continue
        if part.lower() == ".git":
            return True
        at.append(part)
        target = links.get("/".join(at))
        if target is None:
            continue
        followed += 1
        if target.startswith("/"):
            return True
        if followed > _MOST_LINKS:
            return False
        at.pop()
        left = [*target.split("/"), *left]
    return False


def _leaving(links: Mapping[str, str]) -> dict[str, str]:
    return {name: target for name, target in links.items() if leads_out(name, links)}


def _links(repo: Path, commit: str) -> dict[str, str]:
    """Return the targets of all symbolic links of *commit*, by name."""
    done = git("ls-tree", "-r", "-z", "--full-tree", commit, repo=repo, limit_s=_LIMIT_S)
    listed = must(done, "the tree cannot be listed").text
    found = {}
    for row in listed.split("\0"):
        what, _, name = row.partition("\t")
        if what.startswith("120000 "):
            blob = git("cat-file", "blob", what.split()[2], repo=repo)
            found[name] = must(blob, "a link cannot be read").stdout.decode(
                errors="surrogateescape"
            )
    return found
