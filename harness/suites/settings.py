# SPDX-License-Identifier: GPL-2.0-only
"""``suite.toml`` beside a suite: what its programs need of the guest that they run in.

    requires = ["nested-kvm"]           # what every program needs

    [guest]                             # the machine of every program
    numa_nodes = 2

    [program."huge_*"]                  # PROGRAM, or a glob; what it says goes first
    requires = ["kvm"]
    guest = { memory_mib = 4096 }

A program whose need is not met is skipped, with the reason, and no guest is started for it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from harness import tables
from harness.errors import UserError
from harness.model.spec import GuestTable

FILE_NAME = "suite.toml"


class Machine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A suite's settings of its guest; None leaves it to ``[guest]`` of the project file."""

    machine: Literal["q35", "pc", "microvm"] | None = None
    cpus: Annotated[int, msgspec.Meta(ge=1)] | None = None
    memory_mib: Annotated[int, msgspec.Meta(ge=64)] | None = None
    numa_nodes: Annotated[int, msgspec.Meta(ge=1)] | None = None
    confidential: Literal["none", "auto", "tdx", "sev", "sev-snp"] | None = None

    def change(self, guest: GuestTable) -> GuestTable:
        """Return *guest* with these settings."""
        said = {f: getattr(self, f) for f in self.__struct_fields__}
        return msgspec.structs.replace(guest, **{f: v for f, v in said.items() if v is not None})


class Needs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What some programs need."""

    requires: tuple[str, ...] = ()
    """Names of :data:`harness.guest.capabilities.REQUIREMENTS`."""
    guest: Machine = Machine()


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    requires: tuple[str, ...] = ()
    guest: Machine = Machine()
    program: dict[str, Needs] = {}
    """By program: names or globs; if several match, later ones override earlier ones."""

    @property
    def required(self) -> dict[str, tuple[str, ...]]:
        """The requirements, by the key of the file that lists them."""
        named = {f"program.{name}.requires": needs.requires for name, needs in self.program.items()}
        return {"requires": self.requires, **named}

    def of(self, program: str, guest: GuestTable) -> tuple[GuestTable, tuple[str, ...]]:
        """Return the guest of *program*, which is *guest* unless it says more, and its needs."""
        mine = [needs for pattern, needs in self.program.items() if fnmatchcase(program, pattern)]
        guest = self.guest.change(guest)
        for needs in mine:
            guest = needs.guest.change(guest)
        if guest.counted:
            # What two processors do at a time is never the same twice.
            guest = msgspec.structs.replace(guest, cpus=1)
        return guest, tuple(dict.fromkeys([*self.requires, *(r for n in mine for r in n.requires)]))


def load(path: Path) -> Settings:
    """Read *path*.  Raises UserError for a file that cannot be read, and for mistakes in it."""
    read = tables.read(path, "the suite's settings")
    # One by one, so that an error names the entry and not only the kind of table.
    entries = read.get("program")
    for name, entry in entries.items() if isinstance(entries, dict) else ():
        tables.convert(entry, Needs, str(path), f"program.{name}")
    return tables.convert(read, Settings, str(path))


def check_programs(found: Settings, programs: Iterable[str], path: Path) -> None:
    """Raise UserError for an entry that names no program of the suite."""
    names = tuple(programs)
    for pattern in found.program:
        if any(fnmatchcase(name, pattern) for name in names):
            continue
        close = difflib.get_close_matches(pattern, names, n=1)
        raise UserError(
            "an entry matches no program",
            where=f"{path}: program.{pattern}",
            why=f"the suite has: {', '.join(names) or 'nothing'}",
            hint=f"did you mean '{close[0]}'?" if close else "remove the entry",
        )
