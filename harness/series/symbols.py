# SPDX-License-Identifier: GPL-2.0-only
"""The configuration symbols that a patch adds, and those that it mentions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from harness.proc.git import git, must
from harness.series.model import Patch

_FILE = re.compile(r"\+\+\+ [^/\s]+/(.+?)\t?$")
_KCONFIG = re.compile(r"(^|/)Kconfig[^/]*$")
_SYMBOL = re.compile(r"\s*(?:menu)?config\s+(\w+)\s*$")
_TYPE = re.compile(r"\s+(?:def_)?(bool|tristate|string|int|hex)\b")
_PROMPT = re.compile(r"\s+(?:(?:bool|tristate|string|int|hex|prompt)\s+[\"'])")
_HELP = re.compile(r"\s*(?:help|---help---)\s*$")
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
    return bool(_files_with(repo, commit, symbol))


def has_prompt(repo: Path, commit: str, symbol: str) -> bool:
    """Whether a user can choose *symbol* in *commit*: one of its entries has a prompt.

    Without one, only other options decide it (Documentation/kbuild/kconfig-language.rst).
    """
    return any(
        _entry_has_prompt(
            must(git("show", name, repo=repo), "a Kconfig file is missing").text, symbol
        )
        for name in _files_with(repo, commit, symbol)
    )


def _files_with(repo: Path, commit: str, symbol: str) -> list[str]:
    """Return the Kconfig files of *commit* that have an entry for *symbol*, as ``COMMIT:FILE``."""
    pattern = f"^[[:space:]]*(menu)?config[[:space:]]+{symbol}[[:space:]]*$"
    asked = ("grep", "-l", "-z", "-E", "-e", pattern, commit, "--", "*Kconfig*")
    return [name for name in git(*asked, repo=repo).text.split("\0") if name]


def _entry_has_prompt(text: str, symbol: str) -> bool:
    """Whether an entry for *symbol* in the Kconfig file *text* has a prompt."""
    inside = False
    for line in text.splitlines():
        if entry := _SYMBOL.match(line):
            inside = entry[1] == symbol
        elif (line.strip() and not line[0].isspace()) or _HELP.match(line):
            inside = False
        elif inside and _PROMPT.match(line):
            return True
    return False


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
