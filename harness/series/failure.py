# SPDX-License-Identifier: GPL-2.0-only
"""Explains why a patch does not apply: the file, the hunk, and the lines of the tree."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from unidiff.errors import UnidiffParseError
from unidiff.patch import Hunk, PatchedFile, PatchSet

from harness.errors import UserError
from harness.proc.git import git
from harness.series.model import Patch, Series

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


def explain(
    series: Series, index: int, tree: Path, words: str, there: Sequence[Patch]
) -> UserError:
    """Return the error for the patch that `git am` refused in the work tree *tree*.

    It is the one at *index* of *series*, from 0.  *words* is git's output; *there* has the patches
    before it that the tree already has, according to git.
    """
    patch = series.patches[index]
    diff = patch.diff
    if _is_there(tree, diff):
        after = (each for each in series.patches[index + 1 :] if _is_there(tree, each.diff))
        return is_in_the_tree([*there, patch, *after], len(series.patches))
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
    lines += [f"{each.title} is already in the tree" for each in there]
    lines += series.notes
    unsafe = any(_UNSAFE.search(reason) for reason in reasons)
    return UserError(
        f"{patch.title} " + ("reaches outside the tree" if unsafe else "does not apply"),
        where=patch.where,
        why="\n".join(lines),
        hint=_hint(series, unsafe, mangled),
    )


def is_in_the_tree(there: Sequence[Patch], total: int) -> UserError:
    """Return the error for patches that change nothing, because the tree has them."""
    first = there[0]
    others = f", and so {'is' if len(there) == 2 else 'are'} {len(there) - 1} more"
    return UserError(
        f"{first.title} is already in the tree" + (others if len(there) > 1 else ""),
        where=first.where,
        why="\n".join(each.title for each in there) if len(there) > 1 else "",
        hint="test the source as it is: --series none"
        if len(there) == total
        else "leave it out of the series, or choose a source from before it",
    )


def _is_there(tree: Path, diff: bytes) -> bool:
    """Return whether the last commit has the changes of *diff*: it applies in reverse."""
    return _check(tree, diff, "--reverse") == ""


def _ask_again(tree: Path, diff: bytes) -> str:
    """Return git's output for *diff* on the last commit, without a three-way merge.

    What git am said is mixed with the merge that it tried, and so is the index that it left.
    """
    return _check(tree, diff) or ""


def _check(tree: Path, diff: bytes, *options: str) -> str | None:
    """Return git's error for *diff* on the last commit: empty if it applies, None if unknown."""
    with tempfile.TemporaryDirectory(prefix="index-") as scratch:
        env = {"GIT_INDEX_FILE": f"{scratch}/index"}
        if not diff or not git("read-tree", "HEAD", cwd=tree, env=env).ok:
            return None
        argv = ("apply", "--cached", "--check", *options, "-")
        done = git(*argv, cwd=tree, env=env, stdin=diff)
        return "" if done.ok else done.stderr or None


def _hint(series: Series, unsafe: bool, mangled: bool) -> str:
    if unsafe:
        return "do not use this series before you know why"
    if mangled:
        return "the white space of the patch was changed in transit: use the original"
    if series.base_commit:
        return f"choose the source that it was written for, base-commit {series.base_commit}"
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
    place = _place(patch, diff, name, hunk)
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


def _place(patch: Patch, diff: bytes, name: str, hunk: Hunk) -> str:
    """Return where the hunk stands in the file; empty where an encoding hides it."""
    at = _line_of(diff, name, hunk)
    if at is None or patch.diff_line is None:
        return ""
    of = "the patch" if patch.where == str(patch.path) else patch.path.name
    return f", line {patch.diff_line + at} of {of}"


def _line_of(diff: bytes, name: str, hunk: Hunk) -> int | None:
    """Return how many lines below the diff's first line the hunk begins."""
    start = f"@@ -{hunk.source_start}".encode()
    inside = False
    for number, line in enumerate(diff.split(b"\n")):
        if line.startswith((b"--- ", b"+++ ")):
            inside = name.encode(errors="surrogateescape") in line or (
                inside and line.startswith(b"+++ ")
            )
        elif inside and line.startswith(start) and line[len(start) : len(start) + 1] in b", ":
            return number
    return None
