# SPDX-License-Identifier: GPL-2.0-only
"""Attempts beyond the plan, to find out whether a difference between kernels is unstable.

What is wanted next follows from what has ended, so a run that is taken up again goes on with it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from harness.judge.repeat import is_rerun, summed_up
from harness.judge.unstable import first_bad, open_alone, open_between
from harness.model.ids import KernelName
from harness.model.plan import ENDLESS, Group, PlannedTest
from harness.model.results import Test
from harness.run.attempts import Ready

MOST_TESTS = 20
"""The number of tests that are run again for one kernel; more hardly differ by chance."""


@dataclass
class Tried:
    """A test on a kernel, and how its attempts ended."""

    kernel: Ready
    test: PlannedTest
    planned: dict[int, Test] = field(default_factory=dict)
    reruns: dict[int, Test] = field(default_factory=dict)
    under_way: set[int] = field(default_factory=set)
    """The numbers of reruns that have begun."""
    dropped: bool = False
    """No guest can be started for it."""

    @property
    def name(self) -> KernelName:
        """Of the kernel."""
        return self.kernel.name

    @property
    def complete(self) -> bool:
        """Whether all attempts that were planned have ended."""
        head = self.kernel.head
        stopped = head.until_fail and any(
            not each.outcome.as_expected for each in self.planned.values()
        )
        return stopped or len(self.planned) >= head.repeat

    @property
    def begun(self) -> int:
        """The number of reruns that have begun."""
        return len(self.reruns) + len(self.under_way)

    @property
    def attempts(self) -> list[Test]:
        """How all of them ended, first those that were planned."""
        return [*self.planned.values(), *self.reruns.values()]

    @property
    def result(self) -> Test:
        """What all attempts come to; the planned ones have ended."""
        each = self.attempts
        return summed_up(each, len(each), len(self.reruns)) if len(each) > 1 else each[0]

    def begin(self) -> int:
        """Return the number of a rerun that begins now."""
        used = self.reruns.keys() | self.under_way
        numbers = itertools.count(self.kernel.head.repeat + 1)
        number = next(each for each in numbers if each not in used)
        self.under_way.add(number)
        return number


class Policy(Protocol):
    """Decides which reruns are needed."""

    def wanted(self, name: str, tried: Sequence[Tried]) -> Sequence[Tried]:
        """Return where the test *name* is to be run once more, the most wanted first.

        *tried* are the kernels on which what was planned of it has ended, in the order in which
        they came.
        """
        ...


class Reruns:
    """The attempts that a policy needs beyond the plan; none without a policy."""

    def __init__(self, policy: Policy | None = None) -> None:
        self._policy = policy
        self._tried: dict[str, dict[KernelName, Tried]] = {}
        self._wanted: dict[str, list[Tried]] = {}
        self._same: dict[tuple[str, KernelName], Tried] = {}
        self.kernels: list[KernelName] = []
        """Those whose tests are known."""
        self.changed = asyncio.Event()
        """Is set whenever something has ended; who waits for it clears it."""
        self.wake: Callable[[], None] = lambda: None
        """Is called when more may be wanted than before."""

    def at(self, test: str, kernel: KernelName) -> Tried | None:
        """Return what is known of *test* on a kernel; None where it cannot run there.

        Where the kernel is the same as another one, that is what is known there.
        """
        return self._tried.get(test, {}).get(kernel) or self._same.get((test, kernel))

    def on(self, kernel: KernelName) -> list[Tried]:
        """Return all tests that can run on a kernel."""
        found = (self.at(test, kernel) for test in self._tried)
        return [each for each in found if each is not None]

    def welcome(self, kernel: Ready) -> None:
        """Take note of the tests of a kernel, and of what has ended there."""
        self.kernels.append(kernel.name)
        for test in kernel.head.tests:
            if test.runnable:
                self._tried.setdefault(test.name, {})[kernel.name] = Tried(kernel, test)
        for name, other in kernel.elsewhere.items():
            if (same := self.at(name, other)) is not None:
                self._same[name, kernel.name] = same
        for each in kernel.ended:
            self.ended(kernel.name, *each)
        self.changed.set()

    def ended(self, kernel: KernelName, test: str, attempt: int, result: Test) -> None:
        """Take note of how an attempt ended."""
        tried = self._tried.get(test, {}).get(kernel)
        if tried is None:
            return
        if is_rerun(tried.kernel.head, attempt):
            tried.under_way.discard(attempt)
            tried.reruns[attempt] = result
        else:
            tried.planned[attempt] = result
        self._look(test)
        self.changed.set()

    def dropped(self, kernel: KernelName, group: Group) -> None:
        """Take note that there is no guest on a kernel for the tests of *group*."""
        for name, tried in self._tried.items():
            mine = tried.get(kernel)
            if mine is not None and mine.test.group == group:
                mine.dropped = True
                self._look(name)
        self.changed.set()

    def again(self, kernel: KernelName, test: str, attempt: int) -> None:
        """Take note that a rerun which had begun has no end."""
        self._tried[test][kernel].under_way.discard(attempt)
        self._look(test)
        self.changed.set()

    def begin(self, fits: Callable[[KernelName, PlannedTest], bool]) -> tuple[Tried, int] | None:
        """Return an attempt at a test that *fits*, which is now under way; None for none."""
        for name, wanted in self._wanted.items():
            for tried in wanted:
                if fits(tried.name, tried.test):
                    number = tried.begin()
                    self._look(name)
                    return tried, number
        return None

    @property
    def over(self) -> bool:
        """Whether nothing is wanted, as far as is known now."""
        return not self._wanted

    @property
    def idle(self) -> bool:
        """Whether nothing is wanted, and nothing of the plan or beyond it has yet to end."""
        every = (tried for kernels in self._tried.values() for tried in kernels.values())
        return self.over and all(
            each.dropped or (each.complete and not each.under_way) for each in every
        )

    def look(self) -> None:
        """Ask the policy again after new results."""
        for test in self._tried:
            self._look(test)
        self.wake()

    def _look(self, test: str) -> None:
        tried = self._tried[test].values()
        there = [each for each in tried if each.complete and not each.dropped]
        wanted = list(self._policy.wanted(test, there)) if self._policy else []
        if wanted:
            self._wanted[test] = wanted
        else:
            self._wanted.pop(test, None)


@dataclass
class Neighbours:
    """Reruns tests that differ between a kernel and the one before it."""

    first: KernelName
    """The first kernel of the run, which is compared with no other."""
    most: int
    """Reruns of a test on each kernel."""
    _tests: dict[KernelName, set[str]] = field(default_factory=dict)
    """What is run again because of a kernel."""

    def wanted(self, name: str, tried: Sequence[Tried]) -> Sequence[Tried]:
        """Return, of each two kernels between which it differs, the one that has fewer reruns."""
        if not tried or tried[0].kernel.head.repeat == ENDLESS:
            return []
        return sorted(
            (each for each in self._open(name, tried) if each.begun < self.most),
            # Regressions come first.
            key=lambda each: not first_bad(each.result),
        )

    def _open(self, name: str, tried: Sequence[Tried]) -> Iterator[Tried]:
        newest = tried[0]
        alone = newest.name != self.first and not newest.under_way and open_alone(newest.result)
        if alone and self._admitted(name, newest.name):
            yield newest
        for before, after in itertools.pairwise(tried):
            if open_between(before.result, after.result) and self._admitted(name, after.name):
                yield before if before.begun <= after.begun else after

    def _admitted(self, name: str, kernel: KernelName) -> bool:
        """Whether the test is among those that are run again because of a kernel."""
        tests = self._tests.setdefault(kernel, set())
        if len(tests) < MOST_TESTS:
            tests.add(name)
        return name in tests
