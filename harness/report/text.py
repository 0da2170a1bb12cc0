# SPDX-License-Identifier: GPL-2.0-only
"""Prepare untrusted text for display: output of a test or a kernel may contain anything."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from harness.judge.assertions import is_assertion
from harness.outcome import Outcome
from harness.visible import visible

Span = tuple[str, str]
"""A piece of a line and its style: one of the keys of ``STYLES``, or empty."""

PATH, COMMAND, HINT, NAME = "path", "command", "hint", "name"
"""Styles of text that people copy, which is not broken anywhere."""

STYLES = {
    PATH: "",
    COMMAND: "",
    HINT: "green",
    "good": "green",
    "bad": "bold red",
    "warn": "yellow",
    "dim": "dim",
    "bold": "bold",
}
"""Styles by meaning, in rich's words."""

_CODES = {HINT: "32", "good": "32", "bad": "1;31", "warn": "33", "dim": "2", "bold": "1"}

LOG_COLUMNS = 120
"""Columns of a line where there is no terminal: what most CI systems show without a wrap."""

WIDEST_LOG = 240
"""Columns of a detailed line in a log; viewers can scroll."""

_KNOWN = re.compile(r"\bknown(?: of the whole program)?: (.*)")
_WHOSE = re.compile(r" \([^()]*, (?:as posted|until [\d-]+)\)")
"""The owner of an entry, and how long it holds."""
_TAG = re.compile(r"^([\w.#-]{1,20}): |\(([\w.#-]{1,20})\)$")
_TIMES = ((3600.0, "h", 60.0, "m"), (60.0, "m", 1.0, "s"))


def one_line(text: str, limit: int = 500) -> str:
    """Return *text* printable, on one line, and at most *limit* characters long."""
    line = " ".join(visible(text[: 4 * limit]).split())
    return line if len(line) <= limit else line[: limit - 3].rstrip() + "..."


def short(path: Path, here: Path) -> str:
    """Return *path* as a person in the directory *here* would write it."""
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def cut_line(line: str, limit: int = 500) -> str:
    """Return a printable *line*, its end left out beyond *limit* characters."""
    return line if len(line) <= limit else f"{line[:limit]} [... {len(line) - limit} characters]"


def columns(text: str) -> int:
    """Return how many columns of a terminal the printable line *text* takes.

    Most East Asian characters take two, combining ones none.
    """
    if text.isascii():
        return len(text)
    return sum(map(_columns_of, text))


def _columns_of(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me") or "\u1160" <= char <= "\u11ff":
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def pad(text: str, width: int) -> str:
    """Return the printable line *text* with blanks behind it up to *width* columns."""
    return text + " " * (width - columns(text))


def fit(text: str, width: int) -> str:
    """Return the printable line *text*, or its beginning and ``...`` in *width* columns."""
    if columns(text) <= width:
        return text
    room, kept = max(0, width - 3), 0
    for char in text:
        room -= _columns_of(char)
        if room < 0:
            break
        kept += 1
    return text[:kept].rstrip() + "..."[: max(0, width)]


def known_as(reason: str) -> str:
    """Return what the known failure behind *reason* is called, in a word if it has one.

    Entries of ``expectations.toml`` name it as ``C6: what goes wrong`` or ``what goes wrong (C6)``;
    of others it is the whole reason.  Empty where *reason* is that of no entry.
    """
    known = _KNOWN.search(one_line(reason, 2000))
    if known is None:
        return ""
    said = _WHOSE.split(known[1], maxsplit=1)[0]
    tag = _TAG.search(said)
    return (tag[1] or tag[2]) if tag else said


def cut(text: str, limit: int) -> str:
    """Return *text*, or its head and tail of about *limit* characters with a line between.

    That line says how many characters are gone.  The tail gets two thirds, for a program's last
    words tell most.
    """
    if len(text) <= limit:
        return text
    head = text[: limit // 3]
    tail = text[len(text) - (limit - limit // 3) :]
    gone = len(text) - len(head) - len(tail)
    return f"{head}\n[... {gone} characters left out ...]\n{tail}"


def assertion(text: str, lines: int = 8) -> tuple[list[str], int]:
    """Return the lines of *text* that tell what was asserted, and how many lines are left out.

    They start at the first line that is an assertion, or one line above where that is a heading
    (KVM's selftests print ``==== Test Assertion Failure ====``).  Where there is none, they are the
    last lines.
    """
    every = [line.rstrip() for line in visible(text).strip("\n").split("\n")]
    every = [line for line in every if line]
    start = next((n for n, line in enumerate(every) if is_assertion(line)), None)
    if start is None:
        start = max(0, len(every) - lines)
    elif start and every[start - 1].lstrip("# ").startswith("==="):
        start -= 1
    shown = every[start : start + lines]
    return shown, len(every) - len(shown)


def duration(seconds: float | None) -> str:
    """Return *seconds* as ``0.3s``, ``12s``, ``2m31s`` or ``1h02m``; empty for None."""
    if seconds is None:
        return ""
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    for unit, name, part, part_name in _TIMES:
        if whole >= unit:
            return f"{int(whole // unit)}{name}{int(whole % unit // part):02d}{part_name}"
    raise AssertionError(seconds)


def count(number: int, noun: str, plural: str = "") -> str:
    """Return ``1 test`` or ``13 tests``."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def tally(counts: dict[Outcome, int]) -> str:
    """Return ``40 pass, 1 fail``: pass first, then from bad to good."""
    order = sorted(counts, key=lambda o: (o is not Outcome.PASS, -o.severity))
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in order)


def count_outcomes(outcomes: Iterable[Outcome]) -> dict[Outcome, int]:
    """Return how often each of *outcomes* occurs."""
    counts: dict[Outcome, int] = {}
    for outcome in outcomes:
        counts[outcome] = counts.get(outcome, 0) + 1
    return counts


def paint(spans: Iterable[Span], colour: bool) -> str:
    """Return *spans* as one string, with ANSI colours if *colour*."""
    if not colour:
        return "".join(text for text, _ in spans).rstrip()
    return "".join(
        f"\x1b[{_CODES[style]}m{text}\x1b[0m" if style in _CODES and text else text
        for text, style in spans
    )


def style_of(outcome: Outcome, excused: str = "") -> str:
    """Return the style that an outcome is shown in; *excused* is why it lets no run fail."""
    if outcome is Outcome.PASS:
        return "good"
    return "warn" if outcome.as_expected or excused else "bad"


def mark(style: str, unicode: bool) -> str:
    """Return the sign in front of a line of that style; the words beside it say the same."""
    good, neither, bad = "✓-✗" if unicode else "+-!"
    return {"good": good, "bad": bad}.get(style, neither)
