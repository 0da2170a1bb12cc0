# SPDX-License-Identifier: GPL-2.0-only
"""Building a kernel: incremental in a slot that lasts, published as an entry that is final.

A *slot* is a work tree and an object directory for one source and one list of fragments.  Builds
in it are incremental; what comes out is copied into the store under the digest of what went in, so
a kernel that was built once, by any clone on this machine, is never built again.

Building runs the tree's own makefiles on this host, as any kernel build does: review a stranger's
series before you build it here.  Only the guest is sealed.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness.digest import digest, digest_tree
from harness.errors import UserError
from harness.kbuild import toolchain
from harness.kbuild.configure import check_taken, configure, why_denied
from harness.kbuild.fragments import Fragments
from harness.kbuild.make import Make
from harness.kbuild.toolchain import Toolchain
from harness.proc.process import check, run
from harness.progress import Progress, Step
from harness.series import Tree
from harness.source import worktree
from harness.store import Store

_RECIPE = "7"
"""Raise it when the same input shall give another kernel entry."""
_BUILT = re.compile(r"^  (?:CC|AS|LD|AR)\s+(?:\[M\]\s+)?(\S+)")
_DIAGNOSTIC = re.compile(r"^(?P<place>[^\s:]+:\d+)(?::\d+)?: (?P<kind>fatal error|error|warning): ")
_MAKE_ERROR = re.compile(r"^make(?:\[\d+\])?: \*\*\* (?!.*Waiting for unfinished)(.+)")


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """What an entry says of its kernel (``kernel.json``)."""

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
    """Requested options that it did not take, each with what is unmet."""


@dataclass(frozen=True)
class Kernel:
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


@dataclass(frozen=True)
class Slot:
    """Where builds of one source and one list of fragments happen."""

    name: str
    path: Path

    @property
    def source(self) -> Path:
        """The work tree."""
        return self.path / "src"

    @property
    def objects(self) -> Path:
        """The object directory (``O=``)."""
        return self.path / "obj"


def slot(store: Store, source: str, fragments: Fragments) -> Slot:
    """Return the slot for a source specification (its ``#ref`` does not count) and fragments."""
    path = store.for_make().place("build", digest(source.split("#")[0], *fragments.names)[:12])
    os.utime(path)
    return _slot_at(path)


def slots(store: Store) -> list[Slot]:
    """Return all slots there are; the time of a slot's directory says when it was last used."""
    return [_slot_at(path) for path in store.for_make().place("build").iterdir()]


def _slot_at(path: Path) -> Slot:
    return Slot(f"build-{path.name}", path)


def build(
    tree: Tree,
    fragments: Fragments,
    place: Slot,
    *,
    store: Store,
    log: Path,
    limit_s: float,
    progress: Progress,
) -> Kernel:
    """Return the kernel of *tree* with *fragments*, building it if the store has none.

    *log* receives the output of make.  Raises UserError when an option that the user asks for is
    dropped or the tree does not compile, MachineError when the machine fails.
    """
    tools = toolchain.identify()
    key = digest(_RECIPE, tree.tree, fragments.digest, tools.identity, toolchain.ARCH)
    work = _Work(tree, fragments, place, tools, store, log, limit_s, progress)
    path = store.obtain("kernel", key, work.build_into, progress)
    meta = msgspec.json.decode((path / "kernel.json").read_bytes(), type=Meta)
    kernel = Kernel(key, path, meta)
    # It may have been built for a suite that only wished for what the user demands now.
    check_taken(fragments, kernel.config.read_text(), meta.unmet)
    return kernel


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


@dataclass(frozen=True)
class _Work:
    """One build in a slot."""

    tree: Tree
    fragments: Fragments
    place: Slot
    tools: Toolchain
    store: Store
    log: Path
    limit_s: float
    progress: Progress

    def build_into(self, out: Path) -> None:
        """Build in the slot and copy the result to *out*."""
        with self.store.lock(self.place.name, self.progress):
            worktree.checkout(self.tree.repo, self.tree.commit, self.place.source, self.progress)
            self.place.objects.mkdir(exist_ok=True)
            make = Make(
                self.place.source,
                self.place.objects,
                self.store.place("ccache"),
                self.log,
                self.limit_s,
            )
            unmet = configure(
                make, self.tree, self.fragments, self.tools, self.store, self.progress
            )
            check_taken(self.fragments, (self.place.objects / ".config").read_text(), unmet)
            with self.progress.step("Building the kernel") as step:
                warnings = self._compile(make, step)
            with self.progress.step("Exporting the kernel's headers"):
                make.must(["headers"], "the kernel's headers cannot be exported")
            self._collect(out, make.release(), warnings, unmet)

    def _compile(self, make: Make, step: Step) -> list[str]:
        """Build the image; return the warnings."""
        count_file = self.place.path / "objects.count"
        total = int(count_file.read_text()) if count_file.exists() else None
        warnings: list[str] = []
        first_error: list[str] = []
        built = 0

        def look(line: str) -> None:
            nonlocal built
            if match := _BUILT.match(line):
                built += 1
                fresh = total is not None and built <= total
                step.update(self._relative(match[1]), done=built, total=total if fresh else None)
            elif match := _DIAGNOSTIC.match(line):
                if match["kind"] == "warning":
                    warnings.append(self._relative(line))
                elif not first_error:
                    first_error.append(self._relative(line))
            elif (match := _MAKE_ERROR.match(line)) and not first_error:
                first_error.append(match[1])

        done = make.run(["bzImage"], look)
        if not done.ok:
            # With -j and several failures, the first is what the others may follow from.
            first = first_error[0] if first_error else f"make ended with status {done.status}"
            raise UserError(
                "the kernel does not compile",
                where=first.split(": ")[0],
                why=first,
                hint=f"the whole log is {self.log}",
            )
        # A change of the configuration makes most of it anew; a change of the source does not.
        if built > (total or 0) // 2:
            count_file.write_text(str(built))
        step.result(f"{built} objects" + (f", {len(warnings)} warnings" if warnings else ""))
        return warnings

    def _collect(self, out: Path, release: str, warnings: list[str], unmet: dict[str, str]) -> None:
        """Copy what later rooms need into the entry."""
        objects = self.place.objects
        shutil.copy2(objects / "arch/x86/boot/bzImage", out / "bzImage")
        shutil.copy2(objects / "vmlinux", out / "vmlinux")
        shutil.copy2(objects / ".config", out / "config")
        shutil.copytree(
            objects / "usr/include",
            out / "include",
            ignore=shutil.ignore_patterns(".*", "Makefile", "headers_check.pl"),
        )
        meta = Meta(
            release=release,
            build_id=build_id(out / "vmlinux"),
            commit=self.tree.commit,
            tree=self.tree.tree,
            config_digest=digest((out / "config").read_bytes()),
            toolchain=self.tools.identity,
            headers_digest=digest_tree(out / "include"),
            warnings=tuple(warnings),
            unmet=unmet,
        )
        (out / "kernel.json").write_bytes(msgspec.json.encode(meta))

    def _relative(self, line: str) -> str:
        """Name files as the tree does."""
        for prefix in (f"{self.place.source}/", f"{self.place.objects}/", "../src/"):
            line = line.replace(prefix, "")
        return line


def build_id(vmlinux: Path) -> str:
    """Return the GNU build ID of an ELF file in hex, or an empty string where it has none."""
    done = check(run(["readelf", "-n", str(vmlinux)], limit_s=60), "readelf failed")
    match = re.search(r"Build ID: ([0-9a-f]+)", done.output)
    return match[1] if match else ""
