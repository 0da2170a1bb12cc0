# SPDX-License-Identifier: GPL-2.0-only
"""Prefixes that tools put before every line: time stamps, log levels, host and program names.

The module does not recognise tools.  It recognises the elements that change from line to line (a
time, a date, an uptime in brackets, a priority); the rest of a prefix is the same in every line.
A prefix counts only if a line after it proves it: a version line, or, at the very beginning of a
log whose first line has the same prefix, another line that only KTAP has.  So an ordinary line that
starts with a time is not read as KTAP.
"""

from __future__ import annotations

import re
from functools import cached_property

import msgspec

from harness.ktap.limits import MAX_PREFIX

PRINTK_STAMP = re.compile(rb"(?:<\d{1,3}>)?\[ {0,8}\d{1,8}\.\d{6}\](?:\[ {0,8}[TC]\d{1,8}\])? ?")
"""The kernel's prefix of its own lines; no other text has it, so it needs no proof."""
_MONTH = rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}"
_DAY = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]{0,6}"
_ZONE = rb"(?:Z|[+-]\d\d:?\d\d|(?!(?:K?TAP|BAIL)\b)[A-Z]{3,5}\b)"
_CLOCK = rb"\d{1,2}:\d\d(?::\d\d)?(?:[.,]\d{1,9}){0,3}"
_DATE = (
    rb"(?:\d{4}-\d\d-\d\d|\d{4}/\d\d/\d\d|\d{4}\.\d\d\.\d\d|\d\d/\d\d/\d{2,4}|\d\d\.\d\d\.\d{2,4}"
    rb"|\d\d-\d\d)"
)
_TIMES = (
    # Thu Nov 26 23:00:00 UTC 2026; Nov 26 23:00:00; 26 Nov 2026 23:00
    rb"(?:" + _DAY + rb",? +)?"
    rb"(?:" + _MONTH + rb" *\d{1,2}|\d{1,2} " + _MONTH + rb")(?:,? \d{4})?,? +"
    rb"" + _CLOCK + rb"(?: ?" + _ZONE + rb")?(?: \d{4}(?=\W))?",
    # 2026-11-26T23:00:00.123456Z; Thu 2026-11-26 23:00:00 UTC; 11-26 23:00:00.123
    rb"(?:" + _DAY + rb",? +)?" + _DATE + rb"[T_ ,]{1,2}" + _CLOCK + rb"(?: ?" + _ZONE + rb")?",
    # 23:00:00.123; 11:00:00 PM
    _CLOCK + rb"(?: ?[AP]M)?",
    # Seconds: 12.345678, +0.000012
    rb"\+?\d{1,10}\.\d{3,9}",
)
_TIME = rb"(?:" + rb"|".join(_TIMES) + rb")"
# [Thu Nov 26 23:00:00 2026], [    3.001], [  +0.001037], [    3.000000 <    0.000012>], [ T1]
_WORD = rb"(?:[\d:.,/+<>@TZC -]|AM\b|PM\b|UTC\b|GMT\b|" + _MONTH + rb"|" + _DAY + rb")"
_BRACKET = rb"\[(?=[^\]]{0,60}\d)" + _WORD + rb"{1,60}\]"
_PRIORITY = rb"<\d{1,3}>\d?(?= |\[|[A-Z])"
_FACILITY = rb"(?:kern|user|mail|daemon|auth|syslog|lpr|news|uucp|cron|authpriv|ftp|local[0-7])"
_LEVEL = rb"(?:emerg|alert|crit|err|warn|warning|notice|info|debug)"
_ORIGIN = _FACILITY + rb" *: *" + _LEVEL + rb" *:"
_ELEMENT = (
    rb"(?:" + _BRACKET + rb"|" + _PRIORITY + rb"|(?<![\w.])(?:" + _TIME + rb"|" + _ORIGIN + rb")"
    rb"(?![\w.]))"
)
# A host and a program after the stamps, as in the system log.
_SENDER = re.compile(rb" ?(?:[\w.-]{1,64} )?[\w./@-]{1,64}(?:\[\d{1,8}\])?:(?= )")


class _Patterns:
    """Patterns that take long to compile: a run needs them only when its first test has ended."""

    @cached_property
    def one(self) -> re.Pattern[bytes]:
        return re.compile(_ELEMENT)

    @cached_property
    def some(self) -> re.Pattern[bytes]:
        return re.compile(_ELEMENT + rb"(?: ?" + _ELEMENT + rb"){0,3}")

    @cached_property
    def timed(self) -> re.Pattern[bytes]:
        return re.compile(_BRACKET + rb"|(?<![\w.])" + _TIME + rb"(?![\w.])")


_PATTERNS = _Patterns()


class Prefix(msgspec.Struct, frozen=True):
    """The prefix of every line of one log; ``shown`` is its text in the first line."""

    shown: bytes
    pattern: re.Pattern[bytes]

    def strip(self, text: bytes) -> bytes | None:
        """Return *text* without the prefix and one blank after it, or None if it has none."""
        found = self.pattern.match(text)
        return text[found.end() :] if found else None


def generalise(prefix: bytes) -> Prefix | None:
    """Return the general form of *prefix*, from one line of a log; None if it is too long.

    A printk stamp at its end is left for the line reader: not every line of a console has one.
    """
    printk = PRINTK_STAMP.search(prefix)
    if printk and not prefix[printk.end() :].strip():
        prefix = prefix[: printk.start()]
    if not prefix.strip() or len(prefix) > MAX_PREFIX:
        return None
    # Indentation of KTAP is part of it; a single blank is not.
    body = prefix.rstrip(b" \t#") or prefix
    blank = prefix[len(body) : len(body) + 1].isspace()
    if not blank:
        body = prefix.rstrip()
    pattern, at = b"", 0
    for found in _PATTERNS.some.finditer(body):
        more = len(_PATTERNS.one.findall(found.group())) - 1
        again = rb"(?: ?" + _ELEMENT + rb"){%d}" % more if more else b""
        pattern += re.escape(body[at : found.start()]) + _ELEMENT + again
        at = found.end()
    pattern += re.escape(body[at:])
    return Prefix(prefix, re.compile(pattern + (rb"[ \t]?" if blank else b"")))


def leading(text: bytes) -> list[bytes]:
    """Return possible prefixes of *text*, shortest first: stamps, and a sender after them.

    The stamps must include a time.
    """
    found = _PATTERNS.some.match(text)
    if found is None or not _PATTERNS.timed.search(found.group()):
        return []
    ends = [found.end()]
    sender = _SENDER.match(text, found.end())
    if sender:
        ends.append(sender.end())
    return [text[: end + 1] if text[end : end + 1].isspace() else text[:end] for end in ends]
