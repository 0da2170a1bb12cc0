# SPDX-License-Identifier: GPL-2.0-only
"""``mutants.toml``: planted faults that change nothing which can be observed, each with the reason.

    [[equivalent]]
    mutant = "mm/memory.c:do_it: ret = 0; => ;"   # its name in the report
    reason = "ret is 0 there in any case"
    owner = "someone@example.org"
    series = ["v11"]                              # names or globs, as in expectations

A name has the fault's text in it and no line, so an entry holds until the code itself changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import ClassVar

import msgspec

from harness import tables
from harness.entries import check_not_empty
from harness.errors import UserError
from harness.model.mutants import Mutant

FILE_NAME = "mutants.toml"
_WHAT = "the list of equivalent mutants"


class Equivalent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry."""

    mutant: str
    """The whole name of a fault."""
    reason: str
    owner: str
    series: tuple[str, ...] = ("*",)
    """The series for which it holds: what changes nothing in one may matter in another."""

    HINTS: ClassVar[dict[str, str]] = {
        "mutant": "its name, as the report has it: 'FILE:FUNCTION: BEFORE => AFTER'",
        "reason": "why it has no observable effect; one sentence",
        "owner": "who removes the entry; a name or an address",
        "series": 'the series for which it holds: ["v10"]; all, if left out',
    }

    def holds_for(self, series: str) -> bool:
        """Whether it holds for the series of that name."""
        return any(fnmatchcase(series, pattern) for pattern in self.series)

    def __str__(self) -> str:
        return f"{self.reason} ({self.owner})"


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    equivalent: tuple[Equivalent, ...] = ()


def load(path: Path) -> tuple[Equivalent, ...]:
    """Return the entries of the file *path*, none where it does not exist; UserError otherwise."""
    if not path.exists():
        return ()
    found = tables.convert(tables.read(path, _WHAT), _File, str(path)).equivalent
    seen: set[tuple[str, str]] = set()
    for number, entry in enumerate(found, 1):
        where = f"{path}: equivalent[{number}]"
        for key in ("mutant", "reason", "owner"):
            check_not_empty(getattr(entry, key), f"{where}.{key}", entry.HINTS[key])
        if not entry.series or not all(entry.series):
            raise UserError(
                "an entry holds for at least one series",
                where=f"{where}.series",
                hint=entry.HINTS["series"],
            )
        names = {(entry.mutant, series) for series in entry.series}
        if seen & names:
            raise UserError("two entries name the same mutant", where=where, why=entry.mutant)
        seen |= names
    return found


def stale(entries: Iterable[Equivalent], mutants: Iterable[Mutant]) -> tuple[str, ...]:
    """Return a note for each entry that names no mutant of a file in which *mutants* are."""
    known = list(mutants)
    names = {each.name for each in known}
    paths = {each.path for each in known}
    return tuple(
        f"{FILE_NAME}: no mutant is called '{entry.mutant}', so its entry changes nothing"
        for entry in entries
        if entry.mutant not in names and entry.mutant.partition(":")[0] in paths
    )
