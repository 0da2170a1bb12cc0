# SPDX-License-Identifier: GPL-2.0-only
"""``harness.toml``: what a project tests, on what, and for how long at most.

The file is decoded straight into the frozen structures below, whose defaults are the only
defaults.  An error names the file, the key and what was expected there.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from harness.errors import UserError

FILE_NAME = "harness.toml"
_T = TypeVar("_T")
_Positive = Annotated[float, msgspec.Meta(gt=0)]
_Count = Annotated[int, msgspec.Meta(ge=1)]


class KernelTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the kernel comes from and how it is configured."""

    source: str
    """``debian:PACKAGE[=VERSION]``, a directory, a tarball, or a git URL or path with ``#ref``."""
    config: tuple[str, ...]
    """Fragments ``kernel-configs/NAME.config``, merged in this order over allnoconfig."""
    config_dir: str = "kernel-configs"


class SeriesTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The patch series under test."""

    path: str
    """A directory of ``git format-patch`` files, one such file, or an mbox."""
    upto: _Count | None = None
    """Apply only patches 1 to this one; declares that a missing tail is on purpose."""


class SuiteTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One directory in kselftest layout."""

    path: str
    """A directory, or ``tree:NAME`` for ``tools/testing/selftests/NAME`` of the kernel tree."""
    programs: tuple[str, ...] = ()
    """Only these programs; none named means all that the suite builds."""
    default: bool = True
    """Whether a run without ``--suite`` includes it."""


class GuestTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The virtual machine."""

    cpus: _Count = 2
    memory_mib: Annotated[int, msgspec.Meta(ge=64)] = 512
    accelerator: Literal["auto", "kvm", "tcg"] = "auto"
    """``auto`` takes KVM where the kernel really boots with it, else TCG."""


class LimitsTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Time limits in seconds."""

    build_s: _Positive = 3600.0
    boot_s: _Positive = 60.0
    test_s: _Positive = 45.0
    """For a suite whose ``settings`` file has no ``timeout=``; kselftest's own default is 45."""


class Project(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    kernel: KernelTable
    series: SeriesTable | None = None
    suites: dict[str, SuiteTable] = {}
    guest: GuestTable = GuestTable()
    limits: LimitsTable = LimitsTable()


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
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            "the project file cannot be read", where=str(path), why=str(error)
        ) from None
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError("the project file is not TOML", where=str(path), why=str(error)) from None
    try:
        for name, table in _suites(tables):
            _convert(path, table, SuiteTable, f"suites.{name}")
        project = _convert(path, tables, Project, "")
    except RecursionError:
        raise UserError("the project file is nested too deeply", where=str(path)) from None
    for name in project.suites:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
            raise UserError(
                "a suite's name may hold letters, digits, '_', '.' and '-' only",
                where=f"{path}: [suites.{name}]",
                hint="test names are SUITE:PROGRAM/CASE, so ':' and '/' would be ambiguous",
            )
    return project


def _suites(tables: dict[str, Any]) -> list[tuple[str, object]]:
    suites = tables.get("suites")
    return list(suites.items()) if isinstance(suites, dict) else []


def _convert(path: Path, value: object, shape: type[_T], prefix: str) -> _T:
    """Convert *value*, which stands at the key *prefix*, or raise UserError in the user's words."""
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        # msgspec says, for example: "Expected `int`, got `str` - at `$.guest.cpus`".
        what, _, place = str(error).partition(" - at `$")
        inner = place.rstrip("`").lstrip(".").replace("[...]", ".NAME")
        key = ".".join(part for part in (prefix, inner) if part)
    unknown = re.search(r"unknown field `(.+)`", what)
    missing = re.search(r"missing required field `(.+)`", what)
    if missing:
        raise UserError("a required key is missing", where=f"{path}: {_join(key, missing[1])}")
    if unknown:
        known = [field.encode_name for field in msgspec.structs.fields(_table(key))]
        close = difflib.get_close_matches(unknown[1], known, n=1)
        raise UserError(
            "unknown key",
            where=f"{path}: {_join(key, unknown[1])}",
            why=f"expected one of: {', '.join(known)}",
            hint=f"did you mean '{close[0]}'?" if close else "remove it",
        )
    for ours, theirs in _TOML_WORDS.items():
        what = what.replace(f"`{theirs}`", ours)
    choices = _CHOICES.get(key)
    if choices and what.startswith("Invalid enum value"):
        what += f", expected one of: {', '.join(choices)}"
    raise UserError("wrong value", where=f"{path}: {key}", why=what)


_TOML_WORDS = {
    "a string": "str",
    "an integer": "int",
    "a number": "float",
    "a table": "object",
    "an array": "array",
    "true or false": "bool",
}
_CHOICES = {"guest.accelerator": ("auto", "kvm", "tcg")}


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _table(key: str) -> type[msgspec.Struct]:
    """Return the structure behind the dotted *key*."""
    tables: dict[str, type[msgspec.Struct]] = {
        "kernel": KernelTable,
        "series": SeriesTable,
        "suites": SuiteTable,
        "guest": GuestTable,
        "limits": LimitsTable,
    }
    return tables.get(key.split(".")[0], Project)
