# SPDX-License-Identifier: GPL-2.0-only
"""Building a suite: static, against the kernel's own headers, program by program.

The kernel tree stays clean: a *stage* mirrors it by symbolic links, with the suite's directory as a
copy in its place below ``tools/testing/selftests``.  A program that does not build is a result of
its own and does not keep the others from running.
"""

from __future__ import annotations

import difflib
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec
from msgspec.structs import replace

from harness.errors import UserError
from harness.kbuild import Kernel, Slot, toolchain
from harness.progress import Progress
from harness.series import Tree
from harness.source import worktree
from harness.source.git import git, must
from harness.store import Store, digest
from harness.suites import expectations, settings, sysroot, userland
from harness.suites.find import SELFTESTS, SuiteSource
from harness.suites.part import Part
from harness.suites.sources import copy, digest_sources

_RECIPE = "8"
_ABOUT = frozenset({expectations.FILE_NAME, settings.FILE_NAME})
"""Files that say something of a suite and are no part of it."""


class Program(msgspec.Struct, frozen=True):
    """A program that was built."""

    name: str
    """As in the test's name: the file's name without its directory."""
    path: str
    """Relative to the suite's directory."""
    interpreter: str = ""
    """What runs it, for a script: ``sh``, ``python3``, …"""
    dynamic: bool = False
    """Whether it needs shared libraries."""


class BrokenProgram(msgspec.Struct, frozen=True):
    """A program that did not build."""

    name: str
    reason: str
    """The first error, with file and line."""


class _Meta(msgspec.Struct, frozen=True):
    timeout_s: float | None
    programs: tuple[Program, ...]
    broken: tuple[BrokenProgram, ...]


@dataclass(frozen=True)
class Suite:
    """A built suite in the store."""

    key: str
    name: str
    path: Path
    timeout_s: float | None
    """From its ``settings`` file; 0 means no limit, None that it says nothing."""
    programs: tuple[Program, ...]
    broken: tuple[BrokenProgram, ...]

    @property
    def files(self) -> Path:
        """The directory that goes into the guest."""
        return self.path / "files"

    @property
    def root(self) -> Path:
        """What the programs need besides, as it lies below ``/`` in a sealed guest."""
        return self.path / "root"

    @property
    def build_log(self) -> Path:
        """Everything that make printed."""
        return self.path / "build.log"


def build(
    source: SuiteSource,
    kernel: Kernel,
    tree: Tree,
    place: Slot,
    *,
    store: Store,
    limit_s: float,
    progress: Progress,
) -> Suite:
    """Return the suite built for *kernel*, building it if the store has none.

    Raises UserError where its Makefile cannot be read at all, or a link out of its directory cannot
    be followed; a program that does not compile is in :attr:`Suite.broken` instead.
    """
    tools = must(
        git("rev-parse", f"{tree.commit}:tools", repo=tree.repo),
        "the kernel tree has no tools directory",
    ).text
    key = digest(
        _RECIPE,
        tools,
        kernel.meta.headers_digest,
        toolchain.identify().identity,
        source.target,
        *source.programs,
        userland.identity(),
        # What is expected of a program does not change it.
        digest_sources(source.directory, but=_ABOUT) if source.directory else "",
    )
    work = _Work(source, kernel, tree, place, store, limit_s, progress)
    return _read(key, source.name, store.obtain("suite", key, work.build_into, progress))


def load(store: Store, key: str, name: str) -> Suite | None:
    """Return the suite *name* that was built before under *key*, if the store still has it."""
    path = store.find("suite", key)
    try:
        return _read(key, name, path) if path else None
    except msgspec.MsgspecError:
        return None  # of another release


def _read(key: str, name: str, path: Path) -> Suite:
    meta = msgspec.json.decode((path / "suite.json").read_bytes(), type=_Meta)
    return Suite(key, name, path, meta.timeout_s, meta.programs, meta.broken)


@dataclass(frozen=True)
class _Work:
    source: SuiteSource
    kernel: Kernel
    tree: Tree
    place: Slot
    store: Store
    limit_s: float
    progress: Progress

    def build_into(self, out: Path) -> None:
        with (
            self.store.lock(self.place.name, self.progress),
            self.store.scratch("stage") as scratch,
            self.progress.step(f"Building the suite {self.source.name}") as step,
        ):
            worktree.checkout(self.tree.repo, self.tree.commit, self.place.source, self.progress)
            stage = scratch / "linux"
            directory = self._stage(stage)
            libc = sysroot.libc_includes(scratch / "libc")
            self._make_in(directory, scratch / "out", libc, out, step.update)
            meta = msgspec.json.decode((out / "suite.json").read_bytes(), type=_Meta)
            broken = f", {len(meta.broken)} did not build" if meta.broken else ""
            step.result(f"{len(meta.programs)} programs{broken}")

    def _stage(self, stage: Path) -> Path:
        """Mirror the tree by links, with a copy of the suite; return the copy."""
        tree = self.place.source
        parts = f"{SELFTESTS}/{self.source.target}".split("/")
        for depth in range(len(parts)):
            _link_all(tree.joinpath(*parts[:depth]), stage.joinpath(*parts[:depth]), parts[depth])
        # Some makefiles look for the exported headers in the source tree.
        (stage / "usr").unlink(missing_ok=True)
        (stage / "usr").mkdir()
        (stage / "usr/include").symlink_to(self.kernel.headers)
        directory = stage.joinpath(*parts)
        if self.source.directory:
            copy(self.source.directory, directory)
        else:
            # Links of the tree lead where they should from the stage too, which mirrors it.
            shutil.copytree(tree.joinpath(*parts), directory, symlinks=True)
        return directory

    def _make_in(
        self,
        directory: Path,
        output: Path,
        libc: tuple[Path, ...],
        out: Path,
        tell: Callable[[str], None],
    ) -> None:
        flags = " ".join(sysroot.compiler_flags(self.kernel.headers, libc))
        part = Part(directory, output, self.kernel.headers, flags)
        parts = [part]
        lists = {part: part.lists(self.source.name)}
        # A suite may be nothing but a frame around its subdirectories, such as futex.
        for name in lists[part]["SUBDIRS"]:
            inner = Part(directory / name, output / name, self.kernel.headers, flags, f"{name}/")
            if (directory / name / "Makefile").is_file():
                parts.append(inner)
                lists[inner] = inner.lists(self.source.name)
        self._check_wanted([path for each in parts for path in each.programs(lists[each])])
        log = out / "build.log"
        log.touch()
        programs: list[Program] = []
        broken: list[BrokenProgram] = []
        files = out / "files"
        files.mkdir()
        names = _by_name([path for each in parts for path in each.programs(lists[each])])
        named = {path: name for name, path in names.items()}
        # A script may call whatever there is, in any part.
        called = any(self._wanted(each.scripts(lists[each])) for each in parts)
        for each in parts:
            compiled, scripts = each.compiled(lists[each]), each.scripts(lists[each])
            if self.source.programs:
                compiled, scripts = self._wanted(compiled), self._wanted(scripts)
            targets = ["all"]
            if self.source.programs and not called:
                own = [path.removeprefix(each.prefix) for path in compiled]
                helpers = lists[each]["TEST_GEN_FILES"]
                targets = [str(each.output / path) for path in [*own, *helpers]]
            if targets:
                each.make(targets, self.limit_s, log, tell)
            for path in compiled:
                made = output / path
                if not made.is_file():
                    # What there is no static library for can still be had with shared ones.
                    each.make([str(made)], self.limit_s, log, tell, static=False)
                if made.is_file():
                    dynamic = bool(userland.loader(made))
                    programs.append(Program(named[path], path, dynamic=dynamic))
                else:
                    broken.append(BrokenProgram(named[path], each.why(made, self.limit_s)))
            for path in scripts:
                runs = userland.interpreter(directory / path)
                programs.append(Program(named[path], path, interpreter=runs))
            self._pack(each, lists[each], files)
        programs = [
            replace(each, path=userland.wrap(files, each.path))
            if each.interpreter in userland.SHELLS
            else each
            for each in programs
        ]
        root = out / "root"
        root.mkdir()
        dynamic_files = [path for path in _programs_below(files) if userland.loader(path)]
        userland.pack(root, dynamic_files, {each.interpreter for each in programs})
        meta = _Meta(_timeout(directory / "settings"), tuple(programs), tuple(broken))
        (out / "suite.json").write_bytes(msgspec.json.encode(meta))

    def _wanted(self, paths: list[str]) -> list[str]:
        return [p for p in paths if any(_is_called(p, each) for each in self.source.programs)]

    def _check_wanted(self, there: list[str]) -> None:
        for wanted in self.source.programs:
            if any(_is_called(path, wanted) for path in there):
                continue
            names = [path.rsplit("/", 1)[-1] for path in there]
            near = difflib.get_close_matches(wanted.rsplit("/", 1)[-1].strip("*"), names, n=5)
            raise UserError(
                f"the suite '{self.source.name}' has no program '{wanted}'",
                where=str(self.source.directory or f"{SELFTESTS}/{self.source.target}"),
                why=f"programs there: {', '.join(there)}",
                hint=f"near it: {', '.join(near)}" if near else "a glob matches names or paths",
            )

    def _pack(self, part: Part, lists: dict[str, list[str]], files: Path) -> None:
        """Copy everything that ``make install`` would, which keeps links as well."""
        listed = {name for kind, names in lists.items() for name in names if kind != "SUBDIRS"}
        for name in sorted(listed):
            for found in (part.output / name, part.directory / name):
                target = files / f"{part.prefix}{name}"
                if found.is_file():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    # Many names of one program shall not become many programs; a link to what is
                    # not packed would lead nowhere in the guest.
                    kept = found.is_symlink() and _beside(name, found.readlink()) in listed
                    shutil.copy2(found, target, follow_symlinks=not kept)
                    break
                if found.is_dir():
                    shutil.copytree(found, target, dirs_exist_ok=True)
                    break


def _is_called(path: str, wanted: str) -> bool:
    """Whether *wanted*, a name, a path or a glob of either, means the program at *path*."""
    return fnmatchcase(path, wanted) or fnmatchcase(path.rsplit("/", 1)[-1], wanted)


def _programs_below(files: Path) -> list[Path]:
    return [
        path
        for path in sorted(files.rglob("*"))
        if path.is_file() and not path.is_symlink() and path.stat().st_mode & 0o100
    ]


def _beside(name: str, link: Path) -> str:
    """Return where *link* leads from *name*, if to a file beside it, else nothing."""
    return str(Path(name).with_name(link.name)) if len(link.parts) == 1 else ""


def _link_all(source: Path, target: Path, but: str) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for entry in source.iterdir():
        if entry.name not in (but, ".git"):
            (target / entry.name).symlink_to(entry)


def _by_name(paths: list[str]) -> dict[str, str]:
    """Return paths by the name a test gets: the last part, or all parts where that is taken."""
    named: dict[str, str] = {}
    for path in paths:
        name = path.rsplit("/", 1)[-1]
        named[name if name not in named else path.replace("/", ".")] = path
    return named


def _timeout(settings: Path) -> float | None:
    """Return the ``timeout=`` of a kselftest ``settings`` file, in seconds."""
    if not settings.is_file():
        return None
    match = re.search(r"(?m)^\s*timeout\s*=\s*(\d+)\s*$", settings.read_text(errors="replace"))
    return float(match[1]) if match else None
