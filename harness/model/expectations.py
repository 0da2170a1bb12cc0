# SPDX-License-Identifier: GPL-2.0-only
"""``expectations.toml`` beside a suite: what is known to go wrong, how it looks, and until when.

    [[expect]]
    test = "fstat_test"                             # PROGRAM, or PROGRAM/CASE
    outcome = "crash"                               # fail, timeout, splat or crash
    ends = "exit 1"                                 # how the program, or its guest, ends
    kernel = 'oops: .* in shmem_is_huge'            # what the kernel reports
    at = "test"                                     # when it does; or "boot", before the test
    says = 'terminated unexpectedly by signal 9'    # what fails in the program's own words
    series = ["v10"]                                # names or globs; "none" is no series
    reason = "getattr takes an inode for shmem's that is not; mended in v11"
    owner = "someone@example.org"
    until = 2030-01-31                              # the last day; or posted = true

What is left out is expected not to be seen.  Names are whole names.  A glob (``*``, ``?``, ``[…]``)
matches within one part between slashes.  The file also holds the kernel messages that are allowed;
see :mod:`harness.klog.allow`.
"""

from __future__ import annotations

import difflib
import re
import signal
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import msgspec

from harness import tables
from harness.entries import (
    At,
    Entry,
    OneOrMore,
    check_entry,
    check_not_empty,
    check_pattern,
    each,
)
from harness.errors import UserError
from harness.klog.allow import Allowance, check
from harness.model.events import How
from harness.outcome import Outcome

FILE_NAME = "expectations.toml"
_Bad = Literal["fail", "timeout", "splat", "crash"]


class Expectation(Entry, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry: this test ends so, and that is known.

    All that is seen of the test must be what the keys say.  Several entries for one test are
    alternatives.
    """

    test: str
    """``PROGRAM`` or ``PROGRAM/CASE``; each part between slashes may be a glob."""
    outcome: _Bad | tuple[_Bad, ...]
    """The expected outcome, or a set of possible ones."""
    ends: OneOrMore = ()
    """How the program or its guest ends, see :func:`ending_names`; one of several.  For a whole
    program only, and required there; empty in the journals of old versions."""
    kernel: OneOrMore = ()
    """What the kernel reports: patterns for whole names of reports, or fingerprints.  Each of them
    is seen."""
    also: OneOrMore = ()
    """Patterns for what may appear in addition: reports of the kernel, and assertions."""
    stack: OneOrMore = ()
    """Functions that must all appear in the kernel's stack traces."""
    says: OneOrMore = ()
    """Patterns for parts of assertions: there is one that fails, and each that fails holds one of
    the patterns.  Required for a case; empty in the journals of old versions."""
    cases: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """How many cases the program reports, up to its end; needed where it gives no plan."""
    at: At = "test"
    """When the kernel reports what *kernel* and *also* name; at the other time it reports
    nothing."""
    sometimes: bool = False
    """Whether it fails only sometimes, such as a race; then a pass counts as a pass."""

    HINTS: ClassVar[dict[str, str]] = Entry.HINTS | {
        "test": "PROGRAM or PROGRAM/CASE, as the report names them behind the suite's name",
        "outcome": "fail, timeout, splat or crash",
        "reason": "why it fails; one sentence",
        "ends": "how the program or its guest ends: 'exit N', 'signal SIGNAME', 'timeout', "
        + ", ".join(f"'{how}'" for how in How if how.in_guest)
        + "; `harness report RUN --as-expectations` prints what it was",
        "kernel": "a regular expression for the whole name of a report of the kernel, such as "
        "'oops: .* in shmem_is_huge', or the 16 digits of its fingerprint",
        "also": "like kernel or says, for what may appear in addition",
        "says": "a regular expression for a part of the assertion that fails, such as 'Expected 0 "
        "\\(0\\) == size', or '^$' for a case that says nothing; `harness report RUN "
        "--as-expectations` prints what it was",
        "stack": "a function's name",
        "at": "test, or boot for what the kernel reports before the test",
    }

    @property
    def expected(self) -> tuple[Outcome, ...]:
        """The outcomes as such."""
        return tuple(map(Outcome, each(self.outcome)))

    @property
    def program(self) -> str:
        """Name or glob of the programs."""
        return self.test.partition("/")[0]

    @property
    def case(self) -> str:
        """Name or glob of the cases; empty where the whole program is meant."""
        return self.test.partition("/")[2]

    @property
    def looks(self) -> str:
        """What it expects, as text: ``ends exit 1, kernel 'oops: .*'``."""
        parts = [f"{' or '.join(each(self.ends))}"] if self.ends else []
        parts += ["at boot"] if self.at == "boot" else []
        for key, values in (
            ("kernel", self.kernel),
            ("also", self.also),
            ("stack", self.stack),
            ("says", self.says),
        ):
            parts += [f"{key} '{value}'" for value in each(values)]
        parts += [f"{self.cases} cases"] if self.cases is not None else []
        return ", ".join(parts) or "nothing said"


class Expectations(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    expect: tuple[Expectation, ...] = ()
    allow: tuple[Allowance, ...] = ()

    def dated(self) -> Expectations:
        """Return only those entries that do not hold for what was posted."""
        return Expectations(
            expect=tuple(entry for entry in self.expect if not entry.posted),
            allow=tuple(entry for entry in self.allow if not entry.posted),
        )

    def posted_for(self, series: str) -> int:
        """Return how many entries hold for what was posted as the series of that name."""
        entries: tuple[Entry, ...] = (*self.expect, *self.allow)
        return sum(entry.posted and entry.holds_for(series) for entry in entries)


def matches(pattern: str, name: str) -> bool:
    """Whether *name* matches *pattern*, part by part."""
    wanted, parts = pattern.split("/"), name.split("/")
    return len(wanted) == len(parts) and all(map(fnmatchcase, parts, wanted))


def load(path: Path) -> Expectations:
    """Read *path*.  Raises UserError for a file that cannot be read, and for mistakes in it."""
    found = tables.convert(tables.read(path, "the expectations"), Expectations, str(path))
    for number, entry in enumerate(found.expect):
        _check(entry, f"{path}: expect[{number}]")
    allowed = tuple(
        check(allowance, f"{path}: allow[{number}]") for number, allowance in enumerate(found.allow)
    )
    return msgspec.structs.replace(found, allow=allowed)


def _check(entry: Expectation, where: str) -> None:
    check_not_empty(entry.test, f"{where}.test", entry.HINTS["test"])
    check_entry(entry, where)
    if ":" in entry.program:
        raise UserError(
            "the name has a suite in it",
            where=f"{where}.test",
            why=f"'{entry.test}'; the file belongs to one suite",
            hint=f"write '{entry.test.partition(':')[2]}'",
        )
    if not entry.expected:
        raise UserError(
            "a required key is missing", where=f"{where}.outcome", hint=entry.HINTS["outcome"]
        )
    if entry.case:
        _check_of_case(entry, where)
        if not entry.says:
            raise UserError(
                "a required key is missing", where=f"{where}.says", hint=entry.HINTS["says"]
            )
    elif not entry.ends:
        raise UserError(
            "a required key is missing", where=f"{where}.ends", hint=entry.HINTS["ends"]
        )
    for ending in each(entry.ends):
        if not _is_ending(ending):
            raise UserError(
                f"'{ending}' is not a valid ending",
                where=f"{where}.ends",
                hint=entry.HINTS["ends"],
            )
    for key, values in (("kernel", entry.kernel), ("also", entry.also), ("says", entry.says)):
        for value in each(values):
            check_pattern(value, f"{where}.{key}", entry.HINTS[key], whole=key != "says")
    for name in each(entry.stack):
        if not re.fullmatch(r"[A-Za-z_][\w.$]*", name):
            raise UserError(
                f"'{name}' is not a function name",
                where=f"{where}.stack",
                hint=entry.HINTS["stack"],
            )


def _check_of_case(entry: Expectation, where: str) -> None:
    """Raise UserError if an entry for a case has keys that only a program can have."""
    for key in ("ends", "kernel", "also", "stack", "cases", "at"):
        if getattr(entry, key) not in ((), None, "test"):
            raise UserError(
                "a case says something or fails to; how it ends and what the kernel reports is its "
                "program's",
                where=f"{where}.{key}",
                hint=f"write an entry for '{entry.program}'",
            )
    beyond = set(entry.expected) - {Outcome.FAIL, Outcome.TIMEOUT}
    if beyond:
        raise UserError(
            f"no case ends as {beyond.pop()}: that is for its program",
            where=f"{where}.outcome",
            hint=f"write an entry for '{entry.program}'",
        )


def _is_ending(text: str) -> bool:
    """Whether this is a valid ending of a program or guest."""
    kind, _, rest = text.partition(" ")
    if kind == "exit":
        return rest.isdecimal() and rest.isascii() and str(int(rest)) == rest and int(rest) < 256
    if kind == "signal":
        return rest in signal.Signals.__members__ or bool(re.fullmatch(r"[1-9]\d?", rest))
    return text == "timeout" or text in {how.value for how in How if how.in_guest}


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
        tuple(a for a in found.allow if a.holds_for(series) and matches(a.test, program)),
    )


def named(found: Expectations) -> Sequence[tuple[str, Entry]]:
    """Return all entries with the tests that they name."""
    expected = [(entry.test, entry) for entry in found.expect]
    return [*expected, *((entry.test, entry) for entry in found.allow)]
