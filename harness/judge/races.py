# SPDX-License-Identifier: GPL-2.0-only
"""What a journal says of schedules: a pure function of its records."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

import msgspec

from harness.klog import Severity
from harness.model.ids import case_of
from harness.model.races import Paced, Races, RaceSummary, Shortened, written
from harness.model.records import Record
from harness.model.results import Results, Test

_WHO = re.compile(r"\b(?:CPU|PID): \d+ ")
"""Which of the threads it is in a report does not make another failure of it."""


def signature(test: Test) -> str:
    """Return in which way *test* fails: the same for two failures that are alike.

    That is what the kernel says first, or the cases that fail; of others how they ended.
    """
    if test.outcome.as_expected:
        return ""
    said = [each for each in test.findings if each.severity is not Severity.NOTE]
    if said:
        return f"{test.outcome}: {_WHO.sub('', said[0].title)}"
    bad = [case_of(test.name, case.name) for case in test.cases if not case.outcome.as_expected]
    return f"{test.outcome}: {', '.join(bad) or test.ending}"


def told(results: Results, records: Iterable[Record]) -> Results:
    """Return *results* with what the schedules of its tests come to; as they are without any."""
    records = tuple(records)
    paced = {each.test: each for each in records if isinstance(each, Paced)}
    found = tuple(each for each in records if isinstance(each, Shortened))
    if not paced:
        return results
    outcomes: dict[str, Counter[str]] = {}
    for test in results.tests:
        if test.schedule and (test.schedule.seed or test.schedule.points):
            outcomes.setdefault(test.schedule.test, Counter())[test.outcome] += 1
    races = Races(
        tests=tuple(
            RaceSummary(
                test=name,
                planned=sum(each.values()),
                outcomes=dict(each),
                instructions=paced[name].profile.length,
            )
            for name, each in outcomes.items()
            if name in paced
        ),
        found=found,
        notes=tuple(
            f"not tried: {each.test}: {each.spoilt}" for each in paced.values() if each.spoilt
        ),
    )
    by_schedule = {(each.test, each.seed, written(each.planned)): each for each in found}

    def with_story(test: Test) -> Test:
        under = test.schedule
        if under is None or test.outcome.as_expected:
            return test
        story = by_schedule.get((under.test, under.seed, written(under.points)))
        return test if story is None else msgspec.structs.replace(test, shortened=story)

    return msgspec.structs.replace(
        results, tests=tuple(map(with_story, results.tests)), races=races
    )
