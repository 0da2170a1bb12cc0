# SPDX-License-Identifier: GPL-2.0-only
"""Compare results with ``expectations.toml``: known failures, and entries that no longer hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

import msgspec

from harness.judge.seen import Seen, case_differs, describe, differs
from harness.judge.witnesses import ending_name
from harness.ktap import Case as Reported
from harness.model.expectations import FILE_NAME, Expectation, matches
from harness.model.ids import case_of
from harness.model.results import Case, Test
from harness.outcome import Outcome, worst

_KNOWABLE = frozenset({Outcome.FAIL, Outcome.TIMEOUT, Outcome.SPLAT, Outcome.CRASH})
"""Outcomes that an entry can expect; the others are no evidence about the test."""


def apply(
    test: Test,
    entries: Sequence[Expectation],
    today: date,
    seen: Seen,
    apart: tuple[Outcome, str],
) -> Test:
    """Return *test* as it is in the light of *entries*.

    What failed and looks as an entry says becomes ``xfail``, what passed against one ``xpass``.
    Everything else keeps its outcome, and where there was an entry the reason says what it expected
    and what was *seen*.  A case's failure excuses its program only if nothing else speaks against
    that; *apart* is the outcome and reason that it would have without cases and exit status.  An
    entry whose day is over changes nothing but the reason.
    """
    valid = [entry for entry in entries if not entry.expired(today)]
    cases = tuple(_case(test, case, [e for e in valid if e.case]) for case in test.cases)
    outcome, reason = test.outcome, test.reason
    excused = [case for case in cases if case.outcome is Outcome.XFAIL]
    unlike = [case for case, was in zip(cases, test.cases, strict=True) if _is_unlike(case, was)]
    if unlike and outcome is unlike[0].outcome:
        reason = f"{unlike[0].name.removeprefix(f'{test.name}/')}: {unlike[0].reason}"
    ended_itself = outcome is Outcome.FAIL or seen.came_to_its_end
    if outcome in (Outcome.FAIL, Outcome.TIMEOUT) and ended_itself and excused:
        more = _more_than_cases(seen)
        if more:
            reason = f"{outcome}, not as known: {more}; known of its cases: {excused[0].reason}"
        else:
            outcome = worst(case.outcome for case in cases)
            outcome, reason = _worse((outcome, _first(cases, outcome)), apart)
    stale = [entry for entry in valid if entry.case and _matches_nothing(test, entry)]
    if stale:
        where = f"an entry of {FILE_NAME} matches no case of this test: {stale[0].test}"
        outcome, reason = _worse((outcome, reason), (Outcome.ERROR, where))
    if any(case.outcome is Outcome.XPASS for case in cases):
        outcome, reason = _worse((outcome, reason), (Outcome.XPASS, _first(cases, Outcome.XPASS)))
    whole = [entry for entry in valid if not entry.case]
    if whole and outcome in _KNOWABLE:
        outcome, reason, cases = _program(whole, (outcome, reason), cases, seen)
    elif outcome is Outcome.PASS and (certain := [each for each in whole if not each.sometimes]):
        entry = certain[0]
        outcome, reason = Outcome.XPASS, f"passed, but expected to {_verb(entry)}: {entry}"
    gone = [entry for entry in entries if entry.expired(today)]
    if gone and not outcome.as_expected:
        reason = f"{reason} (the entry '{gone[0].test}' of {FILE_NAME} expired on {gone[0].until})"
    return msgspec.structs.replace(test, outcome=outcome, reason=reason, cases=cases)


def _program(
    entries: Sequence[Expectation],
    judged: tuple[Outcome, str],
    cases: tuple[Case, ...],
    seen: Seen,
) -> tuple[Outcome, str, tuple[Case, ...]]:
    """Return outcome, reason and cases of a program that failed and for which there are *entries*.

    One of them has to be right in all it says.
    """
    outcome, reason = judged
    bad = [case for case in cases if not case.outcome.as_expected]
    unknown = [case for case in bad if case.outcome is not Outcome.XPASS]
    wrong = {differs(entry, outcome, unknown, seen): entry for entry in reversed(entries)}
    if "" in wrong:
        known = tuple(_excuse(case, wrong[""]) if case in unknown else case for case in cases)
        said = Outcome.XFAIL, f"known: {wrong['']}; {reason}"
        stale = Outcome.XPASS, _first(known, Outcome.XPASS)
        return (*(stale if len(bad) > len(unknown) else said), known)
    expected = " or ".join(dict.fromkeys(entry.looks for entry in entries))
    difference, entry = list(wrong.items())[-1]
    return (
        outcome,
        f"{outcome}, not as known: {difference}; expected ({entry.reason}): {expected}; seen: "
        f"{describe(seen, unknown)}",
        cases,
    )


def _is_unlike(case: Case, was: Case) -> bool:
    """Whether there is an entry for a case, which failed in another way than that says."""
    return case.outcome is was.outcome and case.reason != was.reason


def _excuse(case: Case, entry: Expectation) -> Case:
    said = f"known of the whole program: {entry}" + (f"; {case.reason}" if case.reason else "")
    return msgspec.structs.replace(case, outcome=Outcome.XFAIL, reason=said)


def _case(test: Test, case: Case, entries: Iterable[Expectation]) -> Case:
    """Return *case* after comparison with the *entries* for cases; one that matches decides."""
    name = case_of(test.name, case.name)
    mine = [entry for entry in entries if matches(entry.case, name)]
    certain = [entry for entry in mine if not entry.sometimes]
    if certain and case.outcome is Outcome.PASS:
        said = f"passed, but expected to {_verb(certain[0])}: {certain[0]}"
        return msgspec.structs.replace(case, outcome=Outcome.XPASS, reason=said)
    if not mine or case.outcome not in _KNOWABLE:
        return case
    wrong = {case_differs(entry, case): entry for entry in reversed(mine)}
    if "" in wrong:
        said = f"known: {wrong['']}" + (f"; {case.reason}" if case.reason else "")
        return msgspec.structs.replace(case, outcome=Outcome.XFAIL, reason=said)
    expected = " or ".join(dict.fromkeys(entry.looks for entry in mine))
    difference, entry = list(wrong.items())[-1]
    said = f"{case.outcome}, not as known: {difference}; expected ({entry.reason}): {expected}"
    return msgspec.structs.replace(case, reason=said)


def _more_than_cases(seen: Seen) -> str:
    """Return what else there is to a program's failure than its cases'; empty for nothing.

    A case that has others below it may fail only because one of those does.
    """
    ending, report = seen.ended.ending, seen.ended.report
    if ending.how != "exit" or ending.status not in (0, 1):
        return f"it ended by {ending_name(ending)}"
    if not ending.log_complete:
        return "the end of the kernel log did not arrive"
    if lost := seen.lost(None):
        return lost
    for case in report.walk():
        failed = case.children and case.outcome is Outcome.FAIL
        if failed and not any(leaf.outcome is Outcome.FAIL for leaf in _leaves(case)):
            return f"{'/'.join(case.path)} failed, and none of the cases below it"
    return ""


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
    words = {Outcome.TIMEOUT: "time out", Outcome.SPLAT: "make the kernel complain"}
    return " or ".join(words.get(outcome, outcome.value) for outcome in entry.expected)
