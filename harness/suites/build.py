# SPDX-License-Identifier: GPL-2.0-only
"""Building a suite: static, against the kernel's own headers, program by program.

The kernel tree stays clean: a *stage* mirrors it by symbolic links, with the suite's directory as a
copy in its place below ``tools/testing/selftests``.  A program that does not build is a result of
its own and does not keep the others from running.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness.errors import UserError
from harness.kbuild import Kernel, Slot, toolchain
from harness.process import check, run
from harness.progress import Progress
from harness.series import Tree
from harness.source import worktree
from harness.store import Store, digest
from harness.suites import expectations, sysroot
from harness.suites.find import SELFTESTS, SuiteSource
from harness.suites.sources import copy, digest_sources

_RECIPE = "2"
_ERROR = re.compile(r"^(?:\S+:\d+(?::\d+)?: (?:fatal )?error: .+|.*undefined reference to .+)")
_LIST = "harness-list"
_VARIABLES = (
    "TEST_GEN_PROGS",
    "TEST_CUSTOM_PROGS",
    "TEST_PROGS",
    "TEST_GEN_PROGS_EXTENDED",
    "TEST_PROGS_EXTENDED",
    "TEST_GEN_FILES",
    "TEST_FILES",
)


class Program(msgspec.Struct, frozen=True):
    """A program that was built."""

    name: str
    """As in the test's name: the file's name without its directory."""
    path: str
    """Relative to the suite's directory."""
    script: bool = False
    """Whether it needs an interpreter, which a sealed guest does not have."""


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
    tools = check(
        run(["git", f"--git-dir={tree.repo}", "rev-parse", f"{tree.commit}:tools"], limit_s=60),
        "the kernel tree has no tools directory",
    ).output.strip()
    key = digest(
        _RECIPE,
        tools,
        kernel.meta.headers_digest,
        toolchain.identify().identity,
        source.target,
        *source.programs,
        # What is expected of a program does not change it.
        digest_sources(source.directory, but=expectations.FILE_NAME) if source.directory else "",
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
        output.mkdir()
        log = out / "build.log"
        flags = " ".join(sysroot.compiler_flags(self.kernel.headers, libc))
        make = [
            "make",
            "-C",
            str(directory),
            f"OUTPUT={output}",
            f"CC=gcc -static {flags}",
            f"KHDR_INCLUDES=-isystem {self.kernel.headers}",
            f"ARCH={toolchain.ARCH}",
            f"-j{toolchain.jobs()}",
        ]
        lists = self._lists(make, output)
        compiled = _by_name(lists["TEST_GEN_PROGS"] + lists["TEST_CUSTOM_PROGS"])
        scripts = _by_name(lists["TEST_PROGS"])
        targets = ["all"]
        if self.source.programs:
            self._check_wanted([*compiled, *scripts])
            compiled = {name: compiled[name] for name in self.source.programs if name in compiled}
            scripts = {name: scripts[name] for name in self.source.programs if name in scripts}
            files = lists["TEST_GEN_FILES"] + lists["TEST_GEN_PROGS_EXTENDED"]
            targets = [str(output / path) for path in [*compiled.values(), *files]]
        log.touch()
        run(
            [*make, "-k", *targets],
            env={"MAKEFLAGS": ""},
            limit_s=self.limit_s,
            log=log,
            on_line=lambda line: tell(line.split(" ")[0]),
        )
        programs, broken = [], []
        for name, path in compiled.items():
            if (output / path).is_file():
                programs.append(Program(name, path))
            else:
                broken.append(BrokenProgram(name, self._why(make, output / path)))
        programs += [Program(name, path, script=True) for name, path in scripts.items()]
        self._pack(directory, output, lists, out / "files")
        meta = _Meta(_timeout(directory / "settings"), tuple(programs), tuple(broken))
        (out / "suite.json").write_bytes(msgspec.json.encode(meta))

    def _lists(self, make: list[str], output: Path) -> dict[str, list[str]]:
        """Ask the Makefile what it builds."""
        infos = "".join(f"$(info {_LIST} {name} $({name}))" for name in _VARIABLES)
        done = run([*make, "-s", f"--eval={_LIST}: ; @:{infos}", _LIST], limit_s=120)
        if not done.ok:
            raise UserError(
                f"the Makefile of the suite '{self.source.name}' does not work",
                where=str(self.source.directory or f"{SELFTESTS}/{self.source.target}"),
                why="\n".join(done.output.splitlines()[-10:]),
            )
        lists: dict[str, list[str]] = {name: [] for name in _VARIABLES}
        for line in done.output.splitlines():
            marker, _, rest = line.partition(" ")
            if marker == _LIST:
                name, *values = rest.split()
                # Lists may repeat a name, and lib.mk puts the output directory before some.
                lists[name] = list(
                    dict.fromkeys(value.removeprefix(f"{output}/") for value in values)
                )
        return lists

    def _why(self, make: list[str], program: Path) -> str:
        """Build one program alone, for the first error that is its own."""
        done = run([*make, "-j1", str(program)], env={"MAKEFLAGS": ""}, limit_s=self.limit_s)
        lines = done.output.splitlines()
        first = next((line for line in lines if _ERROR.match(line)), "")
        if not first:
            first = next((line for line in lines if "***" in line or "rror" in line), "")
        stage = str(Path(make[2]).parents[3])
        return (first or "make did not build it and gave no error").replace(f"{stage}/", "")

    def _check_wanted(self, there: list[str]) -> None:
        for name in self.source.programs:
            if name not in there:
                raise UserError(
                    f"the suite '{self.source.name}' has no program '{name}'",
                    where=f"harness.toml: suites.{self.source.name}.programs",
                    why=f"programs there: {', '.join(there)}",
                )

    def _pack(
        self, directory: Path, output: Path, lists: dict[str, list[str]], files: Path
    ) -> None:
        """Copy everything that ``make install`` would, which keeps links as well."""
        files.mkdir()
        listed = {name for names in lists.values() for name in names}
        for names in lists.values():
            for name in names:
                for found in (output / name, directory / name):
                    if found.is_file():
                        target = files / name
                        target.parent.mkdir(parents=True, exist_ok=True)
                        # Many names of one program shall not become many programs; a link to
                        # what is not packed would lead nowhere in the guest.
                        kept = found.is_symlink() and _beside(name, found.readlink()) in listed
                        shutil.copy2(found, target, follow_symlinks=not kept)
                        break
                    if found.is_dir():
                        shutil.copytree(found, files / name, dirs_exist_ok=True)
                        break


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
