# SPDX-License-Identifier: GPL-2.0-only
"""From a tree and fragments to a ``.config`` in which every requested option is verified."""

from __future__ import annotations

import re

from kconfiglib import KconfigError

from harness.digest import digest
from harness.errors import UserError
from harness.kbuild import toolchain
from harness.kbuild.fragments import Fragments, Option, dropped
from harness.kbuild.kconfig import Dependencies
from harness.kbuild.make import Make
from harness.kbuild.toolchain import Toolchain
from harness.proc.git import git, must
from harness.progress import Progress
from harness.series import Tree
from harness.store import Store

_RECIPE = "2"
_MATTERS = re.compile(r"(^|/)(Kconfig[^/]*|Makefile)$|^scripts/")
"""Paths whose content can change what a fragment becomes.

Kconfig files ask the compiler through scripts/, and the top and architecture makefiles tell them
which compiler; the other makefiles come along because they cost nothing.
"""


def configure(
    make: Make,
    tree: Tree,
    fragments: Fragments,
    tools: Toolchain,
    store: Store,
    progress: Progress,
) -> None:
    """Put the verified ``.config`` into the object directory, untouched if it is there already.

    An untouched file keeps its time, so that make sees nothing to do.  Raises UserError when
    requested options were dropped: each with what it got and which dependencies are unmet.
    """
    key = digest(_RECIPE, _inputs(tree), fragments.digest, tools.identity)
    with store.draft("config", key, progress) as draft:
        if draft:
            with progress.step("Configuring the kernel") as step:
                text = _merge(make, fragments, tools)
                step.result(f"{len(fragments.options)} options asked for, all taken")
            (draft / "config").write_text(text)
    store.check([("config", key)])
    text = (store.path("config", key) / "config").read_text()
    target = make.objects / ".config"
    if not target.exists() or target.read_text() != text:
        target.write_text(text)


def _inputs(tree: Tree) -> str:
    """Return a digest of everything in the tree that decides a configuration."""
    done = git("ls-tree", "-r", "--full-tree", tree.commit, repo=tree.repo)
    listed = must(done, "the kernel tree cannot be listed").text
    lines = (line for line in listed.split("\n") if "\t" in line)
    return digest(*(line for line in lines if _MATTERS.search(line.split("\t", 1)[1])))


def _merge(make: Make, fragments: Fragments, tools: Toolchain) -> str:
    request = make.objects.parent / "request.config"
    request.write_text(fragments.text)
    for target in ("allnoconfig", "olddefconfig"):
        make.must([target], f"make {target} failed", {"KCONFIG_ALLCONFIG": str(request)})
    text = (make.objects / ".config").read_text()
    missing = dropped(fragments, text)
    if missing:
        raise _dropped_error(make, tools, missing)
    return text


def _dropped_error(make: Make, tools: Toolchain, missing: list[tuple[Option, str]]) -> UserError:
    try:
        explain = Dependencies(
            make.source, make.objects / ".config", _make_variables(make, tools)
        ).unmet
    except (KconfigError, OSError) as error:
        text = f"dependencies unknown, the Kconfig files cannot be read: {error}"

        def explain(name: str) -> str:  # noqa: ARG001  same shape as unmet()
            return text

    lines = [
        f"CONFIG_{option.name}: wanted {option.value}, got {got} ({option.origin}); "
        + explain(option.name)
        for option, got in missing
    ]
    names = ", ".join(option.name for option, _ in missing[:4])
    return UserError(
        f"the kernel did not take {len(missing)} requested option(s): {names}",
        where=", ".join(sorted({option.origin for option, _ in missing})),
        why="\n".join(lines),
        hint="add what is unmet to a fragment, or take the option out",
    )


def _make_variables(make: Make, tools: Toolchain) -> dict[str, str]:
    """Return what the kernel's Makefile exports to Kconfig."""
    return {
        "ARCH": toolchain.ARCH,
        "SRCARCH": toolchain.ARCH,
        "KERNELVERSION": make.release(),
        "CC": "gcc",
        "LD": "ld",
        "NM": "nm",
        "HOSTCC": "gcc",
        "HOSTCXX": "g++",
        "RUSTC": "rustc",
        "BINDGEN": "bindgen",
        "PAHOLE": "pahole",
        "CLANG_FLAGS": "",
        "CC_VERSION_TEXT": tools.compiler,
    }
