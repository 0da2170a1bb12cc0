# SPDX-License-Identifier: GPL-2.0-only
"""Building a kernel: incremental in a slot that lasts, published as an entry that is final.

A *slot* is a work tree and an object directory for one source and one list of fragments.  Builds
in it are incremental; what comes out is copied into the store under the digest of what went in, so
a kernel that was built once, by any clone on this machine, is never built again.

Building runs the tree's own makefiles on this host, as any kernel build does.  A stranger's run in
a sandbox, in a slot and with a ccache that only versions of the same series share: what they write
there is read by no trusted build, and by no other stranger's.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from harness.context import Context
from harness.digest import digest, digest_tree
from harness.errors import MachineError, UserError
from harness.kbuild import toolchain
from harness.kbuild.configure import check_taken, configure, why_denied
from harness.kbuild.fragments import Fragments
from harness.kbuild.left import IMAGE_BYTES, file_left, not_headers, text_left
from harness.kbuild.make import Make
from harness.kbuild.stale import changed_files, made_from
from harness.kbuild.toolchain import Toolchain
from harness.proc.process import check, run
from harness.proc.sandbox import Sandbox, files_elsewhere
from harness.progress import Step
from harness.source import worktree
from harness.store import Store

if TYPE_CHECKING:
    from harness.series import Tree

_STRANGER = "stranger-"
_RECIPE = "7"
"""Increase it if the same input has to produce another kernel entry."""
_BUILT = re.compile(r"^  (?:CC|AS)\s+(?:\[M\]\s+)?(\S+)")
_DIAGNOSTIC = re.compile(
    r"^(?P<place>[^\s:]+:\d+)(?::\d+)?: (?P<kind>fatal error|error|warning|note): "
)
_MOST_LINES = 20_000
"""Errors and notes of the compiler that are kept."""
_MAKE_ERROR = re.compile(r"^make(?:\[\d+\])?: \*\*\* (?!.*Waiting for unfinished)(.+)")


class DoesNotCompile(UserError):
    """The tree does not compile; *lines* are the compiler's errors and notes, as it wrote them."""

    def __init__(self, lines: Sequence[str], where: str, why: str, log: Path) -> None:
        super().__init__(
            "the kernel does not compile", where=where, why=why, hint=f"the complete log is {log}"
        )
        self.lines = tuple(lines)


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """The description of a kernel in its entry (``kernel.json``)."""

    release: str
    """``make kernelrelease``."""
    build_id: str
    """GNU build ID of vmlinux, in hex; the running kernel shows it in /sys/kernel/notes."""
    commit: str
    tree: str
    config_digest: str
    toolchain: str
    headers_digest: str
    warnings: tuple[str, ...]
    unmet: dict[str, str] = {}
    """Requested options that it did not accept, each with the unmet dependencies."""
    tried: tuple[str, ...] = ()
    """What the makefiles of a stranger said of things that the sandbox has kept from them."""


class Kernel(msgspec.Struct, frozen=True):
    """A finished kernel in the store."""

    key: str
    path: Path
    meta: Meta

    @property
    def image(self) -> Path:
        """The bootable image."""
        return self.path / "bzImage"

    @property
    def vmlinux(self) -> Path:
        """The ELF file with symbols and line numbers."""
        return self.path / "vmlinux"

    @property
    def headers(self) -> Path:
        """The user-space headers of this tree, as ``make headers`` leaves them."""
        return self.path / "include"

    @property
    def config(self) -> Path:
        """The final ``.config``."""
        return self.path / "config"

    def denied(self, fragments: Fragments) -> dict[str, str]:
        """Return for each suite that has a wish in *fragments* which it denies, which and why."""
        return why_denied(fragments, self.config.read_text(), self.meta.unmet)


class Slot(msgspec.Struct, frozen=True):
    """The build directories of one source and one list of fragments."""

    name: str
    path: Path
    ccache: Path
    owner: str = ""
    """Whose code is built there: empty for the user's own, else a digest that the versions of a
    stranger's series have in common."""
    cc: str = toolchain.GCC
    """The compiler of what is built there."""

    def sandbox(
        self, *, readable: tuple[Path, ...] = (), writable: tuple[Path, ...] = ()
    ) -> Sandbox | None:
        """Return what a stranger's commands may see, and *readable* and *writable* besides.

        None for the user's own code, which needs no sandbox.
        """
        if not self.owner:
            return None
        return Sandbox((self.source, *files_elsewhere(self.cc), *readable), writable)

    def make(self, log: Path, limit_s: float) -> Make:
        """Return how the makefiles are called, a stranger's in a sandbox; hold the slot's lock."""
        self.objects.mkdir(exist_ok=True)
        self.ccache.mkdir(exist_ok=True)
        self.request.touch()
        if self.owner:
            # What it makes set-user-ID there, no other user of this machine shall reach.
            self.path.chmod(0o700)
        sandbox = self.sandbox(readable=(self.request,), writable=(self.objects, self.ccache))
        return Make(self.source, self.objects, self.ccache, log, limit_s, sandbox, self.cc)

    @property
    def request(self) -> Path:
        """The requested options, as a file for make."""
        return self.path / "request.config"

    @property
    def source(self) -> Path:
        """The work tree."""
        return self.path / "src"

    @property
    def objects(self) -> Path:
        """The object directory (``O=``)."""
        return self.path / "obj"


def slot(
    store: Store,
    source: str,
    fragments: Fragments,
    lineage: str | None = None,
    purpose: str = "",
    cc: str = toolchain.GCC,
) -> Slot:
    """Return the slot for a source specification (its ``#ref`` does not count) and fragments.

    Another compiler *cc* has one of its own, as it leaves no object as it was.

    One with a *purpose* is for nothing else: builds of kernels do not move its work tree about.

    For a stranger's code *lineage* is what the versions of that series have in common; None is the
    user's own code.
    """
    other = [f"CC={cc}"] if cc != toolchain.GCC else []
    parts = (*fragments.names, *([purpose] if purpose else []), *other)
    name = digest(source.split("#")[0], *parts)[:12]
    if lineage is not None:
        name = f"{_STRANGER}{digest(lineage)[:12]}-{name}"
    path = store.for_make().place("build", name)
    os.utime(path)
    return _slot_at(store, path, cc)


def slots(store: Store) -> list[Slot]:
    """Return all slots; the time of a slot's directory is that of its last use."""
    return [_slot_at(store, path) for path in store.for_make().place("build").iterdir()]


def _slot_at(store: Store, path: Path, cc: str = toolchain.GCC) -> Slot:
    name = f"build-{path.name}"
    if not path.name.startswith(_STRANGER):
        return Slot(name, path, store.place("ccache"), cc=cc)
    owner = path.name.removeprefix(_STRANGER).partition("-")[0]
    return Slot(name, path, path / "ccache", owner, cc)


def build(
    tree: Tree,
    fragments: Fragments,
    place: Slot,
    *,
    context: Context,
    log: Path,
    limit_s: float,
    keep_going: bool = False,
) -> Kernel:
    """Return the kernel of *tree* with *fragments*, building it if the store has none.

    *log* receives the output of make.  Raises UserError when an option that the user asks for is
    dropped, :class:`DoesNotCompile` for a tree that does not, with *keep_going* after all files of
    it were tried; MachineError when the machine fails.
    """
    tools = toolchain.identify(place.cc)
    key = _key(tree, fragments, place, tools)
    work = _Work(tree, fragments, place, tools, context, log, limit_s, keep_going)
    path = context.obtain("kernel", key, work.build_into)
    meta = msgspec.json.decode((path / "kernel.json").read_bytes(), type=Meta)
    kernel = Kernel(key, path, meta)
    # It may have been built for a suite that only wished for what the user demands now.
    check_taken(fragments, kernel.config.read_text(), meta.unmet)
    return kernel


def are_built(wanted: Iterable[tuple[Tree, Fragments, Slot]], context: Context) -> list[bool]:
    """Return of each kernel whether the store has it, so that there is nothing to build."""
    identify = cache(toolchain.identify)
    paths = (context.store.path("kernel", _key(*each, identify(each[2].cc))) for each in wanted)
    return [path.exists() for path in paths]


def _key(tree: Tree, fragments: Fragments, place: Slot, tools: Toolchain) -> str:
    whose = (place.owner,) if place.owner else ()
    return digest(_RECIPE, tree.tree, fragments.digest, tools.identity, toolchain.ARCH, *whose)


def refill(
    kernel: Kernel,
    tree: Tree,
    fragments: Fragments,
    place: Slot,
    *,
    context: Context,
    log: Path,
    limit_s: float,
) -> None:
    """Build *kernel* once more, so that *place* holds the objects that it was linked from.

    Raises what :func:`build` does, and MachineError where another kernel comes out.
    """
    work = _Work(tree, fragments, place, toolchain.identify(place.cc), context, log, limit_s)
    with context.store.scratch("refill") as out:
        work.build_into(out)
        made = build_id(out / "vmlinux", place.sandbox(readable=(out,)))
    if made != kernel.meta.build_id:
        raise MachineError(
            "the rebuilt kernel differs from the original",
            where=str(place.path),
            why=f"build ID {made}, expected {kernel.meta.build_id}",
        )


def move(place: Slot, tree: Tree, context: Context) -> None:
    """Let the work tree of *place* hold *tree* again, after other kernels were built there."""
    with context.lock(place.name):
        worktree.checkout(tree.repo, tree.commit, place.source, context.progress)


def find(store: Store, shown: str) -> Kernel | None:
    """Return the kernel in the store whose build ID is *shown*, in hex, if there is one."""
    for path in sorted((store.root / "entries" / "kernel").glob("*")):
        try:
            meta = msgspec.json.decode((path / "kernel.json").read_bytes(), type=Meta)
        except (OSError, msgspec.MsgspecError):
            continue  # being removed, or of another release
        if meta.build_id == shown and store.find("kernel", path.name):
            return Kernel(path.name, path, meta)
    return None


def load(store: Store, key: str) -> Kernel | None:
    """Return the kernel that is in the store under *key*; None where there is none."""
    path = store.find("kernel", key)
    if path is None:
        return None
    try:
        meta = msgspec.json.decode((path / "kernel.json").read_bytes(), type=Meta)
    except msgspec.MsgspecError:
        return None  # of another release
    return Kernel(key, path, meta)


class _Work(msgspec.Struct, frozen=True):
    """One build in a slot."""

    tree: Tree
    fragments: Fragments
    place: Slot
    tools: Toolchain
    context: Context
    log: Path
    limit_s: float
    keep_going: bool = False

    def build_into(self, out: Path) -> None:
        """Build in the slot and copy the result to *out*."""
        with self.context.lock(self.place.name):
            changed = changed_files(self.place.source, self.tree.commit)
            worktree.checkout(
                self.tree.repo, self.tree.commit, self.place.source, self.context.progress
            )
            make = self.place.make(self.log, self.limit_s)
            unmet = configure(
                make,
                self.tree,
                self.fragments,
                self.tools,
                self.context,
                self.place.owner,
            )
            check_taken(self.fragments, text_left(self.place.objects, ".config"), unmet)
            with self.context.step("Building the kernel") as step:
                warnings = self._compile(make, step, changed)
            with self.context.step("Exporting the kernel's headers"):
                make.must(["headers"], "the kernel's headers cannot be exported")
            self._collect(out, make, warnings, unmet)

    def _compile(self, make: Make, step: Step, changed: list[str] | None) -> list[str]:
        """Build the image; return the warnings.

        *changed* are the files that differ from what was built there before, if that is known.
        """
        count_file = self.place.path / "objects.count"
        from_empty = not (self.place.objects / "vmlinux").exists()
        total: int | None = None
        if not from_empty and changed is not None:
            total = made_from(self.place.objects, self.place.source, changed)
        elif count_file.exists():
            total = int(count_file.read_text())
        warnings: list[str] = []
        first_error: list[str] = []
        lines: list[str] = []
        built, failing = 0, False

        def look(line: str) -> None:
            nonlocal built, failing
            if match := _BUILT.match(line):
                built += 1
                fresh = total is not None and built <= total
                step.update(self._relative(match[1]), done=built, total=total if fresh else None)
            elif match := _DIAGNOSTIC.match(line):
                # A note belongs to what came before it.
                if match["kind"] != "note":
                    failing = match["kind"] != "warning"
                    (first_error if failing else warnings).append(self._relative(line))
                if failing and len(lines) < _MOST_LINES:
                    lines.append(self._relative(line))
            elif (match := _MAKE_ERROR.match(line)) and not first_error:
                first_error.append(match[1])

        done = make.run([*(["--keep-going"] if self.keep_going else []), "bzImage"], look)
        if not done.ok:
            # With -j and several failures, the first is what the others may follow from.
            first = first_error[0] if first_error else f"make ended with status {done.status}"
            kept = [f"the sandbox denied it something: {line}" for line in make.tried]
            why = "\n".join([first, *kept])
            raise DoesNotCompile(lines, first.split(": ")[0], why, self.log)
        if from_empty:
            count_file.write_text(str(built))
        step.result(f"{built} objects" + (f", {len(warnings)} warnings" if warnings else ""))
        return warnings

    def _collect(self, out: Path, make: Make, warnings: list[str], unmet: dict[str, str]) -> None:
        """Copy the files that later rooms need into the entry."""
        objects = self.place.objects
        release = make.release()
        # The content alone: a stranger may have made it set-user-ID.
        image = file_left(objects, "arch/x86/boot/bzImage", IMAGE_BYTES)
        shutil.copyfile(image, out / "bzImage")
        shutil.copyfile(file_left(objects, "vmlinux"), out / "vmlinux")
        (out / "config").write_text(text_left(objects, ".config"))
        if (objects / "usr").is_symlink() or (objects / "usr/include").is_symlink():
            raise UserError("the build left a link in place of the headers", where=str(objects))
        shutil.copytree(objects / "usr/include", out / "include", ignore=not_headers)
        meta = Meta(
            release=release,
            build_id=build_id(out / "vmlinux", self.place.sandbox(readable=(out,))),
            commit=self.tree.commit,
            tree=self.tree.tree,
            config_digest=digest((out / "config").read_bytes()),
            toolchain=self.tools.identity,
            headers_digest=digest_tree(out / "include"),
            warnings=tuple(warnings),
            unmet=unmet,
            tried=tuple(make.tried),
        )
        (out / "kernel.json").write_bytes(msgspec.json.encode(meta))

    def _relative(self, line: str) -> str:
        """Name files as the tree does."""
        for prefix in (f"{self.place.source}/", f"{self.place.objects}/", "../src/"):
            line = line.replace(prefix, "")
        return line


def build_id(vmlinux: Path, sandbox: Sandbox | None = None) -> str:
    """Return the GNU build ID of an ELF file in hex, or an empty string where it has none."""
    done = check(
        run(["readelf", "-n", str(vmlinux)], limit_s=60, sandbox=sandbox), "readelf failed"
    )
    match = re.search(r"Build ID: ([0-9a-f]+)", done.output)
    return match[1] if match else ""
