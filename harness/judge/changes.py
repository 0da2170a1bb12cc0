# SPDX-License-Identifier: GPL-2.0-only
"""Compare two runs, case by case: what is worse, what is better, what is new."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from harness.judge.assertions import assertions
from harness.judge.figures import figures
from harness.judge.unstable import Stand, counts, stand
from harness.klog import Severity
from harness.model.changes import CaseResult, Changed, Changes, Kind
from harness.model.ids import case_of
from harness.model.plan import ALL
from harness.model.results import Case, Results, Test
from harness.outcome import Outcome

_UNKNOWN = (Outcome.NOTRUN, Outcome.ERROR)
"""Outcomes that are no evidence about the kernel."""


def changes(before: Results, after: Results) -> Changes:
    """Compare *after* with *before*.

    A program counts beside its cases where it ended worse than all of them, such as by a crash; and
    where it has none.  A suite that could not be tested at all stands for all its cases.
    """
    then, now = dict(_said(before)), dict(_said(after))
    lost_then, lost_now = _lost(before), _lost(after)
    tests = {test.name: test for test in before.tests}, {test.name: test for test in after.tests}
    where = _owners(before) | _owners(after)
    gone = [name for name in then if name not in now]
    cases = []
    for name in (*now, *gone):
        test, suite = where[name]
        first = then.get(name) or lost_then.get(suite)
        last = now.get(name) or lost_now.get(suite)
        pair = tests[0].get(test), tests[1].get(test)
        if name == test:
            # Where a program was no worse than its cases, it stands for itself all the same.
            first = first or (_of_test(pair[0]) if pair[0] else None)
            last = last or (_of_test(pair[1]) if pair[1] else None)
        case = case_of(test, name) if name != test else ""
        counted = stand(pair[0], pair[1], case) if pair[0] and pair[1] else Stand.PLAIN
        kind = _kind(first, last, counted)
        cases.append(Changed(name=name, kind=kind, before=first, after=last))
    known = {suite for _, suite in where.values()}
    for suite in (each for each in lost_now if each not in known):
        first, last = lost_then.get(suite), lost_now[suite]
        kind = _kind(first, last, Stand.PLAIN)
        cases.append(Changed(name=f"{suite}:{ALL}", kind=kind, before=first, after=last))
    return Changes(
        before=before.run,
        after=after.run,
        cases=tuple(cases),
        figures=figures(before, after),
        unknown=_unknown(after),
    )


def _unknown(after: Results) -> str:
    if after.error:
        return f"the second run was cut off: {after.error}"
    if after.interrupted:
        return "the second run was interrupted"
    if not after.tests:
        return "the second run has no test"
    return "" if any(map(_ran, after.tests)) else "no test of the second run could run"


def _lost(results: Results) -> Mapping[str, CaseResult]:
    """Return for each suite that could not be tested at all what is said of it."""
    return {test.suite: _of_test(test) for test in results.tests if test.program == ALL}


def _owners(results: Results) -> dict[str, tuple[str, str]]:
    """Return for each name the test that it belongs to, and its suite."""
    found = {}
    for test in (each for each in results.tests if each.program != ALL):
        for name in (test.name, *(case.name for case in test.cases)):
            found[name] = (test.name, test.suite)
    return found


def _said(results: Results) -> Iterator[tuple[str, CaseResult]]:
    for test in results.tests:
        if test.program == ALL:
            continue
        for case in test.cases:
            yield case.name, _of_case(test, case)
        if all(case.outcome.rank < test.outcome.rank for case in test.cases):
            yield test.name, _of_test(test)


def _of_case(test: Test, case: Case) -> CaseResult:
    return CaseResult(
        outcome=case.outcome,
        reason=case.reason,
        rerun=test.rerun,
        signs=() if case.outcome.as_expected else assertions(case.text) or (case.reason,),
        counts=counts(test, case_of(test.name, case.name)),
    )


def _of_test(test: Test) -> CaseResult:
    complaints = [
        each.fingerprint
        for each in test.findings
        if each.severity != Severity.NOTE and not each.allowed
    ]
    signs = tuple(dict.fromkeys((*complaints, *test.at_boot)))
    return CaseResult(
        outcome=test.outcome,
        reason=test.reason,
        rerun=test.rerun,
        signs=() if test.outcome.as_expected else signs or (test.reason,),
        ran=_ran(test),
        counts=counts(test),
    )


def _ran(test: Test) -> bool:
    if test.outcome in _UNKNOWN:
        return False
    # What has no guest is told by the outcome of its boot, and has neither a beginning nor an end.
    of_boot = test.outcome in (Outcome.CRASH, Outcome.TIMEOUT, Outcome.SPLAT)
    return not of_boot or bool(test.started or test.ending or test.cases)


def _kind(before: CaseResult | None, after: CaseResult | None, counted: Stand) -> Kind:
    there = after is not None and after.outcome is not Outcome.SKIP
    was_there = before is not None and before.outcome is not Outcome.SKIP
    if after is None:
        return Kind.GONE if was_there else Kind.SAME
    decided = {Stand.WORSE: Kind.REGRESSION, Stand.BETTER: Kind.FIXED}
    decided[Stand.UNSTABLE] = Kind.UNSTABLE
    if counted in decided:
        return decided[counted]
    good = after.outcome.as_expected
    if before is None and not good:
        return Kind.NEW_FAILURE
    if before is not None and (before.outcome in _UNKNOWN or not before.ran):
        if good:
            return Kind.NEW if there else Kind.SAME
        alike = (before.outcome, before.signs) == (after.outcome, after.signs)
        return Kind.STILL_FAILING if alike else Kind.UNKNOWN
    was_good = before is None or before.outcome.as_expected
    if was_good != good:
        return Kind.FIXED if good else Kind.REGRESSION
    if not good:
        assert before is not None  # noqa: S101  it was bad
        alike = (before.outcome, before.signs) == (after.outcome, after.signs)
        return Kind.STILL_FAILING if alike else Kind.OTHER_FAILURE
    if was_there == there:
        return Kind.SAME
    return Kind.NEW if there else Kind.LOST


def of_kernels(base: Results, tip: Results, base_name: str, tip_name: str) -> Changes:
    """Compare two kernels of one run, given by name."""
    found = changes(base, tip)
    return msgspec.structs.replace(found, before=base_name, after=tip_name)
