# SPDX-License-Identifier: GPL-2.0-only
"""What compilers and checkers say of a tree at W=1, object by object, and what of it is new.

A slot of its own is built with W=1.  make prints only what it compiles anew, so the slot keeps by
object what was said of it when it was compiled: together that is what a full build would print.
Where a build was killed that is no longer so, and the next one begins from nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import msgspec

from harness.context import Context
from harness.digest import digest_file
from harness.kbuild import sparse, toolchain
from harness.kbuild.configure import check_taken, configure
from harness.kbuild.diagnostics import MESSAGE, Looked, Warned, plain, relative, warnings_in
from harness.kbuild.fragments import Fragments, parse
from harness.kbuild.kernel import Slot, slot
from harness.kbuild.left import is_left, text_left
from harness.kbuild.make import Make
from harness.kbuild.stale import changed_files, made_from
from harness.proc.process import run
from harness.series import Tree
from harness.series.position import Lines
from harness.source import worktree

_STATE = "said.json"
_OBJECT = re.compile(r"^  (?:CC|AS|HOSTCC|CPP|LDS)\s+(?:\[M\]\s+)?(\S+)")
_MAKE_ERROR = re.compile(r"^make(?:\[\d+\])?: \*\*\* (?!.*Waiting for unfinished)(.+)")
_W1 = ("W=1", "--output-sync=target", "cmd_checkdoc=")
"""At W=1 the makefiles also run kernel-doc on each C file that they compile, which is left out."""
_KERNEL_DOC = ("scripts/kernel-doc", "tools/docs/kernel-doc")
"""Where trees have it."""
_LIMIT_S = 300


class _State(msgspec.Struct, frozen=True):
    tree: str
    objects: dict[str, tuple[Warned, ...]]
    sparse: dict[str, Looked]
    """By the C file of an object that is there."""


class Built(msgspec.Struct, frozen=True):
    """A tree that was built at W=1."""

    error: str
    """The first error; empty where it builds."""
    warnings: tuple[Warned, ...]
    """Of the whole tree; of what was built where it does not build."""
    sparse: Mapping[str, Looked] = msgspec.field(default_factory=dict)
    """By those of the files which sparse was to look at that the configuration compiles."""


class Workshop(msgspec.Struct, frozen=True):
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
        cc: str,
        log: Path,
        limit_s: float,
    ) -> Workshop:
        """Return the workshop for a source and fragments; see :func:`harness.kbuild.slot`."""
        named = msgspec.structs.replace(fragments, names=(*fragments.names, "W=1"))
        return cls(
            slot(context.store, source, named, lineage, cc=cc),
            context,
            log,
            limit_s,
        )

    def move(self, tree: Tree) -> list[str] | None:
        """Check *tree* out; return the files that differ from what was there, if that is known.

        Hold the slot's lock, here and in all that follows.
        """
        changed = changed_files(self.place.source, tree.commit)
        worktree.checkout(tree.repo, tree.commit, self.place.source, self.context.progress)
        return changed

    def configured(self, tree: Tree, fragments: Fragments) -> dict[str, str]:
        """Configure *tree*, which is checked out; return the options by name.

        Raises UserError where that fails, or an option is not taken.
        """
        place = self.place
        if self._state() is None:
            self._clear()
        tools = toolchain.identify(place.cc)
        unmet = configure(self._make(), tree, fragments, tools, self.context, place.owner)
        config = text_left(place.objects, ".config")
        check_taken(fragments, config, unmet)
        return parse(config)

    def build(
        self,
        tree: Tree,
        fragments: Fragments,
        title: str,
        *,
        changed: Collection[str] | None = None,
        look_at: Collection[str] = (),
    ) -> Built:
        """Build *tree*, which is checked out, incrementally; the progress calls it *title*.

        *changed* are the files that differ from what was built there before, if that is known.
        Sparse looks at those of the C files *look_at* that are compiled.  Raises UserError where
        the tree cannot be configured or an option is not taken.
        """
        self.configured(tree, fragments)
        place, state = self.place, self._state()
        self._forget_unlooked(state, look_at)
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
                done = self._make(look_at).run(["bzImage"], hear)
            except BaseException:
                # What was compiled and has not been told of yet is compiled again.
                _remove_unsaid(place.objects, said, marker.stat().st_mtime_ns)
                self._keep(tree, state, said)
                raise
            step.result(f"{len(said.objects)} objects")
        kept = self._keep(tree, state, said)
        error = "" if done.ok else said.error or f"make ended with status {done.status}"
        every = {each for warnings in kept.objects.values() for each in warnings}
        return Built(error, tuple(sorted(every)), self._looked(kept, look_at))

    def _made_from(self, changed: Collection[str]) -> int:
        """Return how many objects were made from any of these files."""
        return made_from(self.place.objects, self.place.source, tuple(changed))

    def _forget_unlooked(self, state: _State | None, files: Collection[str]) -> None:
        """Remove the objects of *files* that sparse has not looked at, so that it will."""
        known = state.sparse if state else {}
        for name in files:
            made = sparse.object_of(name)
            if (name not in known or known[name].trouble) and self._is_object(made):
                (self.place.objects / made).unlink()

    def _looked(self, state: _State, files: Collection[str]) -> dict[str, Looked]:
        """Return what sparse says of each of *files* that the slot has compiled."""
        why = "sparse has not looked at it: its makefile compiles it by a rule of its own"
        return {
            name: state.sparse.get(name, Looked(missing=f"{name}: {why}"))
            for name in files
            if self._is_object(sparse.object_of(name))
        }

    def _keep(self, tree: Tree, state: _State | None, said: _Said) -> _State:
        """Store and return what was said of the objects in the slot."""
        before = state or _State("", {}, {})
        objects = {**before.objects, **{name: tuple(w) for name, w in said.objects.items()}}
        # What was compiled again without sparse, sparse has not seen.
        looked = {
            name: seen
            for name, seen in before.sparse.items()
            if sparse.object_of(name) not in said.objects
        } | said.sparse.files
        made = _State(
            tree.tree,
            {
                name: warnings
                for name, warnings in objects.items()
                if name in said.objects or self._is_object(name)
            },
            {n: seen for n, seen in looked.items() if self._is_object(sparse.object_of(n))},
        )
        (self.place.path / _STATE).write_bytes(msgspec.json.encode(made))
        return made

    def _is_object(self, name: str) -> bool:
        return is_left(self.place.objects, self.place.objects / name)

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

    def kernel_doc(self, names: Iterable[str]) -> Looked:
        """Return what the tree's kernel-doc says of files of the tree that is checked out."""
        place = self.place
        files = [name for name in names if name.endswith((".c", ".h")) and self._has(name)]
        if not files:
            return Looked()
        script = next((name for name in _KERNEL_DOC if self._has(name)), None)
        if script is None:
            return Looked(missing="the tree has no kernel-doc")
        done = run(
            [str(place.source / script), "-none", *files],
            cwd=place.source,
            limit_s=_LIMIT_S,
            sandbox=place.sandbox(),
        )
        rows = done.output.splitlines()
        if done.ok:
            return Looked(tuple(warnings_in(rows, place.source, place.objects, errors=True)))
        # With -none it ends with 0 whatever it finds.
        last = next((row for row in reversed(rows) if row.strip()), "")
        return Looked(trouble=f"{script} ended with status {done.status}: {last}")

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

    def _make(self, look_at: Collection[str] = ()) -> Make:
        """Return how make is called; with sparse on the files *look_at*."""
        make = self.place.make(self.log, self.limit_s)
        if not look_at:
            return msgspec.structs.replace(make, options=_W1)
        script = self.place.path / "sparse.sh"
        script.write_text(sparse.script(look_at))
        sandbox = make.sandbox
        if sandbox is not None:
            sandbox = msgspec.structs.replace(sandbox, readable=(*sandbox.readable, script))
        return msgspec.structs.replace(
            make, sandbox=sandbox, options=(*_W1, "C=1", f"CHECK=sh {script}")
        )


class _Said:
    """What make prints, by object; with --output-sync what belongs together comes together."""

    def __init__(self, place: Slot) -> None:
        self._place = place.source, place.objects
        self.latest = ""
        """The object that was compiled last."""
        self.objects: dict[str, list[Warned]] = {}
        self.sparse = sparse.Heard(*self._place)
        self.error = ""

    def hear(self, line: str) -> None:
        if self.sparse.hear(line):
            return
        if match := _OBJECT.match(line):
            self.latest = plain(match[1])
            self.objects[self.latest] = []
            return
        for warned in warnings_in([line], *self._place):
            self.objects.setdefault(self.latest, []).append(warned)
        if self.error:
            return
        if (match := MESSAGE.match(line)) and match["kind"] != "warning":
            self.error = relative(line, *self._place)
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
