# SPDX-License-Identifier: GPL-2.0-only
"""What a journal means: a pure function from records to results.

Three witnesses speak for a test: how its program ended, what it reported in KTAP, and what the
kernel wrote to its log.  They must agree, or the worst of them is the outcome.  A witness that is
missing never speaks for pass: a test that was planned and never ended is ``notrun`` or ``error``.
"""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime

import msgspec

from harness import ktap
from harness.guest.api import How
from harness.klog import Finding, Severity
from harness.klog.allow import Applied, apply_allowances
from harness.ktap import Report
from harness.outcome import Outcome, worst
from harness.run import known, repeat
from harness.run.records import (
    Decoded,
    Ending,
    GuestFailed,
    GuestReady,
    PlannedTest,
    Record,
    RunEnded,
    RunResumed,
    RunStarted,
    TestEnded,
    TestStarted,
)
from harness.run.results import Case, KernelReport, Logs, Machine, Results, Test

# kselftest's exit codes (tools/testing/selftests/kselftest.h).  Any other status is a failure, and
# so is KSFT_XFAIL where no reported case says xfail: 2 is what many programs return when they give
# up, and the kernel's own runner takes it for "not ok".
_XFAIL_STATUS = 2
_STATUS = {
    0: Outcome.PASS,
    1: Outcome.FAIL,
    3: Outcome.XPASS,
    4: Outcome.SKIP,
}
_EXCERPT_LINES = 60
_CLEAN_EXIT = Ending(how="exit", status=0)


class _Judged:
    """An outcome with its reason, growing worse as witnesses are heard."""

    def __init__(self, outcome: Outcome, reason: str = "") -> None:
        self.outcome = outcome
        self.reason = reason

    def hear(self, outcome: Outcome, reason: str) -> None:
        """Take *outcome* if it is worse than what was heard before."""
        if worst([self.outcome, outcome]) is not self.outcome:
            self.outcome, self.reason = outcome, reason


def results(records: Sequence[Record]) -> Results:
    """Return what the run says.

    There must be one :class:`RunStarted` (ValueError otherwise); every planned test comes out, in
    the order of the plan.
    """
    head = next((record for record in records if isinstance(record, RunStarted)), None)
    if head is None:
        raise ValueError("a journal without a plan says nothing")
    failed = {record.suite: record for record in records if isinstance(record, GuestFailed)}
    ready = [record for record in records if isinstance(record, GuestReady)]
    resumed = [record for record in records if isinstance(record, RunResumed)]
    last = records[-1] if isinstance(records[-1], RunEnded) else None
    told: dict[str, list[_OfTest]] = {test.name: [] for test in head.tests}
    for record in records:
        if isinstance(record, _OfTest):
            told[record.name].append(record)

    kernel = head.kernel
    machine = Machine()
    for guest in ready:
        machine = guest.machine
        kernel = msgspec.structs.replace(kernel, release=guest.release, build_id=guest.build_id)
    return Results(
        run=head.run,
        started=head.time,
        ended=last.time if last else "",
        seconds=last.seconds if last else None,
        interrupted=last.interrupted if last else True,
        command=head.command,
        kernel=kernel,
        machine=machine,
        tests=tuple(
            repeat.together(head, test, _attempts(test, told[test.name], head, failed))
            for test in head.tests
        ),
        notes=(*head.notes, *(note for record in resumed for note in record.notes)),
    )


_OfTest = TestStarted | TestEnded | Decoded


def _attempts(
    test: PlannedTest,
    mine: Sequence[_OfTest],
    head: RunStarted,
    failed: Mapping[str, GuestFailed],
) -> list[Test]:
    """Return the results of the attempts at one test that began; at least one in any case."""
    started = {record.attempt: record for record in mine if isinstance(record, TestStarted)}
    ended = {record.attempt: record for record in mine if isinstance(record, TestEnded)}
    decoded = {record.attempt: record for record in mine if isinstance(record, Decoded)}
    return [
        judge_test(
            test,
            day_of(head),
            started.get(attempt),
            ended.get(attempt),
            failed.get(test.suite),
            decoded.get(attempt),
        )
        for attempt in sorted(started.keys() | ended.keys()) or [1]
    ]


def outcomes(records: Sequence[Record]) -> list[tuple[str, int, Outcome]]:
    """Return test, number and outcome of every attempt that has ended."""
    head = next((record for record in records if isinstance(record, RunStarted)), None)
    if head is None:
        return []
    plans, today = {test.name: test for test in head.tests}, day_of(head)
    return [
        (each.name, each.attempt, judge_test(plans[each.name], today, None, each).outcome)
        for each in records
        if isinstance(each, TestEnded)
    ]


def day_of(head: RunStarted) -> date:
    """Return the day on which entries with a last day are held against this run, in UTC.

    It is the day of the run and not of the report: the same journal always says the same.
    """
    return datetime.fromisoformat(head.time).astimezone(UTC).date()


def judge(ending: Ending, report: Report, findings: Iterable[Finding]) -> tuple[Outcome, str]:
    """Return the outcome of one program and the reason for whatever is not a plain pass."""
    if ending.how == "exit" and ending.status == _XFAIL_STATUS and report.outcome is Outcome.XFAIL:
        judged = _Judged(Outcome.XFAIL, _first_reason(report, Outcome.XFAIL))
    else:
        judged = _by_report(report, *_by_ending(ending))
    if not ending.log_complete:
        judged.hear(Outcome.ERROR, "the end of the kernel log did not arrive")
    complaints = [finding for finding in findings if finding.severity is not Severity.NOTE]
    for finding in complaints:
        severity = finding.severity.outcome
        if severity is not None:
            judged.hear(severity, _headline(finding))
    return judged.outcome, judged.reason


def _headline(finding: Finding) -> str:
    """Return the title, with the place where it does not name that itself."""
    where = finding.function or finding.location
    return finding.title if not where or where in finding.title else f"{finding.title} in {where}"


def _by_ending(ending: Ending) -> tuple[Outcome, str]:
    status = ending.status or 0
    match ending.how:
        case "exit":
            outcome = _STATUS.get(status, Outcome.FAIL)
            plain = outcome in (Outcome.PASS, Outcome.SKIP)
            return outcome, "" if plain else f"exit status {status}"
        case "signal":
            return Outcome.FAIL, f"killed by {_signal_name(status)}"
        case "timeout":
            return Outcome.TIMEOUT, ending.detail or "its time was up"
        case "died":
            how = ending.death or How.PROTOCOL
            return _DEATHS.get(how, Outcome.ERROR), f"the guest died ({how}): {ending.detail}"
        case "not-started":
            return Outcome.ERROR, f"could not be started: {ending.detail}"
        case "harness":
            return Outcome.ERROR, ending.detail


_DEATHS = {
    How.PANIC: Outcome.CRASH,
    # A reset without a panic is reboot(2) or a triple fault; no one can tell which.
    How.RESET: Outcome.CRASH,
    How.HANG: Outcome.CRASH,
    How.POWER_OFF: Outcome.FAIL,
    How.UNKILLABLE: Outcome.TIMEOUT,
}
"""What a dead guest says of its test; every other death is our side's failure, an error."""


def _by_report(report: Report, outcome: Outcome, reason: str) -> _Judged:
    """Hold the program's own report against the way it ended."""
    judged = _Judged(outcome, reason)
    if not report.is_ktap and not report.broken:
        return judged
    said = report.outcome
    if said is Outcome.NOTRUN:
        # The program did run; that it kept silent about planned cases is what is wrong.
        said = Outcome.ERROR
    if outcome is Outcome.SKIP and _gave_up(report):
        judged.reason = _first_reason(report, Outcome.SKIP)
        return judged
    if outcome is Outcome.SKIP:
        # A skip is not a pass, however many cases passed before it; but a failed case is a fail.
        judged.reason = _skip_reason(report)
        if said is not Outcome.PASS:
            judged.hear(said, _first_reason(report, said))
        return judged
    if outcome is Outcome.PASS and said in (Outcome.SKIP, Outcome.XFAIL):
        return _Judged(said, _first_reason(report, said))
    if outcome is Outcome.FAIL and said.as_expected:
        # Killed, or a status other than 0, after a report without a failure: believe the worse.
        judged.reason = f"{reason}, although its report has no failure"
        return judged
    if outcome is Outcome.FAIL and said is Outcome.FAIL:
        return _Judged(said, _first_reason(report, said))
    judged.hear(said, _first_reason(report, said))
    return judged


def _gave_up(report: Report) -> bool:
    """Whether the program skipped the rest of its plan.

    ``ksft_exit_skip()`` of 6.1, called after the plan, prints one skipped result and exits: the
    cases behind it are planned and never reported.
    """
    reported = [case.outcome for case in report.leaves() if case.outcome is not Outcome.NOTRUN]
    return (
        not report.broken
        and set(reported) <= {Outcome.PASS, Outcome.SKIP}
        and reported[-1:] == [Outcome.SKIP]
    )


def _first_reason(report: Report, outcome: Outcome) -> str:
    """Say which cases made *outcome*, or which remark about the report did."""
    cases = [case for case in report.leaves() if case.outcome is outcome]
    if cases:
        first = cases[0]
        name = "/".join(first.path)
        more = f" and {len(cases) - 1} more" if len(cases) > 1 else ""
        return f"{name}{more}" + (f": {first.explanation}" if first.explanation else "")
    lost = sum(case.outcome is Outcome.NOTRUN for case in report.leaves())
    if lost:
        return f"its report cannot be trusted: {lost} planned case(s) were not reported"
    errors = [remark for remark in report.diagnostics if remark.kind.is_error]
    if errors:
        return f"its report cannot be trusted: {errors[0].text} (line {errors[0].line})"
    nothing = "its report cannot be trusted: it has no result"
    return report.bail_out or report.skip_reason or nothing


def _skip_reason(report: Report) -> str:
    if report.skip_reason:
        return report.skip_reason
    return _first_reason(report, Outcome.SKIP)


def judge_test(
    plan: PlannedTest,
    today: date,
    started: TestStarted | None = None,
    ended: TestEnded | None = None,
    guest: GuestFailed | None = None,
    decoded: Decoded | None = None,
) -> Test:
    """Return the result of one attempt at a planned test from whatever is known of it."""

    def untold(outcome: Outcome, reason: str, **more: object) -> Test:
        values: dict[str, object] = {
            "name": plan.name,
            "suite": plan.suite,
            "program": plan.program,
            "outcome": outcome,
            "reason": reason,
            "rerun": plan.rerun,
            "logs": Logs(build=plan.build_log),
        }
        return Test(**(values | more))  # type: ignore[arg-type]

    if plan.broken:
        return untold(Outcome.ERROR, f"does not build: {plan.broken}")
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
        return untold(Outcome.NOTRUN, "begun, and the run was cut off", seed=started.seed)
    if ended is None:
        return untold(Outcome.NOTRUN, "the run ended before its turn")
    applied = apply_allowances(ended.findings, plan.allow, today)
    outcome, reason = judge(ended.ending, ended.report, applied.remaining)
    shown = _decoded(ended.findings, decoded)
    test = Test(
        name=plan.name,
        suite=plan.suite,
        program=plan.program,
        outcome=outcome,
        reason=reason,
        cases=tuple(_cases(plan.name, ended.report)),
        output="" if outcome in (Outcome.PASS, Outcome.SKIP) else ended.output,
        kernel_log=_excerpt(shown),
        findings=tuple(
            _told(each, found, applied) for each, found in zip(shown, ended.findings, strict=True)
        ),
        guest_s=ended.guest_s,
        total_s=ended.total_s,
        seed=started.seed if started else "",
        logs=ended.logs,
        rerun=plan.rerun,
    )
    for each in applied.expired:
        if outcome in (Outcome.SPLAT, Outcome.CRASH):
            gone = f"{test.reason} (allowed until {each.allowance.until})"
            test = msgspec.structs.replace(test, reason=gone)
            break
    without_cases = judge(_CLEAN_EXIT, ktap.Parser().close(), applied.remaining)
    return known.apply(test, plan.expect, today, ended, without_cases)


def _decoded(findings: Sequence[Finding], decoded: Decoded | None) -> Sequence[Finding]:
    if decoded is None or len(decoded.reports) != len(findings):
        return findings
    return [
        dataclasses.replace(finding, report=report)
        for finding, report in zip(findings, decoded.reports, strict=True)
    ]


def _told(shown: Finding, found: Finding, applied: Applied) -> KernelReport:
    why = [each.allowance.reason for each in applied.allowed if each.finding is found]
    return KernelReport(
        kind=shown.kind,
        severity=shown.severity,
        title=shown.title,
        function=shown.function,
        location=shown.location,
        fingerprint=shown.fingerprint,
        count=shown.count,
        allowed=why[0] if why else "",
        report=shown.report,
    )


def _cases(test: str, report: Report) -> Iterable[Case]:
    for case in report.leaves():
        failed = case.outcome not in (Outcome.PASS, Outcome.SKIP)
        yield Case(
            name=f"{test}/{'/'.join(case.path)}",
            outcome=case.outcome,
            reason=case.explanation or (_assertion(case.output) if failed else ""),
            text=case.output if failed else "",
        )


def _assertion(output: str) -> str:
    """Return the line that says what failed: the first that names a source line."""
    lines = [line.lstrip("# ").strip() for line in output.splitlines()]
    named = [line for line in lines if ".c:" in line or ".h:" in line]
    return (named or lines or [""])[0]


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


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
