# SPDX-License-Identifier: GPL-2.0-only
"""The rules of the scanner, read from ``rules.toml`` beside this file.

A pattern is matched from the beginning of the printk text, after level, time stamp and caller.  For
a line without prefix, see :mod:`harness.klog.lines`.  The first match wins.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from importlib.resources import files
from typing import Any

import msgspec

from harness.klog.model import Severity

CUT_HERE = "------------[ cut here ]------------"
_SHORT = {
    "<HEX>": r"[0-9a-f]+",
    "<AT>": r"(?P<file>[^\s:]+):(?P<lineno>\d+)",
    "<SYM>": r"(?P<function>[A-Za-z_][\w.$]*)(?P<offset>\+0x[0-9a-f]+)/0x[0-9a-f]+",
}


class End(StrEnum):
    """How the end of a report is recognised."""

    TRACE = "trace"
    """``---[ end trace … ]---``, then the register lines that x86 adds after an oops."""
    BANNER = "banner"
    """A line of equals signs, as before the title."""
    PANIC = "panic"
    """``---[ end Kernel panic``; nothing useful follows."""
    QUIET = "quiet"
    """Only by lines that do not look like part of a report."""
    LINE = "line"
    """The title is the whole report."""


class Rule(msgspec.Struct, frozen=True, dict=True):
    """One title: its pattern, its meaning and the end of its report."""

    id: str
    kind: str
    severity: Severity
    needle: str
    """A part of every line that the pattern can match; lines without any needle are skipped."""
    pattern: str
    source: str
    """The kernel's source file that prints it."""
    end: End = End.QUIET
    until: str = ""
    """Text that must appear before a report without end marker may end."""
    absorbs: frozenset[str] = frozenset()
    """Rules whose titles are later lines of this same report."""
    cut: bool = False
    """The title follows a ``cut here`` line and completes that report."""
    names: bool = False
    """Within another report it determines the kind; the title stays the WARNING, BUG or oops."""
    renames: bool = False
    """When another report absorbs it, it becomes the title of that report."""
    strict: bool = False
    """Specific enough to count without a printk prefix, even in the middle of a line."""
    glue: bool = False
    """Counts in the middle of a line if it directly follows another character."""

    @cached_property
    def regex(self) -> re.Pattern[str]:
        """The pattern, compiled when a line has the needle: most rules never meet one."""
        return re.compile(self.pattern)


def _rule(table: Mapping[str, Any]) -> Rule:
    pattern = table["pattern"]
    for short, meaning in _SHORT.items():
        pattern = pattern.replace(short, meaning)
    return Rule(
        **dict(table)
        | {
            "severity": Severity(table["severity"]),
            "pattern": pattern,
            "end": End(table.get("end", End.QUIET)),
            "absorbs": frozenset(table.get("absorbs", ())),
            "glue": table.get("glue", False) or table.get("strict", False),
        }
    )


def _own(name: str, needle: str, severity: Severity = Severity.SPLAT) -> Rule:
    return Rule(name, name, severity, needle, r"(?!)", "", End.TRACE)


_DATA: Mapping[str, Any] = tomllib.loads(
    files("harness.klog").joinpath("rules.toml").read_text(encoding="utf-8")
)
RULES: tuple[Rule, ...] = tuple(_rule(table) for table in _DATA["rule"])
LONELY_CUT = _own("cut-here", CUT_HERE)
"""A cut line whose title is missing: a report began, and most of it is lost."""
FLOOD = _own("flood", "")
"""Represents all findings beyond the limit of distinct findings."""
KINDS: frozenset[str] = frozenset(r.kind for r in (*RULES, LONELY_CUT, FLOOD))

_ALL = {r.needle for r in RULES} | {"[ cut here ]"}
NEEDLES: tuple[str, ...] = tuple(
    sorted(a for a in _ALL if not any(b != a and b in a for b in _ALL))
)
"""Every line that any rule can match contains one of these."""

REGISTERS = re.compile("|".join(_DATA["lines"]["registers"]))
"""Lines that x86 and the exit path print after the end marker of an oops."""
BODY = re.compile("|".join((*_DATA["lines"]["registers"], *_DATA["lines"]["body"])))
"""Lines that continue a report."""
PLUMBING = re.compile(f"_*({'|'.join(_DATA['lines']['plumbing'])})")
"""Functions that report a fault; they do not tell what happened."""
IDLE = re.compile(f"_*({'|'.join(_DATA['lines']['idle'])})")
"""Functions of a CPU that was idle when its stack was requested."""
