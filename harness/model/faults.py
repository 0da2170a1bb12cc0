# SPDX-License-Identifier: GPL-2.0-only
"""Failures on purpose: which call of a test fails, what came of that, and what a sweep has planned.

A *sweep* makes the calls of one kind fail, one in each guest: the first that a test makes, the
second, and so on.  Each of them is a *point*, which is planned and reported like a test.  Its name
is that of the test, the sweep and the number of the call:

    memfd:memfd_test@slab#17                          the 17th object of a slab cache
    memfd:memfd_test@page#3                           the third page
    memfd:memfd_test@__filemap_add_folio=ENOSPC#1     the first call of a function
    memfd:memfd_test@control                          none; the others are compared with it
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final, Literal

import msgspec

from harness.model.coverage import PatchLines
from harness.model.ids import ONLY, KernelName

CONTROL = "control"
SLAB: Final = "slab"
PAGE: Final = "page"
_POINT = re.compile(
    r"(?P<test>.+)@(?:(?P<control>control)"
    r"|(?P<sweep>[A-Za-z_][\w.]*(?:=E[A-Z0-9]+)?)#(?P<nth>[1-9]\d{0,8}))"
)


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """Which call of a test fails."""

    test: str
    """The name of the test without a fault."""
    sweep: str = ""
    """``slab``, ``page``, or the function, with ``=ERRNO`` if a certain one is asked for; empty for
    the control."""
    nth: int = 0
    """Which of its calls, from 1; 0 is none: the control."""

    @property
    def suffix(self) -> str:
        """What the name of the point has behind that of the test."""
        return f"@{self.sweep}#{self.nth}" if self.nth else f"@{CONTROL}"

    @property
    def name(self) -> str:
        """The name of the point."""
        return f"{self.test}{self.suffix}"


def parse_point(name: str) -> Fault | None:
    """Return the fault that a point of this *name* has; None for the name of a test."""
    found = _POINT.fullmatch(name)
    if not found:
        return None
    if found["control"]:
        return Fault(test=found["test"])
    return Fault(test=found["test"], sweep=found["sweep"], nth=int(found["nth"]))


class Survivor(msgspec.Struct, frozen=True, kw_only=True):
    """Objects that a test has left in a slab cache of the kernel."""

    cache: str
    count: int
    where: str
    """Where they were allocated, one function a line."""


def beyond(left: Iterable[Survivor], usual: Iterable[Survivor]) -> tuple[Survivor, ...]:
    """Return what of *left* goes beyond what is *usual*, with as many objects as it does."""
    known = {(each.cache, each.where): each.count for each in usual}
    found = ((each, each.count - known.get((each.cache, each.where), 0)) for each in left)
    return tuple(msgspec.structs.replace(each, count=count) for each, count in found if count > 0)


def most(runs: Iterable[Iterable[Survivor]]) -> tuple[Survivor, ...]:
    """Return each survivor that was left in any of *runs*, with the highest count there."""
    found: dict[tuple[str, str], Survivor] = {}
    for run in runs:
        for each in run:
            key = each.cache, each.where
            if key not in found or found[key].count < each.count:
                found[key] = each
    return tuple(found.values())


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """What was found out about one sweep over a test before it began."""

    sweep: str
    calls: int
    """How many such calls the test makes."""
    points: tuple[int, ...]
    """Those that are planned to fail, from 1 and ascending."""


class Surveyed(msgspec.Struct, frozen=True, kw_only=True, tag="surveyed"):
    """A test was run without faults, and its calls were counted; sweeps over it are planned so."""

    kernel: KernelName = ONLY
    test: str
    sweeps: tuple[Sweep, ...] = ()
    limit_s: float = 0.0
    """The time limit of its points, in seconds, for a machine with real processors."""
    usual: tuple[Survivor, ...] | None = None
    """What it leaves without a fault; None where the kernel does not say."""
    spoilt: str = ""
    """Why there is no sweep over it; empty where there is."""


class SweepStarted(msgspec.Struct, frozen=True, kw_only=True, tag="sweep"):
    """All that is to be known of the sweeps on a kernel is known."""

    kernel: KernelName = ONLY
    patches: tuple[PatchLines, ...] = ()
    """The lines that each patch has changed."""


class BudgetSpent(msgspec.Struct, frozen=True, kw_only=True, tag="budget-spent"):
    """The time that was to be spent on the run is over; what has not begun does not begin."""

    seconds: float


class What(StrEnum):
    """What came of a call that failed."""

    HANDLED = "handled"
    """The test has seen an error, and the kernel has nothing to complain of."""
    UNNOTICED = "unnoticed"
    """The test has passed all the same."""
    NOT_REACHED = "not reached"
    """The call was not made this time."""
    LEAK = "leak"
    SPLAT = "splat"
    CRASH = "crash"
    HANG = "hang"
    NOT_BEGUN = "not begun"
    """The run was cut off before, or its budget was spent."""
    UNKNOWN = "unknown"
    """The machine or the harness failed."""


class Injection(msgspec.Struct, frozen=True, kw_only=True):
    """What reports say of a point beside what they say of each test."""

    test: str
    sweep: str
    nth: int
    what: What
    error: str = ""
    """The error that the test has told of, as ``ENOMEM``; else how it ended."""
    where: tuple[str, ...] = ()
    """The functions that the call came through, innermost first, with file and line if known."""
    patches: tuple[int, ...] = ()
    """The patches of the series whose lines are among them."""
    leaked: tuple[Survivor, ...] = ()


class TakenPath(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a patch at which a call has failed."""

    path: str
    line: int
    function: str
    points: int
    """How often."""
    outcomes: Mapping[str, int] = {}
    """How often with what consequence."""
    point: str
    """The worst of them: the name of a point that shows it."""


class PatchPaths(msgspec.Struct, frozen=True, kw_only=True):
    """The error paths of one patch that were taken."""

    number: int
    subject: str
    taken: tuple[TakenPath, ...] = ()


class SweepSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One sweep over one test, in the results."""

    test: str
    sweep: str
    calls: int
    planned: int
    outcomes: Mapping[str, int] = {}
    """How many of the planned points ended in which way."""


class Injections(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of ``harness inject`` has to say beside its points."""

    sweeps: tuple[SweepSummary, ...] = ()
    patches: tuple[PatchPaths, ...] = ()
    notes: tuple[str, ...] = ()


Kind = Literal["slab", "page"]


class InjectSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of ``harness inject``."""

    targets: tuple[str, ...] = ()
    """Names of tests and of points; none means all tests."""
    kinds: tuple[Kind, ...] = ("slab", "page")
    functions: tuple[str, ...] = ()
    """``NAME`` or ``NAME=ERRNO``."""
    sample: int | None = None
    """How many points of each sweep; None is all."""
    budget_s: float | None = None
    """How many seconds the points may take together; None is as long as they take."""
