# SPDX-License-Identifier: GPL-2.0-only
"""What is known of a tree at W=1, kept in the store: a tree is built and looked at only once.

The key of an entry has everything that decides what is found, so an interrupted check goes on
behind the last tree that was built, and a new version of a series begins at its first new patch.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from harness.digest import digest
from harness.errors import HarnessError, UserError
from harness.kbuild import toolchain
from harness.kbuild.diagnostics import Looked, Warned
from harness.kbuild.fragments import Fragments
from harness.kbuild.left import IMAGE_BYTES, file_left
from harness.kbuild.warnings import Workshop
from harness.proc.process import run
from harness.series import Tree

_KIND = "checked"
_RECIPE = "1"
"""Increase it if the same tree has to give other facts."""
_FILE = "facts.json"
_IMAGE = "arch/x86/boot/bzImage"


class Asked(msgspec.Struct, frozen=True):
    """What is to be found out, besides whether a tree builds and what compilers say."""

    sparse: tuple[str, ...] = ()
    """C files."""
    documented: tuple[str, ...] = ()
    """Files for kernel-doc."""
    headers: bool = False
    image: bool = False
    """Whether its kernel will be booted."""


class Facts(msgspec.Struct, frozen=True):
    """What was found out of a tree."""

    error: str = ""
    """Why it does not build; empty if it does."""
    warnings: tuple[Warned, ...] = ()
    sparse: dict[str, Looked] = {}
    """By those of the files that are compiled."""
    documented: Looked = Looked()
    headers: dict[str, str] = {}
    """Digests of its user-space headers, by name."""
    headers_error: str = ""
    """Why they are unknown."""

    @property
    def final(self) -> bool:
        """Whether it would be found again: an error may be one of this machine."""
        unknown = any(each.trouble for each in (self.documented, *self.sparse.values()))
        return not (self.error or self.headers_error or unknown)


class Known(msgspec.Struct, frozen=True):
    """The facts of a tree, and its kernel."""

    facts: Facts
    image: Path | None
    """None if it was not asked for, or does not build."""
    is_new: bool
    """Whether the tree was built for this."""


def find_out(
    workshop: Workshop,
    tree: Tree,
    fragments: Fragments,
    asked: Asked,
    title: str,
    *,
    look_at: frozenset[str] = frozenset(),
) -> Known:
    """Return what is known of *tree*, which is built if need be; hold the lock of the workshop.

    Sparse looks at *look_at* also, so that these need not be compiled for it again with later
    trees.  Where makefiles or Kconfig files fail, that is an error of the tree.
    """
    key = _key(workshop, tree, fragments, asked)
    if (known := _stored(workshop, key, asked)) is not None:
        return known
    facts = _look(workshop, tree, fragments, asked, title, look_at)
    if not facts.error:

        def write(out: Path) -> None:
            (out / _FILE).write_bytes(msgspec.json.encode(facts))
            if asked.image:
                image = file_left(workshop.place.objects, _IMAGE, IMAGE_BYTES)
                shutil.copyfile(image, out / "bzImage")

        path = workshop.context.obtain(_KIND, key, write)
        return Known(facts, path / "bzImage" if asked.image else None, is_new=True)
    return Known(facts, None, is_new=True)


def _stored(workshop: Workshop, key: str, asked: Asked) -> Known | None:
    store = workshop.context.store
    path = store.find(_KIND, key)
    if path is None:
        return None
    facts = msgspec.json.decode((path / _FILE).read_bytes(), type=Facts)
    if not facts.final:
        store.discard(_KIND, key)
        return None
    return Known(facts, path / "bzImage" if asked.image else None, is_new=False)


def _look(
    workshop: Workshop,
    tree: Tree,
    fragments: Fragments,
    asked: Asked,
    title: str,
    look_at: frozenset[str],
) -> Facts:
    changed = workshop.move(tree)
    try:
        built = workshop.build(
            tree, fragments, title, changed=changed, look_at=look_at | {*asked.sparse}
        )
    except UserError as error:
        # What the makefiles and Kconfig files say of themselves.
        facts = Facts(error=in_one_line(error))
    else:
        seen = {name: looked for name, looked in built.sparse.items() if name in asked.sparse}
        facts = Facts(built.error, built.warnings, seen)
    replace = msgspec.structs.replace
    if asked.documented:
        facts = replace(facts, documented=workshop.kernel_doc(asked.documented))
    if asked.headers:
        try:
            facts = replace(facts, headers=workshop.headers())
        except UserError as error:
            facts = replace(facts, headers_error=in_one_line(error))
    return facts


def _key(workshop: Workshop, tree: Tree, fragments: Fragments, asked: Asked) -> str:
    tools = [toolchain.identify(workshop.place.cc).identity]
    if asked.sparse:
        tools.append(run(["sparse", "--version"], limit_s=30).output)
    return digest(
        _RECIPE,
        tree.tree,
        fragments.digest,
        *tools,
        toolchain.ARCH,
        # A stranger's build may have written anything: no other reads it.
        workshop.place.owner,
        *(f"sparse {name}" for name in asked.sparse),
        *(f"kernel-doc {name}" for name in asked.documented),
        f"{asked.headers} {asked.image}",
    )


def in_one_line(error: HarnessError) -> str:
    """Return what *error* says, and why, in one line."""
    return " ".join(": ".join(filter(None, (error.what, error.why))).split())
