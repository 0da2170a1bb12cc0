# SPDX-License-Identifier: GPL-2.0-only
"""Kernels with planted faults: one that has as many as the compiler takes, or one for each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import msgspec

from harness import kbuild
from harness.context import Context
from harness.errors import UserError
from harness.kbuild import Kernel
from harness.kbuild.kernel import DoesNotCompile
from harness.model.mutants import Mutant
from harness.mutants.plan import applied, variants_of
from harness.mutants.schemata import MAKEFILE, numbers_in, plant, with_selector
from harness.run.prepare import Selected
from harness.series.model import Tree
from harness.series.planted import contents, with_files

_SAID = 300


class Together(msgspec.Struct, frozen=True):
    """A kernel with many faults."""

    kernel: Kernel | None
    """None where no fault is left that compiles."""
    invalid: Mapping[int, str]
    """By number the faults that it does not have, with what the compiler said."""


class Planter(msgspec.Struct, frozen=True, dict=True):
    """Builds kernels with faults on top of the tree of *selected*."""

    selected: Selected
    context: Context
    log: Path
    """Receives what make prints."""

    def together(self, mutants: Sequence[Mutant]) -> Together:
        """Return a kernel with all of *mutants* that compile.

        Raises UserError where a file does not compile for a reason that names no fault.
        """
        left = {each.number: each for each in mutants}
        invalid: dict[int, str] = {}
        while left:
            files = self._planted(left.values())
            try:
                kernel = self._build(self._tree(files, f"{len(left)} faults"), keep_going=True)
            except DoesNotCompile as error:
                bad = named(error.lines, left) or self._of_files(error, left)
                if not bad:
                    raise
                invalid |= bad
                left = {number: each for number, each in left.items() if number not in bad}
            else:
                return Together(kernel, invalid)
        return Together(None, invalid)

    def alone(self, mutant: Mutant) -> Kernel:
        """Return the kernel with *mutant* and no other; DoesNotCompile where there is none."""
        files = {mutant.path: applied(self._sources([mutant.path])[mutant.path], mutant)}
        return self._build(self._tree(files, mutant.name))

    def with_variants(self, files: Mapping[str, bytes]) -> Kernel:
        """Return the kernel with these *files*, which may ask for the selector."""
        return self._build(self._tree({**self._selector, **files}, "variants"))

    def _planted(self, mutants: Iterable[Mutant]) -> dict[str, bytes]:
        by_file: defaultdict[str, list[Mutant]] = defaultdict(list)
        for each in mutants:
            by_file[each.path].append(each)
        sources = self._sources(list(by_file))
        return self._selector | {
            path: plant(path, sources[path], variants_of(sources[path], mine))
            for path, mine in by_file.items()
        }

    @cached_property
    def _selector(self) -> dict[str, bytes]:
        return with_selector(self._sources([MAKEFILE])[MAKEFILE])

    def _sources(self, paths: Sequence[str]) -> dict[str, bytes]:
        return contents(self.selected.tree, paths)

    def _tree(self, files: Mapping[str, bytes], subject: str) -> Tree:
        with self.context.store.scratch("mutants") as scratch:
            return with_files(self.selected.tree, files, subject, scratch)

    def _build(self, tree: Tree, *, keep_going: bool = False) -> Kernel:
        return kbuild.build(
            tree,
            self.selected.fragments,
            self.selected.place,
            context=self.context,
            log=self.log,
            limit_s=self.selected.request.project.limits.build_s,
            keep_going=keep_going,
        )

    def _of_files(self, error: DoesNotCompile, left: Mapping[int, Mutant]) -> dict[int, str]:
        """Return the faults of files that *error* names, where it names no fault itself."""
        said = f"{error.where}\n{error.why}"
        why = f"the file with all of its faults does not compile: {error.why}"[:_SAID]
        return {
            number: why
            for number, each in left.items()
            if each.path in said or f"{each.path.removesuffix('.c')}.o" in said
        }


def named(lines: Sequence[str], left: Mapping[int, Mutant]) -> dict[int, str]:
    """Return the faults that the compiler's *lines* name, each with the first that does.

    An error in a macro names the fault only in the note that follows it.
    """
    found: dict[int, str] = {}
    error = ""
    for line in lines:
        if ": note: " not in line:
            error = line
        for number in numbers_in(line):
            if number in left:
                found.setdefault(number, _without_name(error or line)[:_SAID])
    return found


def _without_name(line: str) -> str:
    """Return what the compiler said, without the file that it took the fault for."""
    return line.partition(": error: ")[2] or line


def not_compiled(error: UserError) -> str:
    """Return what the compiler said, in one line."""
    return _without_name(error.why.splitlines()[0] if error.why else error.what)[:_SAID]
