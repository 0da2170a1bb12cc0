# SPDX-License-Identifier: GPL-2.0-only
"""Why a patch does not apply: which file, which hunk, and what the tree has there."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from unidiff.errors import UnidiffParseError
from unidiff.patch import Hunk, PatchedFile, PatchSet

from harness.errors import UserError
from harness.series.model import Patch
from harness.source.git import git

_FAILED = re.compile(r"^error: patch failed: (?P<file>.+):(?P<line>\d+)$", re.M)
_OTHER = re.compile(
    r"^error: (?P<text>.+: (?:does not exist in index|already exists in index"
    r"|already exists in working directory|No such file or directory|wrong type)"
    r"|invalid path .+|.*beyond a symbolic link.*|.*reversed, or previously applied.*"
    r"|git diff header lacks filename.*|corrupt patch at line .+"
    r"|(?:new|deleted) file .+ (?:already exists|depends on old contents|still has contents).*"
    r"|cannot apply binary patch.+)$",
    re.M,
)
_SHOWN_LINES = 4
_UNSAFE = re.compile(r"invalid path|beyond a symbolic link")


def explain(patch: Patch, tree: Path, diff: bytes, words: str) -> UserError:
    """Return the error for *patch*, which `git am` has refused in the work tree *tree*.

    *diff* is the patch as git decoded it, *words* what git said.
    """
    said = _ask_again(tree, diff) or words
    reasons = [found["text"] for found in _OTHER.finditer(said)]
    failed = {found["file"]: int(found["line"]) for found in _FAILED.finditer(said)}
    lines = []
    mangled = False
    for name, line in failed.items():
        text, only_spaces = _describe(patch, tree, diff, name, line)
        lines.append(text)
        mangled |= only_spaces
    lines += reasons
    if not lines:
        lines = [line for line in words.splitlines() if not line.startswith("hint:")][-8:]
    unsafe = any(_UNSAFE.search(reason) for reason in reasons)
    return UserError(
        f"{patch.title} " + ("reaches outside the tree" if unsafe else "does not apply"),
        where=str(patch.path),
        why="\n".join(lines),
        hint=_hint(unsafe, mangled),
    )


def _ask_again(tree: Path, diff: bytes) -> str:
    """Return what git says of *diff* on the last commit, without a three-way merge.

    What git am said is mixed with the merge that it tried, and so is the index that it left.
    """
    if not diff:
        return ""
    with tempfile.TemporaryDirectory(prefix="index-") as scratch:
        env = {"GIT_INDEX_FILE": f"{scratch}/index"}
        if not git("read-tree", "HEAD", cwd=tree, env=env).ok:
            return ""
        return git("apply", "--cached", "--check", "-", cwd=tree, env=env, stdin=diff).stderr


def _hint(unsafe: bool, mangled: bool) -> str:
    if unsafe:
        return "do not use this series before you know why"
    if mangled:
        return "the patch's white space was changed on its way: take the original"
    return "choose the kernel source that the series was written for, or rebase it"


def _describe(patch: Patch, tree: Path, diff: bytes, name: str, line: int) -> tuple[str, bool]:
    """Return a few lines about the hunk of *name* at *line*, and if only white space differs."""
    hunk = _find_hunk(diff, name, line)
    if hunk is None:
        return f"{name}: a hunk at line {line} does not fit", False
    header = (
        f"@@ -{hunk.source_start},{hunk.source_length} "
        f"+{hunk.target_start},{hunk.target_length} @@ {hunk.section_header}"
    ).rstrip()
    wanted = [text.value.rstrip("\n") for text in hunk.source_lines()]
    at = _line_of(patch.data, name, hunk)
    place = f", line {at} of the patch" if at else ""
    told = [f"{name}: hunk {header}{place}"]
    blob = git("cat-file", "blob", f"HEAD:{name}", cwd=tree)
    if not blob.ok:
        return "\n".join([*told, "  the tree has no such file"]), False
    have = blob.stdout.decode(errors="surrogateescape").split("\n")
    start, first = _compare(wanted, have, hunk.source_start)
    only_spaces = _find_without_spaces(wanted, have)
    told.append("  the patch expects:")
    told += [f"    {text}" for text in wanted[first : first + _SHOWN_LINES]]
    if only_spaces:
        told.append("  the tree has these lines with other white space")
    else:
        here = have[start + first : start + first + _SHOWN_LINES]
        told.append(f"  the tree has at line {start + first + 1}:" if here else "  the file ends")
        told += [f"    {text}" for text in here]
    clean = "\n".join(told).encode(errors="surrogateescape").decode(errors="replace")
    return clean, only_spaces


def _find_hunk(diff: bytes, name: str, line: int) -> Hunk | None:
    try:
        files: list[PatchedFile] = list(PatchSet(diff.decode(errors="surrogateescape")))
    except UnidiffParseError:
        return None
    for file in files:
        if name in (file.source_file.removeprefix("a/"), file.target_file.removeprefix("b/")):
            for hunk in file:
                if hunk.source_start == line:
                    return hunk
    return None


def _compare(wanted: list[str], have: list[str], source_start: int) -> tuple[int, int]:
    """Return where the hunk fits best, and how many of its lines agree there.

    The place is that, within the file, where the most leading lines agree; among equals the one
    nearest to where the hunk says it is.  Both are indices from 0.
    """
    best = (0, 0, max(0, source_start - 1))
    for start in range(len(have)):
        agree = 0
        while agree < len(wanted) and have[start + agree : start + agree + 1] == [wanted[agree]]:
            agree += 1
        best = max(best, (agree, -abs(start - (source_start - 1)), start))
    agree, _, start = best
    return start, min(agree, max(0, len(wanted) - 1))


def _find_without_spaces(wanted: list[str], have: list[str]) -> bool:
    squeezed = ["".join(line.split()) for line in wanted]
    around = ["".join(line.split()) for line in have]
    size = len(squeezed)
    return any(around[at : at + size] == squeezed for at in range(len(around) - size + 1))


def _line_of(data: bytes, name: str, hunk: Hunk) -> int | None:
    """Return the hunk's line in the mail, from 1; None where an encoding hides it."""
    start = f"@@ -{hunk.source_start}".encode()
    inside = False
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.startswith(b"--- "):
            inside = name.encode(errors="surrogateescape") in line
        elif inside and line.startswith(start) and line[len(start) : len(start) + 1] in b", ":
            return number
    return None
