# SPDX-License-Identifier: GPL-2.0-only
"""One console line: its printk prefix, where kernel text may begin, and what reports look like."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

from harness.klog.rules import IDLE, PLUMBING, RULES, Rule

_STAMP = r"\[ *(?P<stamp>\d+\.\d{6})\]"
_PREFIX = re.compile(
    rf"(?:<\d{{1,3}}>)?(?:{_STAMP}(?:\[ *(?P<caller>[TC]\d+)\])?"
    r"|\[(?=[^\]]{6}) *(?P<only>[TC]\d+)\]) ?"
)
_LEVEL = re.compile(r"<\d{1,3}>")
_STAMPED = re.compile(rb"(?:<\d{1,3}>)?\[ *\d+\.\d{6}\]")
BANNER = re.compile(r"={12,}$")
END_TRACE = "---[ end trace "
END_PANIC = "---[ end Kernel panic"
SENDING_NMI = "Sending NMI from CPU "
"""A report asks other CPUs for their stacks (lib/nmi_backtrace.c) ..."""
NMI_STACK = "NMI backtrace for cpu "
"""... and so begins what each of them answers, under its own name where there is PRINTK_CALLER."""

_FRAME = re.compile(r"\s+(?P<weak>\? )?(?P<name>[A-Za-z_][\w.$]*)\+0x(?!0/)[0-9a-f]+/0x[0-9a-f]+")
_POINTER = re.compile(
    r"(?:[RE]IP: (?:\d{4}:)?|pc : )(?P<name>[A-Za-z_][\w.$]*)(?P<offset>\+0x[0-9a-f]+)/0x"
)
_TAINT = re.compile(r"\bTainted: (?P<flags>[A-Z](?: *\b[A-Z]\b)*)")
_SUFFIX = re.compile(r"\.(isra|constprop|part|cold|llvm)(\.\d+)*")
_VOLATILE = (
    (re.compile(r"\+0x[0-9a-f]+/0x[0-9a-f]+"), ""),
    (re.compile(r"Tainted: (?:[A-Z] *)+(?=\W|$)|Not tainted"), "taint"),
    (re.compile(r"(?<=\b(?:pfn|pte|pmd):)[0-9a-f]+"), "N"),
    (re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{8,}\b|(?<![\w-])\d+s?(?!\w)"), "N"),
    (re.compile(r"\bCPU: N PID: N at |, CPU#N: .*"), ""),
    (_SUFFIX, ""),
)


@dataclass(frozen=True, slots=True)
class Line:
    """A console line after its prefix was read."""

    raw: str
    text: str
    """What follows the last printk prefix; the whole line when there is none."""
    stamp: float | None
    """printk time in seconds; None without."""
    caller: str
    """``T123`` (task) or ``C1`` (CPU) with PRINTK_CALLER, else empty."""
    kernel: bool
    """Whether a printk prefix stands before the text."""


@dataclass(frozen=True, slots=True)
class Title:
    """A title found in a line."""

    rule: Rule
    line: Line
    """The line, its text beginning at the title."""
    location: str
    function: str


def has_stamp(block: bytes, start: int, end: int) -> bool:
    """Whether a line beginning in ``block[start:end]``, which begins with one, has a time stamp."""
    for opening in (b"\n[", b"\n<"):
        at = start - 1
        while at >= start - 1:
            if _STAMPED.match(block, at + 1, end):
                return True
            at = block.find(opening, at + 1, end)
            if at < 0:
                break
    return False


def read_line(data: bytes) -> Line:
    """Take one console line (without newline) apart; each byte is one character."""
    raw = data.rstrip(b"\r").decode("latin-1")
    prefixes = list(_PREFIX.finditer(raw))
    if not prefixes:
        level = _LEVEL.match(raw)
        return Line(raw, raw[level.end() :] if level else raw, None, "", False)
    return _after(raw, prefixes[-1])


def readable(text: str) -> str:
    """Return what :func:`read_line` kept byte by byte as text; no UTF-8 becomes ``\\xNN``."""
    return text.encode("latin-1").decode("utf-8", "backslashreplace")


def find_title(
    line: Line, *, stamped: bool, begins: bool = True, floor: int = 0, limit: int = sys.maxsize
) -> Title | None:
    """Return the title in *line*, or None.

    Where kernel text carries time stamps (*stamped*), a title stands behind a prefix, which may be
    glued to user text, or it fills a line from its beginning and is a strict one.  Without stamps
    a strict title also counts in mid-line, since a test may have left its line unfinished; a
    looser one only where it touches the text before it.

    Of an overlong line only a piece is seen: *begins* is false for all but its first, titles
    before *floor* were found in the piece before, those from *limit* on (with their prefix) are
    left to the next.
    """
    raw = line.raw
    rules = [rule for rule in RULES if rule.needle in raw]
    if not rules:
        return None
    for found in _PREFIX.finditer(raw):
        if found.start() >= limit:
            return None
        here = _after(raw, found)
        for rule in rules if found.end() >= floor else ():
            if match := rule.regex.match(here.text):
                return _title(rule, here, match)
    if begins:
        if _PREFIX.match(raw) is not None:
            return None
        level = _LEVEL.match(raw)
        here = Line(raw, raw[level.end() :] if level else raw, None, "", level is not None)
        for rule in rules:
            if (rule.strict or not stamped) and (match := rule.regex.match(here.text)):
                return _title(rule, here, match)
    for rule in rules if not stamped else ():
        match = rule.regex.search(raw, floor) if rule.glue else None
        if match and match.start() < limit and _touches(raw, match.start(), rule):
            here = Line(raw, raw[match.start() :], None, "", False)
            return _title(rule, here, rule.regex.match(here.text) or match)
    return None


def normalise(title: str) -> str:
    """Return *title* without what differs between two runs: numbers, addresses, offsets, taint."""
    for pattern, by in _VOLATILE:
        title = pattern.sub(by, title)
    return " ".join(title.split())


def bare(function: str) -> str:
    """Return the name of *function* as the source has it, without what the compiler added."""
    return _SUFFIX.sub("", function)


def frame(text: str) -> str | None:
    """Return the function of a stack line when it says something about the fault, else None.

    A return address at the very beginning of a function follows a call that does not return, at
    the end of another: arm64 prints the name of whatever the linker put there.
    """
    match = _FRAME.match(text)
    if match is None or match["weak"]:
        return None
    if PLUMBING.match(match["name"]) or IDLE.match(match["name"]):
        return None
    return _SUFFIX.sub("", match["name"])


def pointer(text: str) -> tuple[str, str] | None:
    """Return function and ``+offset`` of an instruction pointer in the kernel, else None.

    Where an idle CPU was says nothing.
    """
    match = _POINTER.match(text)
    return (match["name"], match["offset"]) if match and not IDLE.match(match["name"]) else None


def taint(text: str) -> str:
    """Return the taint flags that a line shows, else an empty string."""
    match = _TAINT.search(text)
    return " ".join(match["flags"].split()) if match else ""


def _after(raw: str, prefix: re.Match[str]) -> Line:
    stamp = prefix["stamp"]
    caller = prefix["caller"] or prefix["only"] or ""
    return Line(raw, raw[prefix.end() :], float(stamp) if stamp else None, caller, True)


def _touches(raw: str, start: int, rule: Rule) -> bool:
    before = raw[start - 1] if start else "a"
    if before in "\"'`":
        return False
    return rule.strict or not before.isspace()


def _title(rule: Rule, line: Line, match: re.Match[str]) -> Title:
    groups = match.groupdict()
    function = groups.get("function") or ""
    if groups.get("file"):
        location = f"{groups['file']}:{groups['lineno']}"
    else:
        location = function + (groups.get("offset") or "")
    return Title(rule, line, location, _SUFFIX.sub("", function))
