# SPDX-License-Identifier: GPL-2.0-only
"""From a tree and fragments to a ``.config``, and which requested options it lacks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec

from harness.context import Context
from harness.digest import digest
from harness.errors import UserError
from harness.kbuild import toolchain
from harness.kbuild.fragments import Fragments, Option, denied, dropped, not_taken
from harness.kbuild.kconfig import unmet as why_unmet
from harness.kbuild.left import is_left, text_left, write_over
from harness.kbuild.make import Make
from harness.kbuild.toolchain import Toolchain
from harness.proc.git import git, must

if TYPE_CHECKING:
    from harness.series import Tree

_RECIPE = "3"
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
    context: Context,
    owner: str = "",
) -> dict[str, str]:
    """Write the ``.config`` to the object directory; an identical one is left untouched.

    *owner* is whose tree it is, empty for the user's own: see :class:`harness.kbuild.kernel.Slot`.
    An untouched file keeps its time, so that make sees nothing to do.  Returns the names of the
    requested options that the kernel did not take, each with what is unmet.
    """
    whose = (owner,) if owner else ()
    key = digest(_RECIPE, _inputs(tree), fragments.digest, tools.identity, *whose)
    with context.store.draft("config", key, context.progress) as draft:
        if draft:
            with context.step("Configuring the kernel") as step:
                text = _merge(make, fragments)
                unmet = _unmet(make, tools, not_taken(fragments.options, text))
                lost = f"{len(unmet)} of them not accepted" if unmet else "all taken"
                step.result(f"{len(fragments.options)} options requested, {lost}")
            (draft / "config").write_text(text)
            (draft / "unmet.json").write_bytes(msgspec.json.encode(unmet))
    context.store.check([("config", key)])
    entry = context.store.path("config", key)
    text = (entry / "config").read_text()
    target = make.objects / ".config"
    if not is_left(make.objects, target) or text_left(make.objects, ".config") != text:
        write_over(make.objects, ".config", text)
    return msgspec.json.decode((entry / "unmet.json").read_bytes(), type=dict[str, str])


def check_taken(fragments: Fragments, config: str, unmet: Mapping[str, str]) -> None:
    """Raise UserError if *config* lacks an option that the user requests.

    It says what each got and, from *unmet*, which dependencies it lacks.
    """
    missing = dropped(fragments, config)
    if not missing:
        return
    names = ", ".join(option.name for option, _ in missing[:4])
    raise UserError(
        f"the kernel did not accept {len(missing)} requested option(s): {names}",
        where=", ".join(sorted({option.origin for option, _ in missing})),
        why="\n".join(_lines(missing, fragments, unmet)),
        hint="add the unmet dependencies to a fragment, or remove the option",
    )


def why_denied(fragments: Fragments, config: str, unmet: Mapping[str, str]) -> dict[str, str]:
    """Return one line for each suite with an option that *config* lacks, with the reason."""
    return {
        suite: "the kernel did not accept options of the suite: "
        + "; ".join(_lines(missing, fragments, unmet))
        for suite, missing in denied(fragments, config).items()
    }


def _lines(
    missing: Iterable[tuple[Option, str]], fragments: Fragments, unmet: Mapping[str, str]
) -> list[str]:
    """Return a line for each option that is *missing*: what it got, and why."""
    asked = {option.name: option for option in fragments.options}
    lines = []
    for option, got in missing:
        other = asked[option.name]
        if option.line == other.line:
            why = unmet.get(option.name, "")
        else:
            why = f"{other.origin} asks for {other.value}"
        line = f"CONFIG_{option.name}: wanted {option.value}, got {got} ({option.origin})"
        lines.append(f"{line}; {why}" if why else line)
    return lines


def _inputs(tree: Tree) -> str:
    """Return a digest of everything in the tree that decides a configuration."""
    done = git("ls-tree", "-r", "--full-tree", tree.commit, repo=tree.repo)
    listed = must(done, "the kernel tree cannot be listed").text
    lines = (line for line in listed.split("\n") if "\t" in line)
    return digest(*(line for line in lines if _MATTERS.search(line.split("\t", 1)[1])))


def _merge(make: Make, fragments: Fragments) -> str:
    request = make.objects.parent / "request.config"
    request.write_text(fragments.text)
    if not is_left(make.objects, make.objects / ".config"):
        write_over(make.objects, ".config", "")  # make would write through a link
    for target in ("allnoconfig", "olddefconfig"):
        make.must([target], f"make {target} failed", {"KCONFIG_ALLCONFIG": str(request)})
    return text_left(make.objects, ".config")


def _unmet(make: Make, tools: Toolchain, missing: list[tuple[Option, str]]) -> dict[str, str]:
    """Return by name why the kernel did not take the options that are *missing*."""
    if not missing:
        return {}
    names = [option.name for option, _ in missing]
    variables = _make_variables(make, tools)
    try:
        return why_unmet(make.source, make.objects / ".config", variables, names, make.sandbox)
    except UserError as error:
        text = f"dependencies unknown, the Kconfig files cannot be read: {error.why}"
        return dict.fromkeys(names, " ".join(text.split()))


def _make_variables(make: Make, tools: Toolchain) -> dict[str, str]:
    """Return what the kernel's Makefile exports to Kconfig."""
    return {
        "ARCH": toolchain.ARCH,
        "SRCARCH": toolchain.ARCH,
        "KERNELVERSION": make.release(),
        "CC": make.cc,
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
