# SPDX-License-Identifier: GPL-2.0-only
"""Which directory a suite's name means."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.errors import UserError
from harness.process import run
from harness.project import SuiteTable
from harness.suites import expectations, settings
from harness.suites.expectations import Expectations
from harness.suites.settings import Settings

SELFTESTS = "tools/testing/selftests"
_TREE = "tree:"


@dataclass(frozen=True)
class SuiteSource:
    """Where a suite's sources are."""

    name: str
    """Names the suite in test names; holds no ``:`` or ``/``."""
    target: str
    """The directory's path below ``tools/testing/selftests`` when it is built."""
    directory: Path | None
    """A directory outside the kernel tree; None for a suite of the tree itself."""
    programs: tuple[str, ...] = ()
    """Only these programs; none named means all."""
    expectations: Expectations = field(default_factory=Expectations)
    """What is known to go wrong."""
    expectations_file: Path | None = None
    """Where that stands; None where nothing does."""
    settings: Settings = field(default_factory=Settings)
    """What its programs need of a guest."""
    settings_file: Path | None = None
    """Where that stands; None where nothing does."""

    def check_programs(self, names: Sequence[str]) -> None:
        """Raise UserError where one of the files speaks of a program that is not in *names*."""
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
    """Return the suite that *wanted* means.

    In this order: a suite of the project file, a directory (relative to *working_dir*), a suite of
    the kernel tree at *commit*, with or without ``tree:`` before its name.  Raises UserError where
    it is none of these, where the directory is not in kselftest layout, and for mistakes in its
    expectations and settings.
    """
    if wanted in known:
        table = known[wanted]
        if table.path.startswith(_TREE):
            source = _in_tree(wanted, table.path, repo, commit, table.programs)
        else:
            source = _directory(wanted, project_dir / table.path, table.programs)
        if table.expectations is not None:
            source = _expecting(source, project_dir / table.expectations)
        if table.settings is not None:
            source = _needing(source, project_dir / table.settings)
        return source
    if not wanted.startswith(_TREE) and (working_dir / wanted).is_dir():
        directory = (working_dir / wanted).resolve()
        return _directory(directory.name, directory, ())
    try:
        target = wanted.removeprefix(_TREE)
        return _in_tree(target.replace("/", "."), _TREE + target, repo, commit, ())
    except UserError:
        close = difflib.get_close_matches(wanted, known, n=1)
        raise UserError(
            f"there is no suite '{wanted}'",
            where=f"{working_dir / wanted}, and {SELFTESTS} of the kernel tree",
            why=f"suites of the project: {', '.join(known) or 'none'}",
            hint=f"did you mean '{close[0]}'?" if close else "name a directory with a Makefile",
        ) from None


def _directory(name: str, directory: Path, programs: tuple[str, ...]) -> SuiteSource:
    directory = directory.resolve()
    makefile = directory / "Makefile"
    try:
        text = makefile.read_text(errors="replace")
    except OSError as error:
        raise UserError(
            f"the suite '{name}' has no Makefile that can be read",
            where=str(makefile),
            why=str(error),
            hint="a suite has kselftest layout: Documentation/dev-tools/kselftest.rst",
        ) from None
    if "lib.mk" not in text:
        raise UserError(
            f"the suite '{name}' is not in kselftest layout",
            where=str(makefile),
            why="its Makefile does not include ../lib.mk",
            hint="see Documentation/dev-tools/kselftest.rst, 'Contributing new tests'",
        )
    source = SuiteSource(name, directory.name, directory, programs)
    if (known := directory / expectations.FILE_NAME).exists():
        source = _expecting(source, known)
    if (needs := directory / settings.FILE_NAME).exists():
        source = _needing(source, needs)
    return source


def _expecting(source: SuiteSource, file: Path) -> SuiteSource:
    """Return *source* with what *file* says of it; UserError for a file that is not there."""
    return replace(source, expectations=expectations.load(file), expectations_file=file)


def _needing(source: SuiteSource, file: Path) -> SuiteSource:
    return replace(source, settings=settings.load(file), settings_file=file)


def _in_tree(
    name: str, path: str, repo: Path, commit: str, programs: tuple[str, ...]
) -> SuiteSource:
    target = path.removeprefix(_TREE).strip("/")
    makefile = f"{SELFTESTS}/{target}/Makefile"
    if ".." in target.split("/") or not exists(repo, commit, makefile):
        raise UserError(
            f"the suite '{name}' is not in this kernel tree",
            where=f"{makefile} at commit {commit[:12]}",
        )
    return SuiteSource(name, target, None, programs)


def exists(repo: Path, commit: str, path: str) -> bool:
    """Whether *path* is in the tree of *commit*."""
    argv = ["git", f"--git-dir={repo}", "cat-file", "-e", f"{commit}:{path}"]
    return run(argv, limit_s=60).ok
