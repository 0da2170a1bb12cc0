# SPDX-License-Identifier: GPL-2.0-only
"""The configuration symbols that a patch adds, and those that it mentions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from harness.proc.git import git
from harness.series.model import Patch

_FILE = re.compile(r"\+\+\+ [^/\s]+/(.+?)\t?$")
_KCONFIG = re.compile(r"(^|/)Kconfig[^/]*$")
_SYMBOL = re.compile(r"\s*(?:menu)?config\s+(\w+)\s*$")
_TYPE = re.compile(r"\s+(?:def_)?(bool|tristate|string|int|hex)\b")
_WORD = re.compile(r"\w+")


def added_switches(patch: Patch) -> tuple[str, ...]:
    """Return the symbols, without ``CONFIG_``, whose entries *patch* adds and that are switches.

    An entry that it moves is none.  One without a type counts: it may have one in another file.
    """
    added: dict[str, str] = {}
    removed: set[str] = set()
    current = ""
    for sign, line in _kconfig_lines(patch):
        symbol = _SYMBOL.match(line)
        if sign == "-":
            removed |= {symbol[1]} if symbol else set()
            continue
        if symbol:
            current = symbol[1] if sign == "+" else ""
            if current:
                added.setdefault(current, "")
        elif not line.strip():
            continue
        elif not line[:1].isspace():
            current = ""
        elif current and (kind := _TYPE.match(line)) and not added[current]:
            added[current] = kind[1]
    return tuple(
        name
        for name, kind in added.items()
        if name not in removed and kind in ("", "bool", "tristate")
    )


def in_tree(repo: Path, commit: str, symbol: str) -> bool:
    """Whether *commit* has an entry for *symbol* already."""
    pattern = f"^[[:space:]]*(menu)?config[[:space:]]+{symbol}[[:space:]]*$"
    asked = ("grep", "-q", "-E", "-e", pattern, commit, "--", "*Kconfig*")
    return git(*asked, repo=repo).ok


def speaks_of(patch: Patch) -> frozenset[str]:
    """Return every word in the lines of the diff of *patch*, without ``CONFIG_``."""
    text = patch.diff.decode(errors="replace")
    return frozenset(word.removeprefix("CONFIG_") for word in _WORD.findall(text))


def _kconfig_lines(patch: Patch) -> Iterator[tuple[str, str]]:
    """Yield sign (``+``, ``-`` or a blank) and text of each line in hunks of Kconfig files."""
    kconfig = False
    for line in patch.diff.decode(errors="replace").splitlines():
        if line.startswith("diff --git "):
            kconfig = False
        elif match := _FILE.match(line):
            kconfig = bool(_KCONFIG.search(match[1]))
        elif kconfig and line.startswith("@@"):
            yield " ", "@@"  # what follows belongs to no entry that stood before
        elif kconfig and line[:1] in "+- " and not line.startswith("--- "):
            yield line[:1] or " ", line[1:]
