# SPDX-License-Identifier: GPL-2.0-only
"""One console line: its printk prefix, where kernel text may begin, and the form of reports."""

from __future__ import annotations

import re
import sys

import msgspec

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
"""A report requests the stacks of other CPUs (lib/nmi_backtrace.c) ..."""
NMI_STACK = "NMI backtrace for cpu "
"""... and each answer begins with this line, under the CPU's own name with PRINTK_CALLER."""

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


class Line(msgspec.Struct, frozen=True):
    """A console line, split from its printk prefix."""

    raw: str
    text: str
    """The text after the last printk prefix; the whole line if it has none."""
    stamp: float | None
    """printk time in seconds; None if the line has none."""
    caller: str
    """``T123`` (task) or ``C1`` (CPU) with PRINTK_CALLER, else empty."""
    kernel: bool
    """Whether the text follows a printk prefix."""


class Title(msgspec.Struct, frozen=True):
    """A title that was found in a line."""

    rule: Rule
    line: Line
    """The line, with its text beginning at the title."""
    location: str
    function: str


def has_stamp(block: bytes, start: int, end: int) -> bool:
    """Return whether a line that begins in ``block[start:end]`` has a time stamp.

    ``block[start]`` is the beginning of a line.
    """
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
    """Return a console line (without newline) in its parts; each byte is one character."""
    raw = data.rstrip(b"\r").decode("latin-1")
    prefixes = list(_PREFIX.finditer(raw))
    if not prefixes:
        level = _LEVEL.match(raw)
        return Line(raw, raw[level.end() :] if level else raw, None, "", False)
    return _after(raw, prefixes[-1])


def readable(text: str) -> str:
    """Return text of :func:`read_line` decoded as UTF-8; invalid bytes become ``\\xNN``."""
    return text.encode("latin-1").decode("utf-8", "backslashreplace")


def find_title(
    line: Line, *, stamped: bool, begins: bool = True, floor: int = 0, limit: int = sys.maxsize
) -> Title | None:
    """Return the title in *line*, or None.

    If kernel text has time stamps (*stamped*), a title follows a prefix, which may be directly
    after user text, or it fills a line from its beginning and is a strict one.  Without time stamps
    a strict title also counts in the middle of a line, because a test may not have finished its
    line; a looser title counts there only directly after other text.

    An overlong line is read in pieces: *begins* is false for all but the first.  Titles before
    *floor* were found in the previous piece.  Titles from *limit* on (with their prefix) are
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
    """Return *title* without what differs between runs: numbers, addresses, offsets, taint."""
    for pattern, by in _VOLATILE:
        title = pattern.sub(by, title)
    return " ".join(title.split())


def bare(function: str) -> str:
    """Return the name of *function* as in the source, without the compiler's suffixes."""
    return _SUFFIX.sub("", function)


def frame(text: str) -> str | None:
    """Return the function of a stack line if it tells something about the fault, else None.

    A return address at the very beginning of a function follows a call that does not return, at
    the end of another function: arm64 prints the name of the function that the linker put there.
    """
    match = _FRAME.match(text)
    if match is None or match["weak"]:
        return None
    if PLUMBING.match(match["name"]) or IDLE.match(match["name"]):
        return None
    return _SUFFIX.sub("", match["name"])


def pointer(text: str) -> tuple[str, str] | None:
    """Return function and ``+offset`` of an instruction pointer in the kernel, else None.

    The position of an idle CPU tells nothing about a fault.
    """
    match = _POINTER.match(text)
    return (match["name"], match["offset"]) if match and not IDLE.match(match["name"]) else None


def taint(text: str) -> str:
    """Return the taint flags in a line, an empty string if there are none."""
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
