# SPDX-License-Identifier: GPL-2.0-only
"""Results of the checks of a series, from a journal.

A check that could not be made is a skip or an error with the reason, and never a pass.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.model.checks import SUITE, CheckResult, PlannedCheck, Severity, describe
from harness.model.records import CheckEnded, ChecksPlanned, Record, RunEnded
from harness.model.results import Machine, Remark, Results, Test
from harness.outcome import Outcome

_TEXT_LINES = 200


def planned(records: Sequence[Record]) -> ChecksPlanned | None:
    """Return the plan if *records* are those of checks; None for a run of tests."""
    return next((each for each in records if isinstance(each, ChecksPlanned)), None)


def results(records: Sequence[Record]) -> Results:
    """Return the result of every planned check; raises ValueError if *records* have no plan."""
    plan = planned(records)
    if plan is None:
        raise ValueError("a journal without a plan says nothing")
    ended = {
        (each.result.number, each.result.check): each.result
        for each in records
        if isinstance(each, CheckEnded)
    }
    last = records[-1] if isinstance(records[-1], RunEnded) else None
    return Results(
        run=plan.run,
        started=plan.time,
        ended=last.time if last else "",
        seconds=last.seconds if last else None,
        interrupted=last.interrupted if last else True,
        error=last.error if last else "",
        command=plan.command,
        kernel=plan.kernel,
        machine=Machine(),
        tests=tuple(
            _test(each, ended.get((each.number, each.check)), plan.fail_on) for each in plan.checks
        ),
        notes=plan.notes,
    )


def _test(plan: PlannedCheck, ended: CheckResult | None, fail_on: Severity) -> Test:
    outcome, reason = _judge(plan, ended, fail_on)
    lines = [describe(found, plan.patch) for found in (ended.findings if ended else ())]
    left = len(lines) - _TEXT_LINES
    text = "\n".join([plan.title, *lines[:_TEXT_LINES]])
    return Test(
        name=plan.name,
        suite=SUITE,
        program=plan.program,
        outcome=outcome,
        reason=reason,
        planned=True,
        output=text + (f"\n[... {left} more findings]" if left > 0 else "") if lines else "",
        remarks=tuple(
            Remark(severity=found.severity, text=found.text, file=found.file, line=found.line)
            for found in (ended.findings if ended else ())
        ),
        total_s=round(ended.seconds, 3) if ended else None,
        rerun=plan.rerun,
    )


def _judge(plan: PlannedCheck, ended: CheckResult | None, fail_on: Severity) -> tuple[Outcome, str]:
    if ended is None:
        return Outcome.NOTRUN, "the run ended before its turn"
    if ended.trouble:
        return Outcome.ERROR, ended.trouble
    if ended.notrun:
        return Outcome.NOTRUN, ended.notrun
    if ended.skipped:
        return Outcome.SKIP, ended.skipped
    worst = ended.worst()
    if worst is None:
        return Outcome.PASS, ""
    first = next(found for found in ended.findings if found.severity is worst)
    more = f" (and {len(ended.findings) - 1} more)" if len(ended.findings) > 1 else ""
    reason = describe(first, plan.patch) + more
    bad = worst is Severity.ERROR or worst is fail_on
    return (Outcome.FAIL if bad else Outcome.PASS), reason
