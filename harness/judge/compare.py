# SPDX-License-Identifier: GPL-2.0-only
"""Compare results between kernels: what differs, and from which kernel on.

A test is good on a kernel where it ends as expected, bad where it does not, and absent where it is
skipped or is not there: then it says nothing of that kernel.  Where it was not run it is not known
which of these it is, so no kernel is compared with it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec

from harness.judge.unstable import Stand, first_bad, first_bad_cases, mixed, stand
from harness.model.ids import KernelName, case_of
from harness.model.plan import ALL
from harness.model.results import Results, Test
from harness.outcome import Outcome


class Change(StrEnum):
    """Kinds of changes of a test from one kernel to the next."""

    BREAKS = "breaks"
    """It was good, or absent, and is bad."""
    MENDS = "mends"
    """It was bad and is good."""
    BRINGS = "brings"
    """It was absent and is good: the first kernel on which it is not skipped."""
    LOSES = "loses"
    """It existed and is absent."""
    OTHER = "other"
    """It was bad and is bad in another way: another outcome, or other cases."""
    UNSTABLE = "unstable"
    """Its outcome differs, and reruns show that this does not depend on the kernel."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a test between one kernel and the next."""

    test: str
    """``suite:program``, without a kernel."""
    kernel: KernelName
    """The kernel on which it differs."""
    since: KernelName
    """The last one before on which it ran: what is between them was not tested."""
    change: Change
    before: Test | None
    after: Test | None
    cases: tuple[str, ...] = ()
    """The cases that are bad and were not, without the test's name."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A test on all kernels."""

    test: str
    cells: tuple[Test | None, ...]
    """Its result on each kernel, in their order; None where the kernel has no such test."""
    steps: tuple[Step, ...]

    @property
    def always_bad(self) -> bool:
        """Whether it was bad on the first kernel, so that none of the others has broken it."""
        first = self.cells[0]
        bad = first is not None and first.outcome is not Outcome.NOTRUN and _state(first) == _BAD
        return bad and not self.unstable

    @property
    def unstable(self) -> bool:
        """Whether it is sometimes good and sometimes bad on one of the kernels."""
        return any(test is not None and mixed(test) for test in self.cells) or any(
            step.change is Change.UNSTABLE for step in self.steps
        )

    @property
    def mended(self) -> tuple[Step, Step] | None:
        """The steps that break it and mend it again: in between the series is not bisectable."""
        for number, step in enumerate(self.steps):
            if step.change is Change.BREAKS:
                later = (each for each in self.steps[number:] if each.change is Change.MENDS)
                if (end := next(later, None)) is not None:
                    return step, end
        return None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The results of several kernels of a run, side by side."""

    kernels: tuple[KernelName, ...]
    rows: tuple[Row, ...]

    def of(self, kernel: KernelName) -> tuple[Step, ...]:
        """Return the changes on *kernel*."""
        return tuple(step for row in self.rows for step in row.steps if step.kernel == kernel)

    @property
    def broken(self) -> tuple[Step, ...]:
        """Every step that breaks a test, those of the first kernels first."""
        return tuple(
            step
            for kernel in self.kernels
            for step in self.of(kernel)
            if step.change is Change.BREAKS
        )


_GOOD, _BAD, _ABSENT = "good", "bad", "absent"


def compare(each: Mapping[KernelName, Results]) -> Comparison:
    """Compare the results of each kernel with those of the kernel before it.

    A cell that has no tests, as its kernel was not built, stands for all tests of its suite.
    """
    kernels = tuple(each)
    known: dict[str, str] = {}
    for results in each.values():
        for test in results.tests:
            if test.program != ALL:
                known.setdefault(test.name, test.suite)
    whole = [
        {test.suite: test for test in one.tests if test.program == ALL} for one in each.values()
    ]
    lost = {suite for cells in whole for suite in cells} - set(known.values())
    names = known | {f"{suite}:{ALL}": suite for suite in sorted(lost)}
    found = [{test.name: test for test in one.tests} for one in each.values()]
    rows = []
    for name, suite in names.items():
        cells = tuple(
            tests.get(name) or cells.get(suite) for tests, cells in zip(found, whole, strict=True)
        )
        rows.append(Row(test=name, cells=cells, steps=_steps(name, kernels, cells)))
    return Comparison(kernels=kernels, rows=tuple(rows))


def _state(test: Test | None) -> str:
    if test is None or test.outcome is Outcome.SKIP:
        return _ABSENT
    return _BAD if first_bad(test) else _GOOD


def _steps(
    name: str, kernels: Sequence[KernelName], cells: Sequence[Test | None]
) -> tuple[Step, ...]:
    steps = []
    known = [
        (kernel, test)
        for kernel, test in zip(kernels, cells, strict=True)
        if test is None or test.outcome is not Outcome.NOTRUN
    ]
    real: tuple[KernelName, Test | None] | None = None
    for (since, before), (kernel, after) in itertools.pairwise(known):
        if not _is_lost(before):
            real = since, before
        elif real is not None and not _is_lost(after) and _state(after) == _BAD:
            # Between them is a kernel on which nothing could be tested: it has changed nothing.
            since, before = real
        change = _change(before, after)
        if change is not None:
            step = Step(
                test=name,
                kernel=kernel,
                since=since,
                change=change,
                before=before,
                after=after,
                cases=_newly_bad(before, after),
            )
            steps.append(step)
    return tuple(steps)


def _is_lost(test: Test | None) -> bool:
    """Whether the result stands for a whole suite that could not be tested."""
    return test is not None and test.program == ALL


def _newly_bad(before: Test | None, after: Test | None) -> tuple[str, ...]:
    """Return the cases that are bad in *after* and were not in *before*, or not there."""
    bad = _bad_cases(after) - _bad_cases(before)
    if before is None or after is None:
        return tuple(sorted(bad))
    return tuple(sorted(each for each in bad if stand(before, after, each) is not Stand.UNSTABLE))


def _bad_cases(test: Test | None) -> set[str]:
    if test is None:
        return set()
    return first_bad_cases(test) & {case_of(test.name, case.name) for case in test.cases}


def _change(before: Test | None, after: Test | None) -> Change | None:
    then, now = _state(before), _state(after)
    if before is not None and after is not None and _ABSENT not in (then, now):
        counted = stand(before, after)
        if counted is Stand.WORSE:
            return Change.BREAKS
        if counted is Stand.BETTER:
            return Change.MENDS
        if counted is Stand.UNSTABLE:
            return Change.UNSTABLE if then != now else None
    elif after is not None and now == _BAD and mixed(after):
        return Change.UNSTABLE
    if now == _BAD:
        if then != _BAD:
            return Change.BREAKS
        assert before is not None and after is not None  # noqa: S101, PT018  they are bad
        other = before.outcome is not after.outcome or _newly_bad(before, after)
        return Change.OTHER if other else None
    if then == now:
        return None
    if now == _ABSENT:
        return Change.LOSES
    return Change.MENDS if then == _BAD else Change.BRINGS
