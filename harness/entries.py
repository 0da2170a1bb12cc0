# SPDX-License-Identifier: GPL-2.0-only
"""Common parts of all entries of ``expectations.toml``: reason, owner, end."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, timedelta
from fnmatch import fnmatchcase
from typing import ClassVar, Literal

import msgspec

from harness.errors import UserError

WARNING_DAYS = 30
"""Reports list an entry that ends within so many days."""

OneOrMore = str | tuple[str, ...]
"""A key whose value is one text or an array of texts."""


At = Literal["test", "boot"]
"""When a report of the kernel comes: under a test, or while the test's guest boots."""


def each(value: OneOrMore) -> tuple[str, ...]:
    """Return the texts of a key that may hold one or several."""
    return (value,) if isinstance(value, str) else value


_NOTHING = "\x7f"


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry: it holds until a day, or for series whose content is pinned, without an end."""

    reason: str
    owner: str
    series: tuple[str, ...]
    """The series for which it holds: names or globs."""
    until: date | None = None
    """The last day on which it holds, in UTC; None where it holds for what was posted."""
    posted: bool = False
    """Whether it holds as long as the series is what ``[posted]`` of the project file says."""

    HINTS: ClassVar[dict[str, str]] = {
        "reason": "why; one sentence",
        "owner": "who removes the entry; a name or an address",
        "series": 'the series for which it holds: ["v10"], ["none"] or ["*"]',
        "until": "the last day, as a TOML date without quotes: 2030-01-31; or posted = true, if it "
        "is about a series that does not change any more",
    }

    def holds_for(self, series: str) -> bool:
        """Whether it holds for the series of that name."""
        return any(fnmatchcase(series, pattern) for pattern in self.series)

    def expired(self, today: date) -> bool:
        """Whether the last day is over."""
        return self.until is not None and today > self.until

    def ends_soon(self, today: date) -> bool:
        """Whether it holds today, and for no more than :data:`WARNING_DAYS` days after."""
        if self.until is None or self.expired(today):
            return False
        return self.until - today <= timedelta(days=WARNING_DAYS)

    def __str__(self) -> str:
        how_long = "as posted" if self.until is None else f"until {self.until}"
        return f"{self.reason} ({self.owner}, {how_long})"


def check_entry(entry: Entry, where: str) -> None:
    """Raise UserError where a text is empty, or where it is not clear how long *entry* holds."""
    for key in ("reason", "owner"):
        check_not_empty(getattr(entry, key), f"{where}.{key}", entry.HINTS[key])
    if not entry.series or not all(entry.series):
        raise UserError(
            "an entry holds for at least one series",
            where=f"{where}.series",
            hint=entry.HINTS["series"],
        )
    if entry.until is None and not entry.posted:
        raise UserError(
            "a required key is missing", where=f"{where}.until", hint=entry.HINTS["until"]
        )
    if entry.until is not None and entry.posted:
        raise UserError(
            "an entry has either until or posted = true",
            where=f"{where}.posted",
            hint="remove until or posted",
        )


def check_not_empty(text: str, where: str, hint: str) -> None:
    """Raise UserError where *text* is empty."""
    if not text.strip():
        raise UserError("a text must not be empty", where=where, hint=hint)


def check_pattern(pattern: str, where: str, hint: str, *, whole: bool = True) -> None:
    """Raise UserError where *pattern* is no regular expression, or matches everything.

    *whole* is whether it has to match a whole text, and not only a part of it.  A pattern for what
    is empty (``^$``) is one.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(
            "this is not a regular expression", where=where, why=f"{pattern!r}: {error}"
        ) from None
    # A character that no pattern means, unless it means all of them.
    if compiled.fullmatch(_NOTHING * 40) if whole else compiled.search(_NOTHING):
        raise UserError(
            "this pattern matches everything", where=where, why=repr(pattern), hint=hint
        )


def about_to_end(entries: Iterable[tuple[str, Entry]], today: date) -> list[str]:
    """Return a line for each entry that is over, or soon will be; each comes with a name."""
    lines = []
    for name, entry in entries:
        if entry.expired(today):
            lines.append(f"{name}: {entry.reason} (expired on {entry.until})")
        elif entry.ends_soon(today):
            days = (entry.until - today).days if entry.until else 0
            left = "today" if days == 0 else f"in {days} day{'s' if days > 1 else ''}"
            lines.append(
                f"{name}: {entry.reason} (ends {left}, on {entry.until}; {entry.owner} renews or "
                "removes it)"
            )
    return lines
