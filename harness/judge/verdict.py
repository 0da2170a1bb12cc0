# SPDX-License-Identifier: GPL-2.0-only
"""Judge a run: a pure function from a journal's records to results.

Each attempt at a test is judged by its witnesses, compared with its expectations, and summed up
with the other attempts.  A witness that is missing never speaks for pass: a test that was planned
and never ended is ``notrun`` or ``error``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime

import msgspec

from harness import ktap
from harness.judge import injected, known, races, repeat
from harness.judge.assertions import assertions
from harness.judge.boot import (
    allowed_at,
    boot_reports,
    boots_of,
    held_against,
    kernel_report,
)
from harness.judge.notes import notes
from harness.judge.seen import Seen
from harness.judge.witnesses import ending_name, hidden, judge, planned, skipped_rest
from harness.klog import Finding, Severity
from harness.klog.allow import Allowed, Applied, apply_allowances
from harness.model.faults import BudgetSpent, Surveyed, SweepStarted
from harness.model.ids import HERE, ONLY, HostName, KernelName, case_of
from harness.model.plan import Group, PlannedTest
from harness.model.records import (
    AttemptLost,
    Boot,
    CellPlanned,
    Decoded,
    Ending,
    GuestFailed,
    GuestReady,
    Record,
    Requested,
    RunEnded,
    RunResumed,
    RunStarted,
    TestEnded,
    TestStarted,
    kernel_names,
    of_kernel,
    standing,
)
from harness.model.results import Case, KernelReport, Logs, Machine, Results, Test
from harness.outcome import Outcome

_EXCERPT_LINES = 60


def every(records: Sequence[Record]) -> dict[KernelName, Results]:
    """Return the results of each kernel of the run, in their order."""
    return {name: results(records, name) for name in kernel_names(records)}


def results(records: Sequence[Record], kernel_name: KernelName = ONLY) -> Results:
    """Return what the run says of a kernel; that of a run over one kernel has no name.

    There must be a plan for it (ValueError otherwise); every planned test comes out, in the order
    of the plan.
    """
    same = {
        record.suite: record.same_as
        for record in records
        if isinstance(record, CellPlanned) and record.kernel == kernel_name
    }
    records = standing(of_kernel(records, kernel_name))
    head = next(record for record in records if isinstance(record, RunStarted))
    failed = {
        (record.suite, record.guest): record
        for record in records
        if isinstance(record, GuestFailed)
    }
    machines = _machines(records)
    ready = [record for record in records if isinstance(record, GuestReady)]
    # Lines can be looked up after the end.
    final = next(record for record in reversed(records) if not isinstance(record, Decoded))
    last = final if isinstance(final, RunEnded) else None
    asked = records[0] if isinstance(records[0], Requested) else None
    prepare_s = last.prepare_s if last else None
    told: dict[str, list[_OfTest]] = {test.name: [] for test in head.tests}
    for record in records:
        if isinstance(record, _OfTest):
            told[record.name].append(record)

    kernel = head.kernel
    for guest in ready:
        kernel = msgspec.structs.replace(kernel, release=guest.release, build_id=guest.build_id)
    boots = boots_of(records)
    spent = _spent(records)
    tests = tuple(
        msgspec.structs.replace(
            result,
            timeout_s=test.timeout_s,
            guest=ran_on.guest,
            accelerator=ran_on.accelerator,
            reused=_reused(told[test.name]),
            same_as=same.get(test.suite),
            lost=sum(isinstance(each, AttemptLost) for each in told[test.name]),
        )
        for test in head.tests
        for tries in [_tries(test, told[test.name], head, failed, boots, spent)]
        for result in [repeat.combine_attempts(head, test, *tries)]
        for ran_on in [_machine_of(test, result.host, machines)]
    )
    said = Results(
        run=head.run,
        requested=asked.time if asked else "",
        started=head.time,
        ended=last.time if last else "",
        seconds=last.seconds if last else None,
        prepare_s=prepare_s,
        tests_s=last.seconds - prepare_s if last and prepare_s is not None else None,
        interrupted=last.interrupted if last else True,
        error=last.error if last else "",
        command=head.command,
        kernel=kernel,
        machine=all_of([record.machine for record in ready]),
        tests=tests,
        at_boot=boot_reports(head, records, tests),
        notes=notes(head, records, tests),
    )
    sweeps = next((record for record in records if isinstance(record, SweepStarted)), None)
    said = races.told(said, records)
    return said if sweeps is None else injected.told(said, head.surveys, sweeps.patches)


def _spent(records: Iterable[Record]) -> float | None:
    """Return the budget of the run in seconds if it is used up; None otherwise."""
    spent = None
    for record in records:
        if isinstance(record, BudgetSpent):
            spent = record.seconds
        elif isinstance(record, RunResumed):
            spent = None
    return spent


def _reused(mine: Sequence[_OfTest]) -> str:
    """Return the earlier run that observed a test; empty where it ran in this one."""
    ended = [record for record in mine if isinstance(record, TestEnded)]
    return ended[-1].reused if ended else ""


def _machines(records: Iterable[Record]) -> dict[Group, dict[HostName, Machine]]:
    """Return what guests of each kind were, on each host."""
    found: dict[Group, dict[HostName, Machine]] = {}
    for each in records:
        if isinstance(each, GuestReady):
            found.setdefault((each.suite, each.guest), {})[each.host] = each.machine
    return found


def _machine_of(
    test: PlannedTest, host: HostName, machines: Mapping[Group, Mapping[HostName, Machine]]
) -> Machine:
    """Return what *test* ran on; what it would have run on, where it did not."""
    there = machines.get(test.group, {}) if test.runnable else {}
    return there.get(host) or next(iter(there.values()), Machine())


def all_of(machines: Sequence[Machine]) -> Machine:
    """Return in one what several machines are; what they have in common is said once."""

    def each(name: str) -> str:
        return "; ".join(dict.fromkeys(filter(None, (getattr(one, name) for one in machines))))

    return Machine(**{name: each(name) for name in Machine.__struct_fields__})


_OfTest = TestStarted | AttemptLost | TestEnded | Decoded


def _tries(
    test: PlannedTest,
    mine: Sequence[_OfTest],
    head: RunStarted,
    failed: Mapping[Group, GuestFailed],
    boots: Mapping[tuple[Group, HostName], Boot],
    spent: float | None,
) -> tuple[list[Test], list[Test]]:
    """Return the results of a test's attempts that began, at least one, and of its reruns."""
    started = {record.attempt: record for record in mine if isinstance(record, TestStarted)}
    ended = {record.attempt: record for record in mine if isinstance(record, TestEnded)}
    decoded = {record.attempt: record for record in mine if isinstance(record, Decoded)}
    hosts = {attempt: record.host for attempt, record in started.items()}
    known = started.keys() | ended.keys()
    planned = sorted(each for each in known if not repeat.is_rerun(head, each)) or [1]
    reruns = sorted(each for each in ended if repeat.is_rerun(head, each))

    def judged(attempt: int) -> Test:
        return judge_test(
            test,
            day_of(head),
            started.get(attempt),
            ended.get(attempt),
            failed.get(test.group),
            decoded.get(attempt),
            boots.get((test.group, hosts.get(attempt, HERE))),
            head.survey_of(test),
            spent,
        )

    return [judged(each) for each in planned], [judged(each) for each in reruns]


def ended_attempts(
    records: Sequence[Record], kernel_name: KernelName = ONLY
) -> list[tuple[str, int, Test]]:
    """Return test, number and result of every attempt on a kernel that has ended."""
    if kernel_name not in kernel_names(records):
        return []
    records = of_kernel(records, kernel_name)
    head = next(record for record in records if isinstance(record, RunStarted))
    plans, today, boots = {test.name: test for test in head.tests}, day_of(head), boots_of(records)
    hosts = {
        (each.name, each.attempt): each.host for each in records if isinstance(each, TestStarted)
    }

    def boot(ended: TestEnded) -> Boot | None:
        host = hosts.get((ended.name, ended.attempt), HERE)
        return boots.get((plans[ended.name].group, host))

    return [
        (
            each.name,
            each.attempt,
            msgspec.structs.replace(
                judge_test(
                    plans[each.name],
                    today,
                    None,
                    each,
                    boot=boot(each),
                    survey=head.survey_of(plans[each.name]),
                ),
                reused=each.reused,
            ),
        )
        for each in standing(records)
        if isinstance(each, TestEnded)
    ]


def outcomes(
    records: Sequence[Record], kernel_name: KernelName = ONLY
) -> list[tuple[str, int, Outcome]]:
    """Return test, number and outcome of every attempt on a kernel that has ended."""
    each = ended_attempts(records, kernel_name)
    return [(name, attempt, result.outcome) for name, attempt, result in each]


def day_of(head: RunStarted) -> date:
    """Return the day that decides whether entries have expired for this run, in UTC.

    It is the day of the run and not of the report: the same journal always says the same.
    """
    return datetime.fromisoformat(head.time).astimezone(UTC).date()


def judge_test(
    plan: PlannedTest,
    today: date,
    started: TestStarted | None = None,
    ended: TestEnded | None = None,
    guest: GuestFailed | None = None,
    decoded: Decoded | None = None,
    boot: Boot | None = None,
    survey: Surveyed | None = None,
    spent: float | None = None,
) -> Test:
    """Return the result of one attempt at a planned test from whatever is known of it.

    *boot* is that of the guest from which its own was restored, *survey* what is known of the test
    of which it is a point, *spent* the budget in seconds of a run that has none left.
    """

    def untold(outcome: Outcome, reason: str, **more: object) -> Test:
        values: dict[str, object] = {
            "name": plan.name,
            "suite": plan.suite,
            "program": plan.program,
            "outcome": outcome,
            "reason": reason,
            "rerun": plan.rerun,
            "logs": Logs(build=plan.build_log),
            "injected": injected.without_end(plan.fault, begun=started is not None),
            "schedule": plan.schedule,
        }
        return Test(**(values | more))  # type: ignore[arg-type]  # of any field

    if plan.broken:
        return untold(Outcome.ERROR, plan.broken)
    if plan.unfit:
        return untold(Outcome.SKIP, plan.unfit)
    if ended is None and guest is not None:
        return untold(
            Outcome.CRASH,
            guest.reason,
            kernel_log=guest.kernel_log,
            logs=Logs(kernel=guest.log),
        )
    if ended is None and started is not None:
        return untold(
            Outcome.NOTRUN,
            "the test had begun when the run was cut off",
            seed=started.seed,
            host=started.host,
        )
    if ended is None and spent is not None and plan.swept:
        return untold(Outcome.SKIP, f"beyond the budget of {spent:g} s")
    if ended is None:
        return untold(Outcome.NOTRUN, "the run ended before the test began")
    applied = apply_allowances(ended.findings, allowed_at("test", plan), today)
    allowed = [each.finding for each in applied.allowed]
    booted = held_against(plan, ended.boot or boot, today)
    outcome, reason = judge(
        ended.ending, ended.report, applied.remaining, allowed, ended.output, booted
    )
    shown = _decoded(ended.findings, decoded)
    test = Test(
        name=plan.name,
        suite=plan.suite,
        program=plan.program,
        outcome=outcome,
        reason=reason,
        ending=ending_name(ended.ending),
        planned=planned(ended.report),
        cases=tuple(_cases(plan.name, ended)),
        output="" if outcome in (Outcome.PASS, Outcome.SKIP) else ended.output,
        kernel_log=_excerpt([each for each in shown if each.kind != injected.KIND]),
        findings=tuple(
            _told(each, found, applied) for each, found in zip(shown, ended.findings, strict=True)
        ),
        at_boot=tuple(each.fingerprint for each in booted.complaints),
        guest_s=ended.guest_s,
        total_s=ended.total_s,
        metrics=ended.metrics,
        metric_faults=ended.metric_faults,
        functions=ended.functions,
        seed=started.seed if started else "",
        started=started.time if started else "",
        limit_s=started.limit_s if started else 0.0,
        host=started.host if started else HERE,
        logs=ended.logs,
        rerun=plan.rerun,
        schedule=plan.schedule,
    )
    if applied.refused and outcome in (Outcome.SPLAT, Outcome.CRASH):
        gone = f"{test.reason} ({_refusal(applied.refused[0], today)})"
        test = msgspec.structs.replace(test, reason=gone)
    clean = Ending(how="exit", status=0, taint=ended.ending.taint)
    without_cases = judge(clean, ktap.Parser().close(), applied.remaining, allowed, at_boot=booted)
    complaints = tuple(each for each in applied.remaining if each.severity is not Severity.NOTE)
    if plan.fault is not None and plan.fault.nth:
        facts = injected.Facts(complaints, allowed, booted, survey, decoded)
        return injected.judge_point(test, plan, ended, facts)
    missing = hidden(ended.ending, ended.findings) or booted.hidden
    seen = Seen(ended, complaints, missing, booted.complaints)
    return _no_better_than_cases(known.apply(test, plan.expect, today, seen, without_cases))


def _no_better_than_cases(test: Test) -> Test:
    """Return *test* with the outcome of its worst case, where its own is better than that."""
    bad = [case for case in test.cases if not case.outcome.as_expected]
    worst_case = max(bad, key=lambda case: case.outcome.severity, default=None)
    if worst_case is None or worst_case.outcome.severity <= test.outcome.severity:
        return test
    name = case_of(test.name, worst_case.name)
    more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
    why = f": {worst_case.reason}" if worst_case.reason else ""
    return msgspec.structs.replace(test, outcome=worst_case.outcome, reason=f"{name}{more}{why}")


def _refusal(refused: Allowed, today: date) -> str:
    """Return why an entry that matches a finding does not cover it."""
    entry, finding = refused.allowance, refused.finding
    if entry.expired(today):
        return f"allowed until {entry.until}"
    times = "once" if entry.times == 1 else f"{entry.times} times"
    return f"allowed {times} in a test, and it appeared more often ({finding.count} of this kind)"


def _decoded(findings: Sequence[Finding], decoded: Decoded | None) -> Sequence[Finding]:
    if decoded is None or len(decoded.reports) != len(findings):
        return findings
    return [
        msgspec.structs.replace(finding, report=report)
        for finding, report in zip(findings, decoded.reports, strict=True)
    ]


def _told(shown: Finding, found: Finding, applied: Applied) -> KernelReport:
    why = [each.allowance.reason for each in applied.allowed if each.finding is found]
    return kernel_report(shown, found, why[0] if why else "")


def _cases(test: str, ended: TestEnded) -> Iterable[Case]:
    rest = skipped_rest(ended.ending, ended.report)
    for case in ended.report.leaves():
        outcome, reason = case.outcome, case.explanation
        if outcome is Outcome.NOTRUN and rest is not None:
            outcome, reason = Outcome.SKIP, f"the program skipped the rest of its plan: {rest}"
        if outcome is Outcome.SKIP:
            reason = reason or "no reason given"
        failed = outcome not in (Outcome.PASS, Outcome.SKIP)
        yield Case(
            name=f"{test}/{'/'.join(case.path)}",
            outcome=outcome,
            reason=reason or (_assertion(case.output) if failed else ""),
            text=case.output if failed else "",
        )


def _assertion(output: str) -> str:
    """Return the line that says what failed: the first assertion, else the first line."""
    lines = [line.lstrip("# ").strip() for line in output.splitlines()]
    return (*assertions(output), *lines, "")[0]


def _excerpt(findings: Sequence[Finding]) -> str:
    """Join the kernel's reports, each cut to the lines that a reader of a report wants."""
    parts = []
    for finding in findings:
        lines = finding.report.splitlines()
        if len(lines) > _EXCERPT_LINES:
            left = len(lines) - _EXCERPT_LINES
            lines = [*lines[:_EXCERPT_LINES], f"... {left} more lines in the kernel log"]
        times = f"(seen {finding.count} times)\n" if finding.count > 1 else ""
        parts.append(times + "\n".join(lines))
    return "\n\n".join(parts)
