# SPDX-License-Identifier: GPL-2.0-only
"""``expectations.toml`` beside a suite: what is known to go wrong, why, and until when.

    [[expect]]
    test = "size_test/size_once.larger_is_eperm"    # PROGRAM, or PROGRAM/CASE
    outcome = "fail"                                # fail, timeout, splat or crash
    series = ["v10"]                                # names or globs; "none" is no series
    reason = "patch 1 lets the size change twice; fixed in v11"
    owner = "someone@example.org"
    until = 2030-01-31                              # the last day

Names are whole names.  A glob (``*``, ``?``, ``[…]``) matches within one part between slashes.  The
file also holds the kernel messages that are allowed; see :mod:`harness.klog.allow`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import ClassVar, Literal

import msgspec

from harness import tables
from harness.errors import UserError
from harness.klog.allow import Allowance, check
from harness.outcome import Outcome

FILE_NAME = "expectations.toml"


class Expectation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry: this test ends so, and that is known."""

    test: str
    """``PROGRAM`` or ``PROGRAM/CASE``; each part between slashes may be a glob."""
    outcome: Literal["fail", "timeout", "splat", "crash"]
    series: tuple[str, ...]
    """The series for which it holds: names or globs."""
    reason: str
    owner: str
    until: date
    """The last day on which it holds."""

    HINTS: ClassVar[dict[str, str]] = {
        "test": "PROGRAM or PROGRAM/CASE, as the report names them behind the suite's name",
        "outcome": "fail, timeout, splat or crash",
        "series": 'the series for which it holds: ["v10"], ["none"] or ["*"]',
        "reason": "why it fails; one sentence",
        "owner": "who removes the entry; a name or an address",
        "until": "the last day, as a TOML date without quotes: 2030-01-31",
    }

    @property
    def expected(self) -> Outcome:
        """The outcome as such."""
        return Outcome(self.outcome)

    @property
    def program(self) -> str:
        """Name or glob of the programs."""
        return self.test.partition("/")[0]

    @property
    def case(self) -> str:
        """Name or glob of the cases; empty where the whole program is meant."""
        return self.test.partition("/")[2]

    def holds_for(self, series: str) -> bool:
        """Whether it holds for the series of that name."""
        return any(fnmatchcase(series, pattern) for pattern in self.series)

    def expired(self, today: date) -> bool:
        """Whether the last day is over."""
        return today > self.until

    def __str__(self) -> str:
        return f"{self.reason} ({self.owner}, until {self.until})"


class Expectations(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    expect: tuple[Expectation, ...] = ()
    allow: tuple[Allowance, ...] = ()


def matches(pattern: str, name: str) -> bool:
    """Whether *name* is what *pattern* means, part by part."""
    wanted, parts = pattern.split("/"), name.split("/")
    return len(wanted) == len(parts) and all(map(fnmatchcase, parts, wanted))


def load(path: Path) -> Expectations:
    """Read *path*.  Raises UserError for a file that cannot be read, and for mistakes in it."""
    found = tables.convert(tables.read(path, "the expectations"), Expectations, str(path))
    for number, entry in enumerate(found.expect):
        where = f"{path}: expect[{number}]"
        _not_empty(where, test=entry.test, reason=entry.reason, owner=entry.owner)
        if not entry.series or not all(entry.series):
            raise UserError(
                "an entry holds for at least one series",
                where=f"{where}.series",
                hint=Expectation.HINTS["series"],
            )
        if ":" in entry.test:
            raise UserError(
                "the name has a suite in it",
                where=f"{where}.test",
                why=f"'{entry.test}'; the file belongs to one suite",
                hint=f"write '{entry.test.partition(':')[2]}'",
            )
    for number, allowance in enumerate(found.allow):
        where = f"{path}: allow[{number}]"
        _not_empty(where, reason=allowance.reason, owner=allowance.owner)
        check(allowance, where)
    return found


def check_programs(found: Expectations, programs: Iterable[str], path: Path) -> None:
    """Raise UserError for an entry that names no program of the suite.

    An entry that matches nothing is a mistake now, or will hide one later: a test that was renamed
    would fail under its new name and the entry would never be missed.
    """
    names = tuple(programs)
    entries = [(f"expect[{n}]", entry.program) for n, entry in enumerate(found.expect)]
    entries += [(f"allow[{n}]", entry.test) for n, entry in enumerate(found.allow)]
    for where, pattern in entries:
        if any(matches(pattern, name) for name in names):
            continue
        close = difflib.get_close_matches(pattern, names, n=1)
        raise UserError(
            "an entry matches no test",
            where=f"{path}: {where}.test",
            why=f"'{pattern}'; the suite has: {', '.join(names) or 'nothing'}",
            hint=f"did you mean '{close[0]}'?" if close else "remove the entry",
        )


def for_program(
    found: Expectations, program: str, series: str
) -> tuple[tuple[Expectation, ...], tuple[Allowance, ...]]:
    """Return the entries that concern *program* under *series*."""
    return (
        tuple(e for e in found.expect if e.holds_for(series) and matches(e.program, program)),
        tuple(a for a in found.allow if matches(a.test, program)),
    )


def expired(found: Sequence[Expectation | Allowance], today: date) -> list[str]:
    """Say which entries have had their day."""
    return [f"{e.test}: {e.reason} (expired on {e.until})" for e in found if e.expired(today)]


def _not_empty(where: str, **texts: str) -> None:
    for key, text in texts.items():
        if not text.strip():
            hints = Expectation.HINTS
            raise UserError("a text must not be empty", where=f"{where}.{key}", hint=hints[key])
