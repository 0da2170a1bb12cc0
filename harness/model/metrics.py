# SPDX-License-Identifier: GPL-2.0-only
"""Figures of tests: what a program prints, and what is measured around it.

A program prints a metric as a diagnostic line of KTAP, at any depth:

    # metric: NAME VALUE UNIT [better=less|more]

A line that names a metric and cannot be read is a fault, which reports show.  It is never lost, and
it changes no outcome.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Literal

import msgspec

Better = Literal["less", "more", ""]

MAX_METRICS = 500
"""Most metrics of one test that are kept."""
_MAX_FAULTS = 20
_MAX_LINE = 4096
_WORD = b"metric:"
_LINE = re.compile(r"\s*(?:#\s*)+metric:(?P<rest>.*)")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]{0,63}")
_VALUE = re.compile(r"[+-]?\d+(?P<fraction>\.\d+)?(?P<exponent>[eE][+-]?\d+)?")
_MAX_DIGITS = 18
"""So many digits of a whole number are kept exactly, in JSON too."""

_TIMES = ("ns", "us", "ms", "s")
_SIZES = ("B", "KiB", "MiB", "GiB")
_COUNTS = {
    "allocations": "allocation",
    "calls": "call",
    "faults": "fault",
    "instructions": "instruction",
    "operations": "operation",
    "pages": "page",
    "tries": "try",
}
"""What can be counted, with the word for one of it."""
UNITS = (*_TIMES, *_SIZES, *_COUNTS, "%", "1")
"""Units that stand alone; ``1`` is a plain number."""
PER = (*_TIMES, *_SIZES, *_COUNTS.values())
"""What may stand behind a slash, as in ``MiB/s`` and ``instructions/page``."""

RESERVED = frozenset(
    {
        "instructions",
        "instructions_elsewhere",
        "instructions_kernel",
        "instructions_user",
        "peak_memory",
        "system_time",
        "user_time",
        "wall_time",
    }
)
"""Names of what the harness measures itself."""


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of a test."""

    name: str
    value: int | float
    unit: str
    better: Better = ""
    """Whether less or more of it is better; empty where neither is."""
    by: Literal["test", "agent", "qemu"] = "test"
    """What measured it: the test itself, the agent in the guest, or QEMU that counts."""
    exact: bool = False
    """Whether the same kernel gives the same figure each time, as where instructions count time."""

    def __str__(self) -> str:
        return f"{self.name} {amount(self.value)} {self.unit}"


def amount(value: float) -> str:
    """Return *value* for the eye: whole numbers in groups of three digits, others with four."""
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.1f}"


def parse(rest: str) -> Metric:
    """Return the metric in *rest*, behind ``metric:``; ValueError says what is wrong with it."""
    words = rest.split()
    if len(words) < 3:
        raise ValueError("it is not NAME VALUE UNIT [better=less|more]")
    name, value, unit, *more = words
    if not _NAME.fullmatch(name):
        raise ValueError(f"'{name}' is not a name: letters, digits and _ . : - after a letter")
    if name in RESERVED:
        raise ValueError(f"the name '{name}' is that of a figure which the harness measures itself")
    _check_unit(unit)
    better: Better = ""
    match more:
        case []:
            pass
        case ["better=less"]:
            better = "less"
        case ["better=more"]:
            better = "more"
        case _:
            raise ValueError(f"'{' '.join(more)}' is neither better=less nor better=more")
    return Metric(name=name, value=_number(value), unit=unit, better=better)


def _number(text: str) -> int | float:
    match = _VALUE.fullmatch(text)
    if not match:
        raise ValueError(f"'{text}' is not a number")
    if match["fraction"] is None and match["exponent"] is None and len(text) <= _MAX_DIGITS:
        return int(text)
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"'{text}' is too large for a number")
    return number


def _check_unit(unit: str) -> None:
    whole, slash, per = unit.partition("/")
    if whole not in UNITS or (slash and per not in PER):
        raise ValueError(
            f"'{unit}' is not a unit: use one of {', '.join(UNITS)}, or one of them per "
            f"{', '.join(PER)}"
        )


class Reader:
    """Reads the metrics in a test's output, in whatever pieces it comes."""

    def __init__(self) -> None:
        self._pending = b""
        self._found: dict[str, Metric] = {}
        self._faults: list[str] = []
        self._more_faults = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        whole = self._pending + data
        end = whole.rfind(b"\n") + 1
        if end and _WORD in whole:
            for line in whole[:end].split(b"\n"):
                self._line(line)
        # A longer line is no metric; its beginning tells whether it was meant to be one.
        self._pending = whole[end:][:_MAX_LINE]

    def close(self) -> tuple[tuple[Metric, ...], tuple[str, ...]]:
        """Return the metrics, and what is wrong with lines that name one and are none."""
        self._line(self._pending)
        self._pending = b""
        faults = list(self._faults)
        if self._more_faults:
            faults.append(f"and {self._more_faults} more metrics that cannot be read")
        return tuple(self._found.values()), tuple(faults)

    def _line(self, line: bytes) -> None:
        if _WORD not in line or b"#" not in line:
            return
        text = line.decode(errors="replace").rstrip("\r")
        match = _LINE.fullmatch(text)
        if match is None:
            if re.search(r"#\s*metric:", text):
                self._fault("it is not at the beginning of its line", text)
            return
        try:
            self._add(parse(match["rest"]))
        except ValueError as error:
            self._fault(str(error), text)

    def _add(self, metric: Metric) -> None:
        if metric.name in self._found:
            raise ValueError(f"the test has another metric '{metric.name}'; the first one counts")
        if len(self._found) >= MAX_METRICS:
            raise ValueError(f"a test has at most {MAX_METRICS} metrics")
        self._found[metric.name] = metric

    def _fault(self, why: str, line: str) -> None:
        if len(self._faults) < _MAX_FAULTS:
            self._faults.append(f"{line.strip()[:200]}: {why}")
        else:
            self._more_faults += 1


def named(metrics: Iterable[Metric], name: str) -> Metric | None:
    """Return the metric of that *name*, if there is one."""
    return next((each for each in metrics if each.name == name), None)
