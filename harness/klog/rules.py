# SPDX-License-Identifier: GPL-2.0-only
"""The rules of the scanner, read from ``rules.toml`` beside this file.

A pattern is matched from the beginning of the printk text, that is after level, time stamp and
caller; where a line has no prefix, see :mod:`harness.klog.lines`.  The first match wins.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from typing import Any

from harness.klog.model import Severity

CUT_HERE = "------------[ cut here ]------------"
_SHORT = {
    "<HEX>": r"[0-9a-f]+",
    "<AT>": r"(?P<file>[^\s:]+):(?P<lineno>\d+)",
    "<SYM>": r"(?P<function>[A-Za-z_][\w.$]*)(?P<offset>\+0x[0-9a-f]+)/0x[0-9a-f]+",
}


class End(StrEnum):
    """How the end of a report is known."""

    TRACE = "trace"
    """``---[ end trace … ]---``, then the register lines that x86 adds after an oops."""
    BANNER = "banner"
    """A line of equals signs, as before the title."""
    PANIC = "panic"
    """``---[ end Kernel panic``; nothing of worth comes later."""
    QUIET = "quiet"
    """Only by lines that no longer look like a report."""
    LINE = "line"
    """The title is the whole report."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One title: what it looks like, what it means and where its report ends."""

    id: str
    kind: str
    severity: Severity
    needle: str
    """A part of every line the pattern can match: lines without any needle are never looked at."""
    pattern: str
    source: str
    """The kernel's file that prints it."""
    regex: re.Pattern[str]
    end: End = End.QUIET
    until: str = ""
    """A piece of text that must come before a report without end marker may be over."""
    absorbs: frozenset[str] = frozenset()
    """Rules whose titles are later lines of this same report."""
    cut: bool = False
    """The title follows a ``cut here`` line and completes that report."""
    names: bool = False
    """Inside another report it names the kind, and the title stays the WARNING, BUG or oops."""
    renames: bool = False
    """Absorbed by another report, it becomes the title of that report."""
    strict: bool = False
    """Specific enough to be believed without a printk prefix, even in the middle of a line."""
    glue: bool = False
    """Believed in the middle of a line where the character before it touches it."""


def _rule(table: Mapping[str, Any]) -> Rule:
    pattern = table["pattern"]
    for short, meaning in _SHORT.items():
        pattern = pattern.replace(short, meaning)
    return Rule(
        **dict(table)
        | {
            "severity": Severity(table["severity"]),
            "pattern": pattern,
            "regex": re.compile(pattern),
            "end": End(table.get("end", End.QUIET)),
            "absorbs": frozenset(table.get("absorbs", ())),
            "glue": table.get("glue", False) or table.get("strict", False),
        }
    )


def _own(name: str, needle: str, severity: Severity = Severity.SPLAT) -> Rule:
    return Rule(name, name, severity, needle, "", "", re.compile(r"(?!)"), End.TRACE)


_DATA: Mapping[str, Any] = tomllib.loads(
    files("harness.klog").joinpath("rules.toml").read_text(encoding="utf-8")
)
RULES: tuple[Rule, ...] = tuple(_rule(table) for table in _DATA["rule"])
LONELY_CUT = _own("cut-here", CUT_HERE)
"""A cut line whose title never came: a report is there, and most of it is lost."""
FLOOD = _own("flood", "")
"""Stands for all findings beyond the limit of distinct ones."""
KINDS: frozenset[str] = frozenset(r.kind for r in (*RULES, LONELY_CUT, FLOOD))

_ALL = {r.needle for r in RULES} | {"[ cut here ]"}
NEEDLES: tuple[str, ...] = tuple(
    sorted(a for a in _ALL if not any(b != a and b in a for b in _ALL))
)
"""One of these is in every line that any rule can match."""

REGISTERS = re.compile("|".join(_DATA["lines"]["registers"]))
"""Lines that x86 and the exit path print after the end marker of an oops."""
BODY = re.compile("|".join((*_DATA["lines"]["registers"], *_DATA["lines"]["body"])))
"""Lines that continue a report."""
PLUMBING = re.compile(f"_*({'|'.join(_DATA['lines']['plumbing'])})")
"""Functions that say how a fault was reported, not what happened."""
IDLE = re.compile(f"_*({'|'.join(_DATA['lines']['idle'])})")
"""Functions of a CPU that had nothing to do when it was asked for its stack."""
