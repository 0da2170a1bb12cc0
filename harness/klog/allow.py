# SPDX-License-Identifier: GPL-2.0-only
"""Known messages that may appear: each with a reason, an owner and a last day.

    [[allow]]
    kind = "warning"
    pattern = 'WARNING: CPU: \\d+ PID: \\d+ at mm/gup\\.c:.*'
    message = 'provoked by the test'      # optional: the text of WARN()
    reason = "the test passes a bad address on purpose"
    owner = "someone@example.org"
    until = 2030-01-31

Both patterns must match the whole text.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.klog.model import Finding
from harness.klog.rules import FLOOD, KINDS

_REQUIRED = ("kind", "pattern", "reason", "owner", "until")
_OPTIONAL = ("message",)


@dataclass(frozen=True, slots=True)
class Allowance:
    """One known message.  ``until`` is the last day on which it is allowed."""

    kind: str
    pattern: str
    reason: str
    owner: str
    until: date
    message: str | None = None
    where: str = field(default="", compare=False)
    """File and entry, for messages to the user."""

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
    unused: tuple[Allowance, ...]
    """Entries that matched nothing: perhaps the message is gone and they should be too."""


def apply_allowances(
    findings: Iterable[Finding], allowances: Iterable[Allowance], today: date
) -> Applied:
    """Sort *findings* into those that count and those that are allowed on the day *today*."""
    entries = tuple(allowances)
    remaining: list[Finding] = []
    allowed: list[Allowed] = []
    expired: list[Allowed] = []
    used: set[int] = set()
    for finding in findings:
        matching = [i for i, entry in enumerate(entries) if entry.matches(finding)]
        used.update(matching)
        valid = [i for i in matching if not entries[i].expired(today)]
        if valid:
            allowed.append(Allowed(finding, entries[valid[0]]))
            continue
        remaining.append(finding)
        expired += [Allowed(finding, entries[i]) for i in matching[:1]]
    unused = tuple(entry for i, entry in enumerate(entries) if i not in used)
    return Applied(tuple(remaining), tuple(allowed), tuple(expired), unused)


def load_allowances(path: Path) -> tuple[Allowance, ...]:
    """Read a file of ``[[allow]]`` entries.  Raises UserError naming file, key and expectation."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            "cannot read the allowed kernel messages", where=str(path), why=str(error)
        ) from error
    return parse_allowances(text, str(path))


def parse_allowances(text: str, file: str) -> tuple[Allowance, ...]:
    """Read ``[[allow]]`` entries from TOML; *file* is only named in errors (UserError)."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError("the file is no TOML", where=file, why=str(error)) from error
    stray = sorted(set(document) - {"allow"})
    if stray:
        raise UserError(
            f"unknown key {stray[0]!r}", where=file, hint="entries are tables [[allow]]"
        )
    entries = document.get("allow", [])
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise UserError(
            "key 'allow' must be an array of tables", where=file, hint="write [[allow]]"
        )
    return tuple(_entry(e, f"{file}: allow[{i}]") for i, e in enumerate(entries, start=1))


def _entry(table: Mapping[str, Any], where: str) -> Allowance:
    for key in table:
        if key not in (*_REQUIRED, *_OPTIONAL):
            raise UserError(
                f"unknown key {key!r}",
                where=where,
                hint=f"known: {', '.join(_REQUIRED + _OPTIONAL)}",
            )
    for key in _REQUIRED:
        if key not in table:
            raise UserError(f"key {key!r} is missing", where=where, hint=_HINTS[key])
    texts = {key: _text(table, key, where) for key in table if key != "until"}
    if texts["kind"] not in KINDS - {FLOOD.kind}:
        raise UserError(
            f"key 'kind' is {texts['kind']!r}, which no rule finds or nobody may allow",
            where=where,
            hint=f"one of: {', '.join(sorted(KINDS - {FLOOD.kind}))}",
        )
    for key in ("pattern", "message"):
        if key in texts:
            _check_pattern(texts[key], key, where)
    until = table["until"]
    if not isinstance(until, date) or isinstance(until, datetime):
        raise UserError(f"key 'until' is {until!r}", where=where, hint=_HINTS["until"])
    return Allowance(
        kind=texts["kind"],
        pattern=texts["pattern"],
        reason=texts["reason"],
        owner=texts["owner"],
        until=until,
        message=texts.get("message"),
        where=where,
    )


def _text(table: Mapping[str, Any], key: str, where: str) -> str:
    value = table[key]
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"key {key!r} must be a text and not empty", where=where, hint=_HINTS[key])
    return value


def _check_pattern(pattern: str, key: str, where: str) -> None:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(
            f"key {key!r} is no regular expression", where=where, why=f"{pattern!r}: {error}"
        ) from error
    if compiled.fullmatch("") or compiled.fullmatch("no kernel ever printed this line"):
        raise UserError(
            f"key {key!r} matches everything", where=where, why=repr(pattern), hint=_HINTS[key]
        )


_HINTS = {
    "kind": "the kind of the finding, as the report shows it",
    "pattern": "a regular expression for the whole title, such as 'WARNING: .* at mm/gup\\.c:.*'",
    "message": "a regular expression for the whole text of WARN()",
    "reason": "why this message may appear; one sentence",
    "owner": "who removes the entry; a name or an address",
    "until": "the last day, as a TOML date without quotes: 2030-01-31",
}
