# SPDX-License-Identifier: GPL-2.0-only
"""Files of a user's git work tree that a build from its commits would miss, and does not tell.

What git does not track is not part of the source.  That is right for what a build or an editor has
made, and wrong for a file that the user has forgotten to add, or could not add because a
.gitignore covers it: some cover everything.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from harness.errors import UserError
from harness.proc.git import git

_SHOWN = 3
_OF_EDITORS = re.compile(
    r"(^|/)\.|(~|\.orig|\.rej|\.sw[op]|\.patch|\.mbox)$"
    r"|(^|/)(tags|TAGS|GTAGS|GRTAGS|GPATH|ID|cscope\.[^/]*|ncscope\.[^/]*|compile_commands\.json)$"
    r"|(^|/)(__pycache__|#[^/]*#)(/|$)"
)
"""Files of editors and tools: no build needs them."""
_SOURCE = re.compile(
    r"\.(c|h|S|rs|y|l|lds|dts|dtsi|dtso|asn1|tbl|awk|pl|py|sh|config)$"
    r"|(^|/)(Makefile|Kconfig|Kbuild)[^/]*$|_defconfig$"
)
_BUILT = re.compile(
    r"(^|/)(generated|config_data[^/]*|vmlinux\.lds|asm-offsets\.[hs])(/|$)"
    r"|^(include/config|usr/include)/|\.(mod\.c|lex\.c|tab\.[ch]|asn1\.[ch])$"
)
"""Where a build in the tree puts source that it makes, without a record of how."""


def notes(tree: Path, untracked: Sequence[str], spec: str) -> list[str]:
    """Return what of the work tree *tree* is left out, in sentences for a person.

    *untracked* are the paths that git neither tracks nor ignores.  Raises UserError when git cannot
    read the tree.
    """
    told = []
    if untracked:
        told.append(_left_out(untracked, "git does not track", "git add"))
    ignored = [name for name in _listed(tree, spec, "--others", "--ignored") if _counts(tree, name)]
    if ignored:
        told.append(_left_out(ignored, ".gitignore covers", "git add --force"))
    # "h" stands for a file whose changes git was told not to look for (git-ls-files(1), -v).
    unwatched = [row[2:] for row in _listed(tree, spec, "-v") if row.startswith("h ")]
    if unwatched:
        told.append(
            f"changes of {_files(len(unwatched))} marked assume-unchanged are not included: "
            f"{_names(unwatched)} (git update-index --no-assume-unchanged)"
        )
    return told


def _left_out(names: Sequence[str], why: str, command: str) -> str:
    be, them = ("are", "them") if len(names) > 1 else ("is", "it")
    return (
        f"{_files(len(names))} that {why} {be} not included: {_names(names)} "
        f"({command} includes {them})"
    )


def not_tracked(tree: Path, spec: str) -> UserError:
    """Return the error for a work tree whose commit does not hold the kernel that lies there."""
    others = _listed(tree, spec, "--others")
    return UserError(
        "git does not track the kernel that is in this directory",
        where=spec,
        why=f"its commit and its index have no Makefile, and {len(others)} files are untracked: "
        + _names(others),
        hint=f"git -C {spec} add --all --force, or take the .git away to have every file included",
    )


def _listed(tree: Path, spec: str, *options: str) -> list[str]:
    exclude = ["--exclude-standard"] if "--ignored" in options else []
    done = git("ls-files", "-z", *options, *exclude, cwd=tree, limit_s=300)
    if not done.ok:
        raise UserError("the state of the source cannot be read", where=spec, why=done.stderr)
    return [os.fsdecode(row) for row in done.stdout.split(b"\0") if row]


def _counts(tree: Path, name: str) -> bool:
    """Whether the ignored file *name* may be one that a build needs, and none has made."""
    if _OF_EDITORS.search(name):
        return False
    if not (tree / "include/generated").exists():
        # Nothing was built here, so nothing of this was made by a build.
        return True
    path = tree / name
    recorded = path.with_name(f".{path.name}.cmd").exists()
    return bool(_SOURCE.search(name)) and not _BUILT.search(name) and not recorded


def _files(count: int) -> str:
    return f"{count} file{'s' if count > 1 else ''}"


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
