# SPDX-License-Identifier: GPL-2.0-only
"""Faults planted in the changed lines of a series, and what the tests made of them.

A *mutant* is the kernel of the series with one such fault.  A test *notices* it where it does not
end as expected under it, while it does on the kernel without.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

import msgspec

from harness.model.coverage import Coverage, FileLines, Span
from harness.outcome import Outcome


class Status(StrEnum):
    """What became of a mutant."""

    KILLED = "killed"
    """A test noticed it."""
    TIMEOUT = "timeout"
    """A test took far longer under it than without, and was stopped."""
    SURVIVED = "survived"
    """All tests that run the line ended as expected."""
    UNCOVERED = "not covered"
    """No test runs the line."""
    EQUIVALENT = "equivalent"
    """Known to change nothing that can be observed."""
    INVALID = "does not compile"
    ERROR = "error"
    """It is not known whether the tests notice it, because the harness or the machine failed."""
    NOTRUN = "notrun"
    """The run was cut off before."""

    @property
    def noticed(self) -> bool:
        """Whether it counts for the tests."""
        return self in (Status.KILLED, Status.TIMEOUT)

    @property
    def counts(self) -> bool:
        """Whether it is part of the score at all."""
        return self not in (Status.EQUIVALENT, Status.INVALID)


class Mutant(msgspec.Struct, frozen=True, kw_only=True):
    """A fault that is planted."""

    number: int
    """By which the kernel knows it, from 1."""
    name: str
    """``FILE:FUNCTION: BEFORE => AFTER``; a second one of the same name ends in ``#2``.  It has no
    line in it, so it is the same when other lines come before."""
    path: str
    function: str = ""
    """Empty outside of functions."""
    line: int
    last_line: int
    patch: int
    """The patch that wrote the line, by its number from 1."""
    operator: str
    before: str
    after: str
    start: int
    """Offset in the file of the first byte that is replaced."""
    end: int
    text: str
    """What stands there instead."""
    scopes: tuple[Span, ...] = ()
    """Lines around it, from the change itself to the whole function: tests that run the first of
    them which has any code can notice it."""
    alone: bool = False
    """Whether it is in no function, so that a kernel must be built for it alone."""
    diff: str = ""
    """The same for people."""
    rerun: str = ""
    """A command line for a shell that tries it again."""


class MutantRun(msgspec.Struct, frozen=True, kw_only=True):
    """A test under a mutant."""

    test: str
    outcome: Outcome
    reason: str = ""
    seconds: float = 0.0


class MutantResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a mutant."""

    name: str
    patch: int
    path: str
    line: int
    last_line: int
    function: str = ""
    operator: str
    before: str
    after: str
    status: Status
    reason: str = ""
    """Why it is equivalent, what the compiler said, what failed; or how the test noticed it."""
    killer: str = ""
    """The test that noticed it."""
    tests: tuple[str, ...] = ()
    """The tests that ran under it, in this order."""
    alone: bool = False
    """Whether a kernel was built for it alone."""
    diff: str = ""
    seconds: float | None = None
    """What its tests took."""
    rerun: str = ""
    """A command line for a shell that tries it again."""
    output: str = ""
    """The log of the output of the test that noticed it, relative to the run's directory."""
    kernel_log: str = ""
    """The kernel's log of that test."""


class PatchScore(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the mutants of one patch; patches without one are left out."""

    number: int
    subject: str
    counts: dict[Status, int] = {}


class Mutants(msgspec.Struct, frozen=True, kw_only=True):
    """All mutants of a run."""

    mutants: tuple[MutantResult, ...] = ()
    patches: tuple[PatchScore, ...] = ()
    score: float | None = None
    """Percentage noticed, of all that compile and are not equivalent; None where there is none."""
    min_score: float | None = None
    """What is asked for; None where nothing is."""
    build_s: float | None = None
    """Seconds to build and boot the kernel that has them."""
    tests_s: float | None = None
    """Seconds that their tests took."""
    notes: tuple[str, ...] = ()

    @property
    def enough(self) -> bool:
        """Whether the score is what was asked for; with a mutant unknown, it is not."""
        if self.min_score is None:
            return True
        if any(each.status in (Status.ERROR, Status.NOTRUN) for each in self.mutants):
            return False
        return self.score is not None and self.score >= self.min_score

    def of(self, *status: Status) -> list[MutantResult]:
        """Return the mutants that ended so."""
        return [each for each in self.mutants if each.status in status]


def score(statuses: Iterable[Status]) -> float | None:
    """Return the percentage that was noticed; None where none counts."""
    counting = [each for each in statuses if each.counts]
    if not counting:
        return None
    return 100 * sum(each.noticed for each in counting) / len(counting)


def per_patch(
    mutants: Sequence[MutantResult], subjects: Mapping[int, str]
) -> tuple[PatchScore, ...]:
    """Return the counts of each patch that has a mutant, in the order of the patches."""
    found: dict[int, Counter[Status]] = {}
    for each in mutants:
        found.setdefault(each.patch, Counter())[each.status] += 1
    return tuple(
        PatchScore(number=number, subject=subjects.get(number, ""), counts=dict(found[number]))
        for number in sorted(found)
    )


def reaching(mutant: Mutant, coverage: Coverage) -> tuple[str, ...]:
    """Return the tests that can notice *mutant*: those that ran its line.

    A line without code (an initialiser, a macro, what the compiler has merged with another line) is
    run by the tests that ran the nearest lines around it which have code.  Tests that were not
    watched may run anything.
    """
    instrumented = [
        each
        for patch in coverage.patches
        for each in patch.instrumented
        if each.path == mutant.path
    ]
    ran = {
        test.name: [each for each in test.covered if each.path == mutant.path]
        for test in coverage.tests
    }
    for scope in mutant.scopes:
        if _touch(instrumented, scope):
            found = tuple(name for name, lines in ran.items() if _touch(lines, scope))
            break
    else:
        # Nothing in the file around it has code: the file is a header, or is not built.
        patch = coverage.patch(mutant.patch)
        found = patch.tests if patch and mutant.alone else ()
    return (*found, *coverage.unmeasured)


def _touch(files: Iterable[FileLines], scope: Span) -> bool:
    return any(
        first <= scope[1] and last >= scope[0] for each in files for first, last in each.lines
    )
