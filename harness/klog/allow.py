# SPDX-License-Identifier: GPL-2.0-only
"""Known messages that may appear: each with a reason, an owner and a last day.

An entry covers the reports that it names, as often as it says.  It covers no other report, and no
taint flag whose report is not in the log.

    [[allow]]
    kind = "warning"
    pattern = 'WARNING: CPU: \\d+ PID: \\d+ at mm/gup\\.c:.*'
    message = 'provoked by the test'      # optional: the text of WARN()
    test = "gup_*"                        # optional: only under these programs
    at = "boot"                           # optional: while their guest boots; "test"
    times = 3                             # optional: at most this often in one test; 1
    series = ["v10"]                      # optional: only with these series
    reason = "the test passes a bad address on purpose"
    owner = "someone@example.org"
    until = 2030-01-31

Both patterns must match the whole text.  The entries are in a suite's ``expectations.toml``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from typing import Annotated, ClassVar

import msgspec

from harness.entries import At, Entry, check_entry, check_pattern
from harness.errors import UserError
from harness.klog.model import Finding
from harness.klog.rules import FLOOD, KINDS


class Allowance(Entry, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One known message."""

    kind: str
    pattern: str
    message: str | None = None
    test: str = "*"
    """Name or glob of the programs under which it is allowed."""
    at: At = "test"
    """Whether it appears under the test, or while the test's guest boots."""
    series: tuple[str, ...] = ("*",)
    times: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """How often it may appear in one test, or one boot: all reports together that match.  In a file
    the default is 1.  None, for any number, occurs only in the journals of old versions."""

    HINTS: ClassVar[dict[str, str]] = Entry.HINTS | {
        "kind": "the kind of the finding, as the report shows it",
        "pattern": "a regular expression for the whole title: 'WARNING: .* at mm/gup\\.c:.*'",
        "reason": "why this message may appear; one sentence",
        "at": "test, or boot for the time before the test",
    }

    def matches(self, finding: Finding) -> bool:
        """Return whether kind, whole title and, if given, whole message match *finding*."""
        return (
            finding.kind == self.kind
            and re.fullmatch(self.pattern, finding.title) is not None
            and (
                self.message is None
                or re.fullmatch(self.message, finding.message, re.DOTALL) is not None
            )
        )


class Allowed(msgspec.Struct, frozen=True):
    """A finding that no longer counts, and why."""

    finding: Finding
    allowance: Allowance


class Applied(msgspec.Struct, frozen=True):
    """Findings after the allowances were applied."""

    remaining: tuple[Finding, ...]
    allowed: tuple[Allowed, ...]
    refused: tuple[Allowed, ...]
    """Findings that an entry names but does not cover: it has expired, or they appeared too often.
    They are in ``remaining`` too."""


def apply_allowances(
    findings: Iterable[Finding], allowances: Iterable[Allowance], today: date
) -> Applied:
    """Sort *findings* of one test, or one boot, into those that count and those allowed *today*."""
    left = {n: (entry, entry.times) for n, entry in enumerate(allowances)}
    remaining: list[Finding] = []
    allowed: list[Allowed] = []
    refused: list[Allowed] = []
    for finding in findings:
        matching = [n for n, (entry, _) in left.items() if entry.matches(finding)]
        for n in matching:
            entry, times = left[n]
            if not entry.expired(today) and (times is None or finding.count <= times):
                left[n] = entry, None if times is None else times - finding.count
                allowed.append(Allowed(finding, entry))
                break
        else:
            remaining.append(finding)
            refused += [Allowed(finding, left[n][0]) for n in matching[:1]]
    return Applied(tuple(remaining), tuple(allowed), tuple(refused))


def check(allowance: Allowance, where: str) -> Allowance:
    """Return *allowance* with all defaults; ``times`` is 1 if it is not given.

    Raises UserError if it cannot match, matches everything, or is incomplete.
    """
    check_entry(allowance, where)
    known = sorted(KINDS - {FLOOD.kind})
    if allowance.kind not in known:
        raise UserError(
            f"'{allowance.kind}' is a kind that no rule finds, or one that cannot be allowed",
            where=f"{where}.kind",
            hint=f"one of: {', '.join(known)}",
        )
    for key, pattern in (("pattern", allowance.pattern), ("message", allowance.message)):
        if pattern is not None:
            check_pattern(pattern, f"{where}.{key}", Allowance.HINTS["pattern"])
    return msgspec.structs.replace(allowance, times=allowance.times or 1)
