# SPDX-License-Identifier: GPL-2.0-only
"""Building a suite: static, against the kernel's own headers, program by program.

The kernel tree stays clean: a *stage* mirrors it by symbolic links, with the suite's directory as a
copy in its place below ``tools/testing/selftests``.  A program that does not build is a result of
its own and does not keep the others from running.
"""

from __future__ import annotations

import difflib
import itertools
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from harness.context import Context
from harness.digest import digest, digest_file
from harness.errors import HarnessError, MachineError, UserError
from harness.kbuild import Kernel, Slot
from harness.model import expectations
from harness.proc.environment import harmless
from harness.proc.git import git, must
from harness.proc.sandbox import Sandbox
from harness.source import worktree
from harness.suites import settings, stdio, sysroot, userland
from harness.suites.built import BrokenProgram, Meta, Program, Suite, read_suite
from harness.suites.files import interpreter, is_elf, real, why_no_file, why_no_program
from harness.suites.find import SELFTESTS, SuiteSource
from harness.suites.helpers import Helpers, Neighbourhood
from harness.suites.making import Making
from harness.suites.packing import Packer
from harness.suites.part import MakefileBroken, Part, first_error, outside
from harness.suites.sources import copy, digest_sources

if TYPE_CHECKING:
    from harness.series import Tree

_RECIPE = "10"
_ABOUT = frozenset({expectations.FILE_NAME, settings.FILE_NAME})
"""Files that describe a suite and are not part of it."""


def build(
    source: SuiteSource,
    kernel: Kernel,
    tree: Tree,
    place: Slot,
    *,
    context: Context,
    limit_s: float,
) -> Suite:
    """Return the suite built for *kernel*, building it if the store has none.

    Raises UserError if its Makefile cannot be read; a program that does not compile, or cannot be
    run, is in :attr:`Suite.broken` instead.
    """
    tools = must(
        git("rev-parse", f"{tree.commit}:tools", repo=tree.repo),
        "the kernel tree has no tools directory",
    ).text
    key = digest(
        _RECIPE,
        tools,
        kernel.meta.headers_digest,
        # That of today: it is in the key by which the kernel was found.
        kernel.meta.toolchain,
        source.target,
        # A trusted run never uses what a stranger's makefiles have built.
        *((place.owner,) if place.owner else ()),
        *source.programs,
        userland.identity(),
        # Expectations do not change a program.
        digest_sources(source.directory, but=_ABOUT) if source.directory else "",
        *(_digest_beside(source.directory) if source.directory else ()),
    )
    work = _Work(source, kernel, tree, place, context, limit_s)
    return read_suite(key, source.name, context.obtain("suite", key, work.build_into))


def build_all(
    sources: Sequence[SuiteSource], build_one: Callable[[SuiteSource], Suite]
) -> list[Suite]:
    """Return the results of *build_one* for *sources*.

    A suite that cannot be built at all has one result, an error that says why, and does not keep
    the others from running; its key is empty.  Raises what *build_one* raises where all are so, and
    for a program that is asked for and not there.
    """
    built: list[Suite] = []
    errors: list[HarnessError] = []
    for source in sources:
        try:
            built.append(build_one(source))
        except (MakefileBroken, MachineError) as error:
            errors.append(error)
            why = error.why.strip().splitlines()
            parts = (error.what, first_error(why) if why else "", error.hint)
            broken = BrokenProgram("Makefile", ": ".join(filter(None, parts)))
            built.append(Suite("", source.name, Path(os.devnull), None, (), (broken,)))
    if errors and len(errors) == len(built):
        raise errors[0]
    return built


def _digest_beside(directory: Path) -> Iterator[str]:
    """Yield what identifies the files beside a suite that its scripts may call."""
    helpers = Helpers((Neighbourhood(directory, directory.parent),))
    helpers.scan((name, directory / name) for name in _files_below(directory))
    for name, path in helpers.found.items():
        yield from (name, digest_file(path))


class _Work(msgspec.Struct, frozen=True):
    source: SuiteSource
    kernel: Kernel
    tree: Tree
    place: Slot
    context: Context
    limit_s: float

    def build_into(self, out: Path) -> None:
        # A program that does not compile for a bit that the headers have lost would stay broken.
        self.context.store.check([("kernel", self.kernel.key)])
        with (
            self.context.lock(self.place.name),
            self.context.store.for_make().scratch("stage") as scratch,
            self.context.step(f"Building the suite {self.source.name}") as step,
        ):
            worktree.checkout(
                self.tree.repo, self.tree.commit, self.place.source, self.context.progress
            )
            stage = scratch / "linux"
            directory, left_out = self._stage(stage)
            libc = sysroot.libc_includes(scratch / "libc")
            headers = self._headers(scratch / "headers")
            flags = [
                *sysroot.compiler_flags(headers, libc),
                *stdio.line_buffers(scratch / "stdio"),
            ]
            sandbox = self._sandbox(scratch)
            part = Part(directory, scratch / "out", headers, " ".join(flags), sandbox=sandbox)
            self._make_in(part, left_out, stage, out, step.update)
            meta = msgspec.json.decode((out / "suite.json").read_bytes(), type=Meta)
            broken = f", {len(meta.broken)} cannot be run" if meta.broken else ""
            step.result(f"{len(meta.programs)} programs{broken}")

    def _sandbox(self, scratch: Path) -> Sandbox | None:
        """Return the sandbox for the makefiles if the kernel tree is a stranger's, else None."""
        if self.place.owner:
            # What it makes set-user-ID there, no other user of this machine shall reach.
            scratch.chmod(0o700)
        return self.place.sandbox(readable=(self.kernel.path,), writable=(scratch,))

    def _stage(self, stage: Path) -> tuple[Path, dict[str, str]]:
        """Mirror the tree by links, with a copy of the suite; return copy and omissions."""
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
            return directory, copy(self.source.directory, directory)
        # Links of the tree lead where they should from the stage too, which mirrors it.
        shutil.copytree(tree.joinpath(*parts), directory, symlinks=True)
        return directory, {}

    def _headers(self, link: Path) -> Path:
        """Return where makefiles find the kernel's headers: at *link* if they would misread it."""
        if harmless(self.kernel.headers):
            return self.kernel.headers
        link.symlink_to(self.kernel.headers)
        return link

    def _make_in(
        self,
        part: Part,
        left_out: dict[str, str],
        stage: Path,
        out: Path,
        tell: Callable[[str], None],
    ) -> None:
        lists = {part: part.lists(self.source.name)}
        # A suite may only consist of subdirectories, such as futex.
        for name in lists[part]["SUBDIRS"]:
            inner = part.below(name)
            if (inner.directory / "Makefile").is_file():
                lists[inner] = inner.lists(self.source.name)
        there = [path for each in lists for path in each.programs(lists[each])]
        self._check_wanted(there)
        named = _names(there)
        stays = tuple(map(real, (stage, part.output))) if part.sandbox else ()
        making = Making(self.limit_s, out / "build.log", tell, stays)
        making.log.touch()
        helpers = self._helpers(part.directory, stage)
        files = out / "files"
        files.mkdir()
        packer = Packer(files, self._bounds(stage, part.output), left_out, helpers)
        # A script may call whatever there is, in any part.
        called = any(self._wanted(each.scripts(lists[each])) for each in lists)
        programs: list[Program] = []
        broken: dict[str, str] = {}
        for each in lists:
            compiled = self._wanted(each.compiled(lists[each]))
            made = making.make(each, compiled, each.helpers(lists[each]), called, self.source)
            packer.pack(each, lists[each])
            broken |= made
            programs += [Program(named[path], path) for path in compiled if path not in made]
            for path in self._wanted(each.scripts(lists[each])):
                reason = self._why_no_script(path, part, left_out)
                if reason := reason or packer.problems.get(path, ""):
                    broken[path] = reason
                else:
                    programs.append(Program(named[path], path))
        helpers.scan((name, files / name) for name in _files_below(files))
        (out / "beside").mkdir()
        helpers.copy(out / "beside", f"{userland.GUEST_ROOT}/suite")
        if not self.source.programs:
            named = _names(packer.problems, named)
            broken = packer.problems | broken
        (out / "root").mkdir()
        if part.sandbox:
            for name in _files_below(files):
                (files / name).chmod((files / name).stat().st_mode & 0o777)
        programs = list(self._equip(programs, files, out / "root", broken, making.log))
        meta = Meta(
            _timeout(part.directory / "settings", making),
            tuple(programs),
            tuple(
                BrokenProgram(_printable(named[path]), _printable(reason))
                for path, reason in broken.items()
            ),
        )
        (out / "suite.json").write_bytes(msgspec.json.encode(meta))

    def _helpers(self, directory: Path, stage: Path) -> Helpers:
        """Return what looks for files beside the suite: in the tree, and beside its own place."""
        bounds = (stage, self.place.source)
        places = [Neighbourhood(directory, stage / SELFTESTS, tuple(map(real, bounds)))]
        if self.source.directory:
            places.append(Neighbourhood(self.source.directory, self.source.directory.parent))
        return Helpers(tuple(places))

    def _bounds(self, stage: Path, output: Path) -> tuple[Path, ...]:
        """Return the directories that links of a suite of the tree may lead into."""
        if self.source.directory and not self.place.owner:
            return ()  # links out of it were followed
        return tuple(map(real, (stage, output, self.place.source)))

    def _why_no_script(self, path: str, part: Part, left_out: dict[str, str]) -> str:
        """Return why a listed file, which is not made, is no program; empty if it is one."""
        if outside(path):
            return f"{path} lies outside of the suite's directory"
        reason = left_out.get(path) or why_no_program(part.directory / path)
        return reason and f"{path} {reason}"

    def _equip(
        self,
        programs: Iterable[Program],
        files: Path,
        root: Path,
        broken: dict[str, str],
        log: Path,
    ) -> Iterator[Program]:
        """Yield *programs* as they run in a guest, with what they need of a user space in *root*.

        Those for which that is not there become *broken*.
        """
        shells = False
        listed = set()
        for program in programs:
            listed.add(program.path)
            path = files / program.path
            if reason := why_no_file(path):
                broken[program.path] = f"{program.path} {reason}"
            elif not is_elf(path):
                runs = interpreter(path)
                shells |= runs in userland.SHELLS
                where = userland.wrap(files, program.path) if runs in userland.SHELLS else ""
                yield replace(program, interpreter=runs, path=where or program.path)
            elif reason := userland.pack_libraries(
                root, path, files, self.place.sandbox(readable=(files,))
            ):
                broken[program.path] = reason
            else:
                yield program
        if shells:
            userland.pack_shell(root)
        for name in _files_below(files):
            path = files / name
            if name in listed or not os.access(path, os.X_OK) or not is_elf(path):
                continue
            # Called by another program, if at all: that says so when it fails.
            sandbox = self.place.sandbox(readable=(files,))
            if reason := userland.pack_libraries(root, path, files, sandbox):
                with log.open("a") as file:
                    file.write(f"{name}: {reason}\n")

    def _wanted(self, paths: list[str]) -> list[str]:
        wanted = self.source.programs
        return [p for p in paths if not wanted or any(_is_called(p, each) for each in wanted)]

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


def _is_called(path: str, wanted: str) -> bool:
    """Whether *wanted*, a name, a path or a glob of either, means the program at *path*."""
    return fnmatchcase(path, wanted) or fnmatchcase(path.rsplit("/", 1)[-1], wanted)


def _files_below(directory: Path) -> list[str]:
    """Return the names of all files below *directory*; links do not count."""
    return [
        path.relative_to(directory).as_posix()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not path.is_symlink()
    ]


def _link_all(source: Path, target: Path, but: str) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for entry in source.iterdir():
        if entry.name not in (but, ".git"):
            (target / entry.name).symlink_to(entry)


def _names(paths: Iterable[str], named: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the name of a test by its path, of *paths* besides those that are *named* already.

    It is the last part of the path, or all parts where another test has that name.
    """
    names = dict(named or {})
    for path in paths:
        if path in names:
            continue
        used = set(names.values())
        name = path.rsplit("/", 1)[-1]
        whole = path.strip("/").replace("/", ".")
        others = (f"{whole}#{number}" for number in itertools.count(2))
        candidates = itertools.chain((name, whole), others)
        names[path] = next(each for each in candidates if each not in used)
    return names


def _printable(text: str) -> str:
    """Return *text* with bytes that are not UTF-8, of a file's name, as ``\\xNN``."""
    return os.fsencode(text).decode(errors="backslashreplace")


def _timeout(settings: Path, making: Making) -> float | None:
    """Return the ``timeout=`` of a kselftest ``settings`` file, in seconds."""
    if not settings.is_file() or making.strays(settings):
        return None
    match = re.search(r"(?m)^\s*timeout\s*=\s*(\d+)\s*$", settings.read_text(errors="replace"))
    return float(match[1]) if match else None
