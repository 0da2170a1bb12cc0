# SPDX-License-Identifier: GPL-2.0-only
"""Schedules: where a test is preempted, and what came of that.

A schedule is a list of points.  At each the thread of the test that runs just then stands back for
a while, and everything else goes before it.  Times are instructions from the start of the test, in
a guest whose clock moves on by them, so a schedule means the same each time.  It is written

    17                          the seed of a schedule
    1204512+20000,1300000+500   two points: when, and for how long

and a test under it has its own name: ``memfd:memfd_test@seed#17``.
"""

from __future__ import annotations

import bisect
import math
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from harness.errors import UserError
from harness.model.ids import ONLY, KernelName

NS: Final = 8
"""How many ns of the guest's clock an instruction takes."""
CONTROL = "control"
MOST_POINTS: Final = 4096
MOST_SEED: Final = 2**63 - 1
_MOST_INSTRUCTIONS: Final = 2**50
_POINT = re.compile(r"(?P<at>[0-9]{1,16})\+(?P<length>[0-9]{1,16})")
_UNDER = re.compile(
    r"(?P<test>.+)@(?:control|seed#(?P<seed>[1-9][0-9]*)"
    r"|(?P<points>[0-9]+\+[0-9]+(?:,[0-9]+\+[0-9]+)*))"
)
_MOST_SPANS = 1000
_MOST_UNLOCKS = 4000
_MOST_STARTS = 8
_KINDS = 6
_NEAR = _LATE = 0.5
_FIRST = 64
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
_BESIDE = 9.0
"""A point is up to 512 instructions behind the entry of a function that unlocks."""
_SHORTEST = 1024
"""For how many instructions a thread stands back at least; at most for the length of the test."""


class Preemption(msgspec.Struct, frozen=True, order=True):
    """A point of a schedule, in instructions."""

    at: int
    """From the start of the test."""
    length: int
    """For how long the thread that ran stands back."""

    def __str__(self) -> str:
        return f"{self.at}+{self.length}"


Points = tuple[Preemption, ...]


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """Under which schedule a test runs."""

    test: str
    """The name of the test without one."""
    seed: int = 0
    """What the points come from; 0 where they were given, and for the control."""
    points: Points = ()
    """None for the control: it has the same guest, and nothing stands back."""

    @property
    def suffix(self) -> str:
        """What the name has behind that of the test."""
        if self.seed:
            return f"@seed#{self.seed}"
        return f"@{written(self.points)}" if self.points else f"@{CONTROL}"

    @property
    def name(self) -> str:
        """The name of the test under this schedule."""
        return f"{self.test}{self.suffix}"


def written(points: Iterable[Preemption]) -> str:
    """Return *points* as the command line takes them."""
    return ",".join(map(str, points))


def parse(text: str) -> int | Points:
    """Return the seed or the points that *text* means; UserError where it means neither."""
    if re.fullmatch(r"[1-9][0-9]{0,18}", text) and int(text) <= MOST_SEED:
        return int(text)
    found = [_POINT.fullmatch(part) for part in text.split(",")]
    points = [Preemption(int(each["at"]), int(each["length"])) for each in found if each]
    if len(points) != len(found) or points != sorted(points):
        raise UserError(
            "this is no schedule",
            where=text,
            hint="it is a seed from 1 on, as 17; or points one after the other, as "
            "1204512+20000,1300000+500: after how many instructions, and for how many",
        )
    if len(points) > MOST_POINTS or any(
        not each.length or max(each.at, each.length) > _MOST_INSTRUCTIONS for each in points
    ):
        raise UserError(
            "there is no such schedule",
            where=text if len(text) < 200 else f"{text[:200]}…",
            why=f"it has at most {MOST_POINTS} points, each longer than 0 instructions and within "
            f"the first {_MOST_INSTRUCTIONS} of a test",
        )
    return tuple(points)


def parse_name(name: str) -> tuple[str, str] | None:
    """Return the test that runs under a schedule by this *name*, and the schedule as text.

    None for the name of a test; the text is empty for the control.
    """
    found = _UNDER.fullmatch(name)
    return (found["test"], found["seed"] or found["points"] or "") if found else None


class Span(msgspec.Struct, frozen=True, array_like=True):
    """A part of a test in which a thread of it ran, in instructions from its start."""

    start: int
    end: int


class Profile(msgspec.Struct, frozen=True):
    """What is known of a test that ran without a preemption, in instructions from its start."""

    spans: tuple[Span, ...] = ()
    """When a thread of it could be preempted, one after the other."""
    unlocks: tuple[int, ...] = ()
    """When it unlocked something in the kernel, or woke another."""
    starts: tuple[int, ...] = ()
    """When each thread but the first began to run."""

    @property
    def length(self) -> int:
        """In how many instructions it can be preempted."""
        return sum(each.end - each.start for each in self.spans)


def seeded(seed: int, profile: Profile) -> Points:
    """Return the points of a schedule: the same for the same *seed*.

    Half of them lie anywhere in the spans, half of them shortly behind an unlocking.  The first
    ones of successive seeds are spread evenly.  Of threads that begin, half stand back at once, so
    that each order of them comes.  Few points find what needs one preemption at the right place,
    many what needs one anywhere.
    """
    # Only random() gives the same numbers in every version of Python.
    draw = random.Random(seed).random  # noqa: S311  no secret
    doublings = math.log2(max(2.0, profile.length / _SHORTEST))
    points: dict[int, int] = {}
    for start in profile.starts:
        if draw() < _LATE:
            points[start + 1 + int(draw() * _FIRST)] = _length(draw(), doublings)
    which = seed * _GOLDEN % 1.0
    for _ in range(1 << int(draw() * _KINDS)):
        if draw() < _NEAR and profile.unlocks:
            at = profile.unlocks[int(which * len(profile.unlocks))]
            at += int(2.0 ** (draw() * _BESIDE))
        else:
            at = _place(int(which * profile.length), profile.spans)
        points[at] = _length(draw(), doublings)
        which = draw()
    return tuple(Preemption(at, length) for at, length in sorted(points.items()))


def _length(part: float, doublings: float) -> int:
    return int(_SHORTEST * 2.0 ** (part * doublings))


def _place(which: int, spans: Iterable[Span]) -> int:
    """Return the time of the instruction of that number within *spans*."""
    end = 0
    for each in spans:
        if which < each.end - each.start:
            return each.start + which
        which -= each.end - each.start
        end = each.end
    return end


def profiled(ran: Iterable[tuple[int, int, int]], unlocks: Iterable[int]) -> Profile:
    """Return the parts of a test in which it can matter that a thread stands back.

    *ran* are start, end and number of the threads that ran.  Before there are two of them, and when
    but one is left, there is nothing to race with; a test of one thread may be preempted anywhere.
    Of many parts those become one that are next to each other.
    """
    spans = sorted(ran)
    starts: dict[int, int] = {}
    ends: dict[int, int] = {}
    for start, end, thread in spans:
        starts.setdefault(thread, start)
        ends[thread] = end
    if len(ends) > 1:
        second = next(at for at, each in enumerate(spans) if each[2] != spans[0][2])
        last = sorted(ends.values())[-2]
        spans = [each for each in spans[max(0, second - 1) :] if each[0] < last]
    found = [Span(start, end) for start, end, _ in spans]
    gap = 1
    while len(found) > _MOST_SPANS:
        gap *= 2
        found = _joined(found, gap)
    found = _joined(found, 1)
    return Profile(tuple(found), _within(unlocks, found), tuple(starts.values())[1:][:_MOST_STARTS])


def _joined(spans: Iterable[Span], gap: int) -> list[Span]:
    found: list[Span] = []
    for each in spans:
        if found and each.start - found[-1].end <= gap:
            found[-1] = Span(found[-1].start, max(found[-1].end, each.end))
        else:
            found.append(each)
    return found


def _within(times: Iterable[int], spans: Sequence[Span]) -> tuple[int, ...]:
    """Return those of *times* that are in *spans*, at even distances where there are too many."""
    within = [
        each
        for each in sorted(times)
        if (at := bisect.bisect_right(spans, each, key=lambda span: span.start))
        and each < spans[at - 1].end
    ]
    step = max(1, len(within) // _MOST_UNLOCKS)
    return tuple(within[::step])


class RaceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of ``harness race``, or of ``harness run --schedule``."""

    targets: tuple[str, ...] = ()
    """Names of tests; none means all."""
    count: int = 1
    """How many schedules each test runs under."""
    first: int = 1
    """The first of the seeds."""
    points: Points = ()
    """The one schedule instead, if it was given by its points."""
    budget_s: float | None = None
    """How many seconds the schedules may take together; None is as long as they take."""
    control: bool = True
    """Whether each test is planned without a preemption, too."""
    shorten: bool = True
    """Whether schedules that fail are shortened."""

    @classmethod
    def under(cls, schedule: str, targets: tuple[str, ...]) -> RaceSpec:
        """Return what is asked for with one *schedule*; UserError where that is none."""
        meant = parse(schedule)
        if isinstance(meant, int):
            return cls(targets=targets, first=meant, control=False, shorten=False)
        return cls(targets=targets, points=meant, control=False, shorten=False)

    @property
    def seeds(self) -> range:
        """The seeds that are tried."""
        return range(self.first, self.first + (0 if self.points else self.count))


class Paced(msgspec.Struct, frozen=True, kw_only=True, tag="paced"):
    """A test was run without a preemption, and it is known where it can be preempted."""

    kernel: KernelName = ONLY
    test: str
    profile: Profile = Profile()
    plain: bool = False
    """Whether it passed, so that nothing which is known of it holds for its schedules."""
    spoilt: str = ""
    """Why there is no schedule for it; empty where there is."""


class Stand(msgspec.Struct, frozen=True, kw_only=True):
    """A thread stood back."""

    point: int
    """At which point of the schedule, from 0."""
    thread: int
    """Which thread, by the order in which those of the test first ran, from 1."""
    where: tuple[str, ...] = ()
    """The functions it was in, innermost first, with offsets; none in user space."""
    others: tuple[tuple[int, str], ...] = ()
    """What other threads of the test ran meanwhile: their numbers, and chains of functions of the
    kernel from the outermost inwards."""


class Shortened(msgspec.Struct, frozen=True, kw_only=True, tag="shortened"):
    """A schedule under which a test fails was made as short as it gets."""

    kernel: KernelName = ONLY
    test: str
    seed: int = 0
    planned: Points
    """Those that failed first."""
    points: Points
    """Those that are left."""
    how: str = ""
    """How the test fails."""
    tries: int = 0
    """How many guests that took."""
    shown: int = 0
    """How often the test failed again under what is left."""
    asked: int = 0
    """Of how many times."""
    stands: tuple[Stand, ...] = ()
    rerun: str = ""
    """A shell command that shows the failure again."""
    replay: str = ""
    """A shell command that records it; with ``--gdb`` it can be looked at backwards."""


class RaceSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One test and its schedules, in the results."""

    test: str
    planned: int
    outcomes: Mapping[str, int] = {}
    """How many schedules ended in which way."""
    instructions: int = 0
    """In how many instructions of the test it could be preempted."""


class Races(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of ``harness race`` has to say beside its schedules."""

    tests: tuple[RaceSummary, ...] = ()
    found: tuple[Shortened, ...] = ()
    notes: tuple[str, ...] = ()
