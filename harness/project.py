# SPDX-License-Identifier: GPL-2.0-only
"""``harness.toml``: what a project tests, its guests, hosts and time limits.

The file is decoded straight into the frozen structures below, whose defaults are the only
defaults.  An error names the file, the key and what was expected there.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Annotated

import msgspec

from harness.errors import UserError
from harness.model.ids import check_kernel_name
from harness.model.spec import GuestTable, HostTable, LimitsTable, Trust
from harness.tables import convert, read

FILE_NAME = "harness.toml"
LOCAL = "local"
"""The name of this machine among hosts."""
NO_SERIES = "none"
"""The stack that every project has: the unpatched source."""
_Paths = Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
_Content = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$")]


class KernelTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the kernel comes from and how it is configured."""

    source: str | _Paths
    """``debian:PACKAGE[=VERSION]``, a directory, a tarball or its URL with ``#sha256=DIGEST``, or a
    git URL or path with ``#ref``.  Of several, the first that is available."""
    config: tuple[str, ...]
    """Fragments ``kernel-configs/NAME.config``, merged in this order over allnoconfig."""
    config_dir: str = "kernel-configs"
    cc: str = "gcc"
    """The compiler, by its name on the ``PATH`` or its absolute path."""
    trust: Trust | None = None
    """How far the sources are trusted: ``own`` or ``stranger`` (docs/sandbox.md).  None is own for
    what is on this machine and for Debian's packages, and stranger for a URL."""

    @property
    def sources(self) -> tuple[str, ...]:
        """The places of the source, the preferred one first."""
        return (self.source,) if isinstance(self.source, str) else self.source


class SuiteTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One directory in kselftest layout."""

    path: str
    """A directory, or ``kernel:NAME`` for ``tools/testing/selftests/NAME`` of the kernel tree."""
    programs: tuple[str, ...] = ()
    """Only these programs; none named means all that the suite builds."""
    default: bool = True
    """Whether a run without ``--suite`` includes it."""
    expectations: str | None = None
    """The known failures; None is ``expectations.toml`` beside the suite's Makefile."""
    settings: str | None = None
    """What the programs need of a guest; None is ``suite.toml`` beside the suite's Makefile."""


class VariantTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A kernel that is compared with others; missing keys mean the same as without a variant."""

    series: tuple[str, ...] = ()
    """Names of ``stacks``, and paths of series, applied in this order."""
    config: tuple[str, ...] = ()
    source: str | None = None
    cc: str | None = None


class Project(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    series: str = NO_SERIES
    """What a run without ``--series`` applies: a name of ``stacks``, or ``none``."""
    kernel: KernelTable
    stacks: dict[str, _Paths] = {}
    """By name, series that apply one upon the other.  Each is whatever holds a
    series: docs/series.md."""
    posted: dict[str, _Content] = {}
    """By path as in ``stacks``, what a series changes (``Series.content``): entries of
    ``expectations.toml`` with ``posted = true`` hold for that and for nothing else."""
    trust: dict[str, Trust] = {}
    """By path as in ``stacks``, how far a series is trusted if not by how it came."""
    suites: dict[str, SuiteTable] = {}
    variants: dict[str, VariantTable] = {}
    """By name, kernels for ``harness compare --variants``."""
    hosts: dict[str, HostTable] = {}
    """Other machines that can run tests (docs/hosts.md)."""
    guest: GuestTable = GuestTable()
    limits: LimitsTable = LimitsTable()


def host(project: Project, path: Path, name: str) -> HostTable:
    """Return the table of the host *name*; UserError where *path*, the project file, has none."""
    if name in project.hosts:
        return project.hosts[name]
    close = difflib.get_close_matches(name, project.hosts, n=1)
    raise UserError(
        f"there is no host '{name}'",
        where=f"--host {name}",
        why=f"{path} has: {', '.join(project.hosts) or 'none'}",
        hint=f"did you mean '{close[0]}'?"
        if close
        else f'add [hosts.{name if name.isprintable() else "NAME"}] with ssh = "user@machine"',
    )


def find(start: Path) -> Path:
    """Return the ``harness.toml`` of *start* or of the nearest directory above it."""
    for directory in (start, *start.parents):
        if (directory / FILE_NAME).is_file():
            return directory / FILE_NAME
    raise UserError(
        f"no {FILE_NAME} here",
        where=f"{start} and the directories above it",
        hint="run this inside a project, or name the file with --project FILE",
    )


def load(path: Path) -> Project:
    """Read the project file; raises UserError for whatever is wrong in it."""
    tables = read(path, "the project file")
    # One by one, so that an error names the entry and not only the kind of table.
    for key, kind in (
        ("suites", SuiteTable),
        ("hosts", HostTable),
        ("stacks", _Paths),
        ("posted", _Content),
        ("trust", Trust),
        ("variants", VariantTable),
    ):
        entries = tables.get(key)
        for name, entry in entries.items() if isinstance(entries, dict) else ():
            convert(entry, kind, str(path), f"{key}.{name}")
    project = convert(tables, Project, str(path))
    _check_stacks(project, path)
    if project.guest.counted:
        raise UserError(
            "a project cannot ask for counted instructions",
            where=f"{path}: guest.counted",
            why="such guests have one processor, and are for runs that ask what tests cost",
            hint="remove the key, and run the tests with --cost",
        )
    for name in project.variants:
        check_kernel_name(name)
    for name in project.hosts:
        if name == LOCAL or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
            raise UserError(
                f"a host cannot be named '{name}'",
                where=f"{path}: [hosts.{name}]",
                hint=f"letters, digits, '_', '.', '-'; '{LOCAL}' is this machine",
            )
    for name in project.suites:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
            raise UserError(
                "a suite's name may hold letters, digits, '_', '.' and '-' only",
                where=f"{path}: [suites.{name}]",
                hint="test names are SUITE:PROGRAM/CASE, so ':' and '/' would be ambiguous",
            )
    return project


def _check_stacks(project: Project, path: Path) -> None:
    for name in project.stacks:
        if name == NO_SERIES or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", name):
            raise UserError(
                f"a stack cannot be named '{name}'",
                where=f"{path}: stacks.{name}",
                hint="letters, digits, '_', '.', '+', '-'; 'none' is the source without a series",
            )
    paths = [each for paths in project.stacks.values() for each in paths]
    named = [("posted", each) for each in project.posted]
    for key, each in [*named, *(("trust", each) for each in project.trust)]:
        if each not in paths:
            close = difflib.get_close_matches(each, paths, n=1)
            raise UserError(
                f"no stack has the series '{each}'",
                where=f"{path}: {key}",
                why=f"[stacks] has: {', '.join(dict.fromkeys(paths)) or 'nothing'}",
                hint=f"did you mean '{close[0]}'?" if close else "write the path as [stacks] does",
            )
    if project.series != NO_SERIES and project.series not in project.stacks:
        close = difflib.get_close_matches(project.series, project.stacks, n=1)
        raise UserError(
            f"there is no stack '{project.series}'",
            where=f"{path}: series",
            why=f"[stacks] has: {', '.join(project.stacks) or 'nothing'}",
            hint=f"did you mean '{close[0]}'?"
            if close
            else f'add {project.series} = ["path/of/a/series"] to [stacks]',
        )
