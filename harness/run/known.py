# SPDX-License-Identifier: GPL-2.0-only
"""Results held against ``expectations.toml``: known failures, and those that are over."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

import msgspec

from harness.ktap import Case as Reported
from harness.outcome import Outcome, worst
from harness.run.records import TestEnded
from harness.run.results import Case, Test
from harness.suites.expectations import FILE_NAME, Expectation, matches


def apply(
    test: Test,
    entries: Sequence[Expectation],
    today: date,
    ended: TestEnded,
    apart: tuple[Outcome, str],
) -> Test:
    """Return *test* as it is in the light of *entries*.

    What failed as an entry says becomes ``xfail``, what passed against one ``xpass``.  Everything
    else keeps its outcome: an entry for a failure does not excuse a crash.  A case's failure
    excuses its program only if nothing else speaks against that, by what was observed (*ended*);
    *apart* is the outcome and reason that it would have without cases and exit status.  An entry
    whose day is over changes nothing but the reason.
    """
    valid = [entry for entry in entries if not entry.expired(today)]
    cases = tuple(_case(test, case, [e for e in valid if e.case]) for case in test.cases)
    outcome, reason = test.outcome, test.reason
    excused = [case for case in cases if case.outcome is Outcome.XFAIL]
    if outcome is Outcome.FAIL and excused and _only_cases_failed(ended):
        outcome = worst(case.outcome for case in cases)
        outcome, reason = _worse((outcome, _first(cases, outcome)), apart)
    stale = [entry for entry in valid if entry.case and _matches_nothing(test, entry)]
    if stale:
        where = f"an entry of {FILE_NAME} matches no case of this test: {stale[0].test}"
        outcome, reason = _worse((outcome, reason), (Outcome.ERROR, where))
    if any(case.outcome is Outcome.XPASS for case in cases):
        outcome, reason = _worse((outcome, reason), (Outcome.XPASS, _first(cases, Outcome.XPASS)))
    for entry in [entry for entry in valid if not entry.case]:
        if outcome is entry.expected:
            outcome, reason = Outcome.XFAIL, f"known: {entry}; {reason}"
            cases = tuple(
                case
                if case.outcome.as_expected
                else msgspec.structs.replace(case, outcome=Outcome.XFAIL)
                for case in cases
            )
        elif outcome is Outcome.PASS:
            outcome, reason = Outcome.XPASS, f"passed, but expected to {_verb(entry)}: {entry}"
    gone = [entry for entry in entries if entry.expired(today)]
    if gone and not outcome.as_expected:
        reason = f"{reason} (the entry '{gone[0].test}' of {FILE_NAME} expired on {gone[0].until})"
    return msgspec.structs.replace(test, outcome=outcome, reason=reason, cases=cases)


def _case(test: Test, case: Case, entries: Iterable[Expectation]) -> Case:
    name = case.name.removeprefix(f"{test.name}/")
    for entry in entries:
        if not matches(entry.case, name):
            continue
        if case.outcome is entry.expected:
            said = f"known: {entry}" + (f"; {case.reason}" if case.reason else "")
            return msgspec.structs.replace(case, outcome=Outcome.XFAIL, reason=said)
        if case.outcome is Outcome.PASS:
            said = f"passed, but expected to {_verb(entry)}: {entry}"
            return msgspec.structs.replace(case, outcome=Outcome.XPASS, reason=said)
    return case


def _only_cases_failed(ended: TestEnded) -> bool:
    """Whether the program's failure is no more than that of its cases, all of which it reported.

    A case that has others below it may fail only because one of those does.
    """
    ending, report = ended.ending, ended.report
    plain = ending.how == "exit" and ending.status in (0, 1) and ending.log_complete
    return (
        plain
        and not report.broken
        and all(case.outcome is not Outcome.NOTRUN for case in report.leaves())
        and all(
            any(leaf.outcome is Outcome.FAIL for leaf in _leaves(case))
            for case in report.walk()
            if case.children and case.outcome is Outcome.FAIL
        )
    )


def _leaves(case: Reported) -> Iterable[Reported]:
    return (each for each in case.walk() if not each.children)


def _matches_nothing(test: Test, entry: Expectation) -> bool:
    """Whether the program reported all it has, and *entry*'s case is not among it."""
    complete = test.cases and all(
        case.outcome not in (Outcome.NOTRUN, Outcome.ERROR) for case in test.cases
    )
    whole = complete and test.outcome in (Outcome.PASS, Outcome.FAIL, Outcome.XFAIL, Outcome.XPASS)
    prefix = f"{test.name}/"
    names = [case.name.removeprefix(prefix) for case in test.cases]
    return bool(whole) and not any(matches(entry.case, name) for name in names)


def _first(cases: Sequence[Case], outcome: Outcome) -> str:
    these = [case for case in cases if case.outcome is outcome]
    more = f" and {len(these) - 1} more" if len(these) > 1 else ""
    return f"{these[0].name.partition('/')[2]}{more}: {these[0].reason}" if these else ""


def _worse(one: tuple[Outcome, str], other: tuple[Outcome, str]) -> tuple[Outcome, str]:
    return other if worst([one[0], other[0]]) is not one[0] else one


def _verb(entry: Expectation) -> str:
    return {"timeout": "time out", "splat": "make the kernel complain"}.get(
        entry.outcome, entry.outcome
    )
