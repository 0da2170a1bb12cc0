# SPDX-License-Identifier: GPL-2.0-only
"""Known messages that may appear: each with a reason, an owner and a last day.

    [[allow]]
    kind = "warning"
    pattern = 'WARNING: CPU: \\d+ PID: \\d+ at mm/gup\\.c:.*'
    message = 'provoked by the test'      # optional: the text of WARN()
    test = "gup_*"                        # optional: only under these programs
    reason = "the test passes a bad address on purpose"
    owner = "someone@example.org"
    until = 2030-01-31

Both patterns must match the whole text.  The entries stand in a suite's ``expectations.toml``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import ClassVar

import msgspec

from harness.errors import UserError
from harness.klog.model import Finding
from harness.klog.rules import FLOOD, KINDS


class Allowance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One known message."""

    kind: str
    pattern: str
    reason: str
    owner: str
    until: date
    """The last day on which it is allowed."""
    message: str | None = None
    test: str = "*"
    """Name or glob of the programs under which it is allowed."""

    HINTS: ClassVar[dict[str, str]] = {
        "kind": "the kind of the finding, as the report shows it",
        "pattern": "a regular expression for the whole title: 'WARNING: .* at mm/gup\\.c:.*'",
        "reason": "why this message may appear; one sentence",
        "owner": "who removes the entry; a name or an address",
        "until": "the last day, as a TOML date without quotes: 2030-01-31",
    }

    def matches(self, finding: Finding) -> bool:
        """Whether kind, whole title and, where asked for, whole message are those of *finding*."""
        return (
            finding.kind == self.kind
            and re.fullmatch(self.pattern, finding.title) is not None
            and (
                self.message is None
                or re.fullmatch(self.message, finding.message, re.DOTALL) is not None
            )
        )

    def expired(self, today: date) -> bool:
        """Whether the last day is over."""
        return today > self.until


@dataclass(frozen=True, slots=True)
class Allowed:
    """A finding that counts no more, and why."""

    finding: Finding
    allowance: Allowance


@dataclass(frozen=True, slots=True)
class Applied:
    """Findings after the allowances."""

    remaining: tuple[Finding, ...]
    allowed: tuple[Allowed, ...]
    expired: tuple[Allowed, ...]
    """Findings an expired entry would have allowed; they are in ``remaining`` too."""


def apply_allowances(
    findings: Iterable[Finding], allowances: Iterable[Allowance], today: date
) -> Applied:
    """Sort *findings* into those that count and those that are allowed on the day *today*."""
    entries = tuple(allowances)
    remaining: list[Finding] = []
    allowed: list[Allowed] = []
    expired: list[Allowed] = []
    for finding in findings:
        matching = [entry for entry in entries if entry.matches(finding)]
        valid = [entry for entry in matching if not entry.expired(today)]
        if valid:
            allowed.append(Allowed(finding, valid[0]))
            continue
        remaining.append(finding)
        expired += [Allowed(finding, entry) for entry in matching[:1]]
    return Applied(tuple(remaining), tuple(allowed), tuple(expired))


def check(allowance: Allowance, where: str) -> Allowance:
    """Return *allowance*, or raise UserError where it cannot match or matches everything."""
    known = sorted(KINDS - {FLOOD.kind})
    if allowance.kind not in known:
        raise UserError(
            f"'{allowance.kind}' is a kind that no rule finds, or that nobody may allow",
            where=f"{where}.kind",
            hint=f"one of: {', '.join(known)}",
        )
    for key, pattern in (("pattern", allowance.pattern), ("message", allowance.message)):
        if pattern is None:
            continue
        try:
            compiled = re.compile(pattern)
        except re.error as error:
            raise UserError(
                "this is no regular expression",
                where=f"{where}.{key}",
                why=f"{pattern!r}: {error}",
            ) from None
        if compiled.fullmatch("") or compiled.fullmatch("no kernel ever printed this line"):
            raise UserError(
                "this pattern matches everything",
                where=f"{where}.{key}",
                why=repr(pattern),
                hint=Allowance.HINTS["pattern"],
            )
    return allowance
