# SPDX-License-Identifier: GPL-2.0-only
"""Finds the directory of a suite by its name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from harness.errors import UserError
from harness.foreign import of_os
from harness.model import expectations
from harness.model.expectations import Expectations
from harness.proc.git import git, must
from harness.project import SuiteTable
from harness.suites import settings, sources
from harness.suites.settings import Settings

SELFTESTS = "tools/testing/selftests"
_KERNEL = "kernel:"
_RENAMED = {"mm": "vm", "vm": "mm"}
"""Directories by their other name: Linux 6.3 called vm mm."""


class SuiteSource(msgspec.Struct, frozen=True):
    """The sources of a suite."""

    name: str
    """Names the suite in test names; holds no ``:`` or ``/``."""
    target: str
    """The directory's path below ``tools/testing/selftests`` when it is built."""
    directory: Path | None
    """A directory outside the kernel tree; None for a suite of the tree itself."""
    programs: tuple[str, ...] = ()
    """Only these programs: names, paths or globs; none named means all."""
    expectations: Expectations = msgspec.field(default_factory=Expectations)
    """Its known failures."""
    expectations_file: Path | None = None
    """The file with them; None if there is none."""
    brings_config: bool = False
    """Whether what its ``config`` file asks for is to be in the kernel; the project's own suites
    run on what the project has chosen."""
    settings: Settings = msgspec.field(default_factory=Settings)
    """The needs of its programs."""
    settings_file: Path | None = None
    """The file with them; None if there is none."""

    @property
    def names(self) -> tuple[str, ...]:
        """The name, and also the other one if the kernel has renamed the directory."""
        both = (self.name, self.target, _RENAMED.get(self.target, self.target))
        return tuple(dict.fromkeys(name.replace("/", ".") for name in both))

    def dated(self) -> SuiteSource:
        """Return the suite without the expectations that only hold for a posted series."""
        return msgspec.structs.replace(self, expectations=self.expectations.dated())

    def check_programs(self, names: Sequence[str]) -> None:
        """Raise UserError if one of the files names a program that is not in *names*."""
        if self.expectations_file is not None:
            expectations.check_programs(self.expectations, names, self.expectations_file)
        if self.settings_file is not None:
            settings.check_programs(self.settings, names, self.settings_file)


def find(
    wanted: str,
    known: Mapping[str, SuiteTable],
    *,
    project_dir: Path,
    working_dir: Path,
    repo: Path,
    commit: str,
) -> SuiteSource:
    """Return the suite *wanted*.

    That is a suite of the project file, a directory (relative to *working_dir*), or, with
    ``kernel:`` before its name, one of the kernel tree at *commit*; ``kernel:NAME:GLOB`` has only
    the programs that match.  Raises UserError where it is none of these, where the directory is not
    in kselftest layout, and for mistakes in its expectations and settings.
    """
    if wanted in known:
        table = known[wanted]
        if table.path.startswith(_KERNEL):
            target = table.path.removeprefix(_KERNEL)
            source = _in_tree(wanted, target, repo, commit, table.programs)
        else:
            source = _directory(wanted, project_dir / table.path, table.programs)
        if table.expectations is not None:
            source = _expecting(source, project_dir / table.expectations)
        if table.settings is not None:
            source = _needing(source, project_dir / table.settings)
        return source
    if wanted.startswith(_KERNEL):
        target, _, glob = wanted.removeprefix(_KERNEL).partition(":")
        name = target.strip("/").replace("/", ".")
        found = _in_tree(name, target, repo, commit, (glob,) if glob else ())
        return msgspec.structs.replace(found, brings_config=True)
    if (working_dir / wanted).is_dir():
        directory = (working_dir / wanted).resolve()
        return _directory(directory.name, directory, ())
    close = difflib.get_close_matches(wanted, known, n=1)
    hint = f"did you mean '{close[0]}'?" if close else "name a directory with a Makefile"
    if not close and exists(repo, commit, f"{SELFTESTS}/{wanted}/Makefile"):
        hint = f"the kernel tree has one: write {_KERNEL}{wanted}"
    raise UserError(
        f"there is no suite '{wanted}'",
        where=str(working_dir / wanted),
        why=f"suites of the project: {', '.join(known) or 'none'}",
        hint=hint,
    )


def merge_duplicates(found: Sequence[SuiteSource]) -> list[SuiteSource]:
    """Return *found* without duplicates: the same suite is merged, with all programs of both.

    ``kernel:kvm:a`` and ``kernel:kvm:b`` are one suite of two programs.
    """
    joined: dict[tuple[str, str, Path | None], SuiteSource] = {}
    for each in found:
        key = (each.name, each.target, each.directory)
        before = joined.get(key)
        if before is not None:
            both = dict.fromkeys((*before.programs, *each.programs))
            whole = not (before.programs and each.programs)
            each = msgspec.structs.replace(each, programs=() if whole else tuple(both))
        joined[key] = each
    return list(joined.values())


def _directory(name: str, directory: Path, programs: tuple[str, ...]) -> SuiteSource:
    directory = directory.resolve()
    makefile = directory / "Makefile"
    try:
        text = makefile.read_text(errors="replace")
    except OSError as error:
        raise of_os(
            error,
            f"the suite '{name}' has no Makefile that can be read",
            makefile,
            kind=UserError,
            hint="a suite has kselftest layout: Documentation/dev-tools/kselftest.rst",
        ) from None
    if "lib.mk" not in text:
        raise UserError(
            f"the suite '{name}' is not in kselftest layout",
            where=str(makefile),
            why="its Makefile does not include ../lib.mk",
            hint="see Documentation/dev-tools/kselftest.rst, 'Contributing new tests'",
        )
    sources.check(directory)
    # Below the tree's selftests it has a name that no makefile takes apart.
    target = re.sub(r"[^\w.+-]|^[-.]", "_", directory.name, flags=re.ASCII)
    source = SuiteSource(name, target, directory, programs)
    if (known := directory / expectations.FILE_NAME).exists():
        source = _expecting(source, known)
    if (needs := directory / settings.FILE_NAME).exists():
        source = _needing(source, needs)
    return source


def _expecting(source: SuiteSource, file: Path) -> SuiteSource:
    """Return *source* with the expectations of *file*; UserError if there is no such file."""
    return msgspec.structs.replace(
        source, expectations=expectations.load(file), expectations_file=file
    )


def _needing(source: SuiteSource, file: Path) -> SuiteSource:
    return msgspec.structs.replace(source, settings=settings.load(file), settings_file=file)


def _in_tree(
    name: str, target: str, repo: Path, commit: str, programs: tuple[str, ...]
) -> SuiteSource:
    target = target.strip("/")
    known = [target, *([_RENAMED[target]] if target in _RENAMED else [])]
    for directory in known:
        makefile = f"{SELFTESTS}/{directory}/Makefile"
        if target and ".." not in target.split("/") and exists(repo, commit, makefile):
            return SuiteSource(name, directory, None, programs)
    close = difflib.get_close_matches(target, _targets(repo, commit), n=3)
    raise UserError(
        f"the suite '{target}' is not in this kernel tree",
        where=f"{SELFTESTS}/{target}/Makefile at commit {commit[:12]}",
        hint=f"did you mean {' or '.join(close)}?" if close else f"see {SELFTESTS} of the tree",
    )


def _targets(repo: Path, commit: str) -> list[str]:
    """Return the directories of the tree's selftests."""
    done = git("ls-tree", "-d", "--name-only", f"{commit}:{SELFTESTS}", repo=repo)
    return done.text.split() if done.ok else []


def read_file(repo: Path, commit: str, path: str) -> str | None:
    """Return the text of *path* in the tree of *commit*; None where there is no such file."""
    if not exists(repo, commit, path):
        return None
    done = git("cat-file", "blob", f"{commit}:{path}", repo=repo)
    return must(done, "a file of the tree cannot be read").text


def exists(repo: Path, commit: str, path: str) -> bool:
    """Whether *path* is in the tree of *commit*."""
    return git("cat-file", "-e", f"{commit}:{path}", repo=repo).ok
