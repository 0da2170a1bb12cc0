# SPDX-License-Identifier: GPL-2.0-only
"""What compilers say of a tree at W=1, object by object, and what of it is new.

A slot of its own is built with W=1.  make prints only what it compiles anew, so the slot keeps by
object what was said of it when it was compiled: together that is what a full build would print.
Where a build was cut off that is no longer so, and the next one begins from nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from harness.context import Context
from harness.digest import digest_file
from harness.kbuild import toolchain
from harness.kbuild.configure import check_taken, configure
from harness.kbuild.fragments import Fragments, parse
from harness.kbuild.kernel import Slot, slot
from harness.kbuild.left import file_left, is_left
from harness.kbuild.make import Make
from harness.kbuild.stale import made_from
from harness.proc.process import run
from harness.series import Tree
from harness.series.position import Lines
from harness.source import worktree

_STATE = "warnings.json"
_OBJECT = re.compile(r"^  (?:CC|AS|HOSTCC|CPP|LDS)\s+(?:\[M\]\s+)?(\S+)")
_SAID = re.compile(
    r"^(?P<file>[^\s:]+):(?P<line>\d+)(?::\d+)?: (?P<kind>fatal error|error|warning): (?P<text>.+)$"
)
_MAKE_ERROR = re.compile(r"^make(?:\[\d+\])?: \*\*\* (?!.*Waiting for unfinished)(.+)")
_W1 = ("W=1", "--output-sync=target")
_LIMIT_S = 300


class Warned(msgspec.Struct, frozen=True, order=True):
    """One warning of a compiler or another tool."""

    file: str
    """As the tree names it."""
    line: int
    text: str


class _State(msgspec.Struct, frozen=True):
    tree: str
    objects: dict[str, tuple[Warned, ...]]


@dataclass(frozen=True)
class Built:
    """A tree that was built at W=1."""

    error: str
    """The first error; empty where it builds."""
    warnings: tuple[Warned, ...]
    """Of the whole tree; of what was built where it does not build."""


@dataclass(frozen=True)
class Workshop:
    """The slot in which the trees of one source and one configuration are built at W=1."""

    place: Slot
    context: Context
    log: Path
    limit_s: float

    @classmethod
    def of(
        cls,
        context: Context,
        source: str,
        fragments: Fragments,
        lineage: str | None,
        *,
        log: Path,
        limit_s: float,
    ) -> Workshop:
        """Return the workshop for a source and fragments; see :func:`harness.kbuild.slot`."""
        named = replace(fragments, names=(*fragments.names, "W=1"))
        return cls(
            slot(context.store, source, named, lineage),
            context,
            log,
            limit_s,
        )

    def configured(self, tree: Tree, fragments: Fragments) -> dict[str, str]:
        """Configure *tree*; return the options by name.  Hold the slot's lock.

        Raises UserError where that fails, or an option is not taken.
        """
        place = self.place
        worktree.checkout(tree.repo, tree.commit, place.source, self.context.progress)
        if self._state() is None:
            self._clear()
        tools = toolchain.identify()
        unmet = configure(self._make(), tree, fragments, tools, self.context, place.owner)
        config = file_left(place.objects, ".config").read_text()
        check_taken(fragments, config, unmet)
        return parse(config)

    def build(
        self, tree: Tree, fragments: Fragments, title: str, changed: Sequence[str] | None = None
    ) -> Built:
        """Build *tree*, which the progress calls *title*, incrementally; hold the slot's lock.

        *changed* are the files that differ from what was built there before, if that is known.
        Raises UserError where the tree cannot be configured or an option is not taken.
        """
        self.configured(tree, fragments)
        place, state, make = self.place, self._state(), self._make()
        said = _Said(place)
        # From here on the slot holds more than is known, until all has been said.
        (place.path / _STATE).unlink(missing_ok=True)
        marker = place.path / "begun"
        marker.touch()
        with self.context.step(f"Building {title} at W=1") as step:
            total = None if changed is None else self._made_from(changed)

            def hear(line: str) -> None:
                said.hear(line)
                built = len(said.objects)
                known = total if total and built <= total else None
                step.update(said.latest, done=built, total=known)

            try:
                done = make.run(["bzImage"], hear)
            except BaseException:
                # What was compiled and has not been told of yet is compiled again.
                _remove_unsaid(place.objects, said, marker.stat().st_mtime_ns)
                self._keep(tree, state, said)
                raise
            step.result(f"{len(said.objects)} objects")
        kept = self._keep(tree, state, said)
        error = "" if done.ok else said.error or f"make ended with status {done.status}"
        every = {each for warnings in kept.values() for each in warnings}
        return Built(error, tuple(sorted(every)))

    def _made_from(self, changed: Sequence[str]) -> int:
        """Return how many objects were made from any of these files."""
        return made_from(self.place.objects, self.place.source, changed)

    def _keep(self, tree: Tree, state: _State | None, said: _Said) -> dict[str, tuple[Warned, ...]]:
        """Store and return the warnings of the objects in the slot."""
        place = self.place
        objects = {**(state.objects if state else {}), **said.objects}
        kept = {
            name: warnings
            for name, warnings in objects.items()
            if name in said.objects or is_left(place.objects, place.objects / name)
        }
        (place.path / _STATE).write_bytes(msgspec.json.encode(_State(tree.tree, kept)))
        return kept

    def headers(self) -> dict[str, str]:
        """Return the digest of each user-space header of the tree that is in the slot, by name.

        Raises UserError where ``make headers`` fails.
        """
        self._make().must(["headers"], "the kernel's headers cannot be exported")
        root = self.place.objects / "usr/include"
        found = {}
        for path in sorted(root.rglob("*.h")):
            if is_left(self.place.objects, path):
                found[path.relative_to(root).as_posix()] = digest_file(path)
        return found

    def kernel_doc(self, names: Iterable[str]) -> list[Warned]:
        """Return what the tree's kernel-doc says of files of the tree that is in the slot."""
        script = self.place.source / "scripts/kernel-doc"
        files = [name for name in names if name.endswith((".c", ".h")) and self._has(name)]
        if not files or not script.is_file():
            return []
        done = run(
            [str(script), "-none", *files],
            cwd=self.place.source,
            limit_s=_LIMIT_S,
            sandbox=self.place.sandbox(),
        )
        return list(_warnings(done.output.splitlines(), self.place))

    def sparse(self, names: Iterable[str]) -> list[Warned]:
        """Return what sparse says of those C files *names* that the slot has compiled."""
        objects = [
            f"{name.removesuffix('.c')}.o"
            for name in names
            if name.endswith(".c") and self._has(name)
        ]
        compiled = [n for n in objects if is_left(self.place.objects, self.place.objects / n)]
        if not compiled:
            return []
        said: list[str] = []
        self._make().run([*compiled, "C=2", "CHECK=sparse"], said.append)
        return list(_warnings(said, self.place))

    def _has(self, name: str) -> bool:
        return is_left(self.place.source, self.place.source / name)

    def _state(self) -> _State | None:
        """Return what is known of all objects in the slot; None where that is not whole."""
        try:
            return msgspec.json.decode((self.place.path / _STATE).read_bytes(), type=_State)
        except (OSError, msgspec.MsgspecError):
            return None

    def _clear(self) -> None:
        """Remove objects without stored warnings."""
        with self.context.store.for_make().scratch("objects") as grave:
            if self.place.objects.exists():
                self.place.objects.rename(grave / "objects")

    def _make(self) -> Make:
        make = self.place.make(self.log, self.limit_s)
        return replace(make, options=_W1)


class _Said:
    """What make prints, by object; with --output-sync what belongs together comes together."""

    def __init__(self, place: Slot) -> None:
        self._place = place
        self.latest = ""
        """The object that was compiled last."""
        self.objects: dict[str, tuple[Warned, ...]] = {}
        self.error = ""

    def hear(self, line: str) -> None:
        if match := _OBJECT.match(line):
            self.latest = match[1]
            self.objects[self.latest] = ()
            return
        for warned in _warnings([line], self._place):
            there = self.objects.get(self.latest, ())
            self.objects[self.latest] = (*there, warned)
        if self.error:
            return
        if (match := _SAID.match(line)) and match["kind"] != "warning":
            self.error = _relative(line, self._place)
        elif match := _MAKE_ERROR.match(line):
            self.error = match[1]


def _remove_unsaid(objects: Path, said: _Said, since_ns: int) -> None:
    """Remove the object files that are new *since_ns* and unknown to *said*."""
    for path in objects.rglob("*.o"):
        name = path.relative_to(objects).as_posix()
        if name not in said.objects and path.lstat().st_mtime_ns >= since_ns:
            path.unlink(missing_ok=True)


def new_warnings(
    before: Iterable[Warned],
    after: Iterable[Warned],
    lines: Mapping[str, Lines],
    renamed: Mapping[str, str] | None = None,
) -> list[Warned]:
    """Return those of *after* that a patch has introduced; *lines* are those of its files.

    *renamed* has the new names of files that it renames, by their old ones.

    A warning was there before if one with the same words was at the line that has become this one.
    One that a patch has taken away and brings again in the same file was moved, and is not new.
    """
    known: Counter[Warned] = Counter()
    moved: Counter[tuple[str, str]] = Counter()
    for earlier in before:
        each = Warned((renamed or {}).get(earlier.file, earlier.file), earlier.line, earlier.text)
        changed = lines.get(each.file)
        line = changed.after(each.line) if changed else each.line
        if line is None:
            moved[(each.file, each.text)] += 1
        else:
            known[Warned(each.file, line, each.text)] += 1
    new: list[Warned] = []
    for each in sorted(after):
        if known[each] > 0:
            known[each] -= 1
        elif moved[(each.file, each.text)] > 0:
            moved[(each.file, each.text)] -= 1
        else:
            new.append(each)
    return new


def _warnings(rows: Iterable[str], place: Slot) -> Iterator[Warned]:
    for row in rows:
        match = _SAID.match(_relative(row, place))
        if match and match["kind"] == "warning":
            yield Warned(match["file"].removeprefix("./"), int(match["line"]), match["text"])


def _relative(line: str, place: Slot) -> str:
    """Name files as the tree does."""
    for prefix in (f"{place.source}/", f"{place.objects}/", "../src/"):
        line = line.replace(prefix, "")
    return line
