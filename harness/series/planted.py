# SPDX-License-Identifier: GPL-2.0-only
"""A tree with other contents of some files, as a commit on top of it in the cache's repository."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec

from harness.proc.git import git, must
from harness.series.model import Tree

_FAILURE = "git cannot create a commit"


def contents(tree: Tree, paths: Collection[str]) -> dict[str, bytes]:
    """Return what *tree* has in the files *paths*, which must be there; MachineError otherwise."""
    return {
        path: must(
            git("cat-file", "blob", f"{tree.commit}:{path}", repo=tree.repo),
            "a file of the series cannot be read",
        ).stdout
        for path in paths
    }


def with_files(tree: Tree, files: Mapping[str, bytes], subject: str, scratch: Path) -> Tree:
    """Return *tree* with *files*, by name, new ones among them; *scratch* is a directory to use.

    The same files on the same tree are the same commit on every machine.  The patches stay those
    of *tree*.  Raises MachineError where git fails.
    """
    index = {"GIT_INDEX_FILE": str(scratch / "index")}

    def ask(*args: str, stdin: bytes | None = None) -> str:
        return must(git(*args, repo=tree.repo, env=index, stdin=stdin), _FAILURE).text

    ask("read-tree", tree.commit)
    rows = []
    for path, data in sorted(files.items()):
        blob = ask("hash-object", "-w", "--stdin", stdin=data)
        rows.append(f"100644 {blob}\t{path}\0".encode(errors="surrogateescape"))
    ask("update-index", "-z", "--index-info", stdin=b"".join(rows))
    made = ask("write-tree")
    commit = ask("commit-tree", "-p", tree.commit, "-m", subject, made)
    return msgspec.structs.replace(tree, commit=commit, tree=made)
