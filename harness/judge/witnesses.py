# SPDX-License-Identifier: GPL-2.0-only
"""Judge a test by three witnesses: its program's end, its KTAP report, and the kernel's log.

They must agree, or the worst of them is the outcome.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Sequence

import msgspec

from harness.klog import Finding, Severity
from harness.klog.taint import unaccounted
from harness.ktap import Report
from harness.model.events import STARVED_S, STARVED_WITHIN_S, STOOD_STILL_S, How
from harness.model.records import Ending
from harness.outcome import Outcome, worst

# kselftest's exit codes (tools/testing/selftests/kselftest.h).  Any other status is a failure, and
# so is KSFT_XFAIL where no reported case says xfail: 2 is what many programs return when they give
# up, and the kernel's own runner takes it for "not ok".
_XFAIL_STATUS = 2
_SKIP_STATUS = 4
_OUT_OF_MEMORY = "oom"
_STATUS = {
    0: Outcome.PASS,
    1: Outcome.FAIL,
    3: Outcome.XPASS,
    _SKIP_STATUS: Outcome.SKIP,
}


_RCU = "rcu"


class AtBoot(msgspec.Struct, frozen=True):
    """Findings of the guest's boot that count against a test."""

    complaints: tuple[Finding, ...] = ()
    """What it complained of, and was not allowed to."""
    hidden: str = ""
    """Which complaint is not in the kernel's log; empty where none is missing."""


class _Judged:
    """An outcome with its reason, which each witness can make worse."""

    def __init__(self, outcome: Outcome, reason: str = "") -> None:
        self.outcome = outcome
        self.reason = reason

    def hear(self, outcome: Outcome, reason: str) -> None:
        """Take *outcome* if it is worse than what was heard before."""
        if worst([self.outcome, outcome]) is not self.outcome:
            self.outcome, self.reason = outcome, reason


def judge(
    ending: Ending,
    report: Report,
    findings: Iterable[Finding],
    allowed: Sequence[Finding] = (),
    output: str = "",
    at_boot: AtBoot | None = None,
) -> tuple[Outcome, str]:
    """Return the outcome of one program and the reason for whatever is not a plain pass.

    *findings* are what the kernel said, *allowed* what it said and was allowed to; *output* is the
    end of what the program printed.  *at_boot* is what the kernel had said before.
    """
    findings = tuple(findings)
    if (
        ending.how == "exit"
        and ending.status == _XFAIL_STATUS
        and report.outcome is Outcome.XFAIL
        # Without a plan it may have given up with err(2) before its other cases.
        and planned(report)
    ):
        judged = _Judged(Outcome.XFAIL, _first_reason(report, Outcome.XFAIL))
    elif (
        ending.death is How.PANIC
        and (why := disturbed(ending))
        and any(finding.of_time for finding in findings)
    ):
        judged = _Judged(Outcome.ERROR, f"{why}, and its kernel panicked because of that")
    else:
        judged = _by_report(report, *_by_ending(ending))
    if judged.outcome is Outcome.SKIP and not judged.reason:
        judged.reason = f"exit status {_SKIP_STATUS}: {_skip_words(output) or 'no reason given'}"
    if not ending.log_complete:
        judged.hear(Outcome.ERROR, "the end of the kernel log did not arrive")
    missing = hidden(ending, (*findings, *allowed))
    if missing:
        judged.hear(Outcome.ERROR, missing)
    starved = next((finding for finding in findings if finding.kind == _OUT_OF_MEMORY), None)
    if starved and ending.how == "signal" and ending.status == signal.SIGKILL:
        judged.reason = f"{judged.reason}, because the guest was out of memory: {starved.title}"
    complaints = [finding for finding in findings if finding.severity is not Severity.NOTE]
    why = disturbed(ending)
    for finding in complaints:
        severity = finding.severity.outcome
        if why and finding.of_time:
            judged.hear(Outcome.ERROR, f"{why}, so nothing follows from '{finding.title}'")
        elif severity is not None:
            judged.hear(severity, _headline(finding))
    worst_finding = next((f for f in complaints if f.severity is Severity.CRASH), None)
    if ending.how == "died" and judged.outcome is Outcome.CRASH and worst_finding:
        judged.reason = f"{judged.reason}: {_headline(worst_finding)}"
    if why and judged.outcome is Outcome.FAIL:
        judged.reason = f"{judged.reason} ({why})"
    if _RCU in ending.restless:
        judged.hear(
            Outcome.ERROR,
            "the kernel did not become idle after the test: an RCU grace period did not end, so "
            "a complaint may come later",
        )
    _hear_of_boot(judged, at_boot or AtBoot())
    return judged.outcome, judged.reason


def _hear_of_boot(judged: _Judged, at_boot: AtBoot) -> None:
    """Count reports before the test as well: the same kernel ran the test."""
    if at_boot.hidden:
        judged.hear(Outcome.ERROR, f"at boot, {at_boot.hidden}")
    for finding in at_boot.complaints:
        severity = finding.severity.outcome
        if severity is not None:
            judged.hear(severity, f"at boot: {_headline(finding)}")


def disturbed(ending: Ending) -> str:
    """Return a text if the guest could not run for a while; empty if it could."""
    if ending.stood_still_s >= STOOD_STILL_S:
        return f"the machine stood still for {ending.stood_still_s:.0f} s during the test"
    if ending.starved_s >= STARVED_S:
        left_s = STARVED_WITHIN_S - ending.starved_s
        of = f"{left_s:.0f} of {STARVED_WITHIN_S:.0f} s"
        return f"a busy host let the guest run for only {of} during the test"
    return ""


def planned(report: Report) -> bool:
    """Whether there is a plan for all results at the top, and wherever one has failed."""
    return report.planned and all(
        collection.plan is not None or collection.outcome.as_expected
        for collection in report.all_collections()
    )


def hidden(ending: Ending, findings: Iterable[Finding]) -> str:
    """Return which complaint of the kernel is not in its log; empty where none is missing.

    A test can turn the console off for a while, and a flood of messages can be dropped.  *findings*
    are all, those that are allowed included: each accounts for the flag that comes with it.
    """
    return missing_report(ending.taint, findings)


def missing_report(taint: int, findings: Iterable[Finding]) -> str:
    """Return which of the flags in *taint* none of *findings* accounts for; empty for none."""
    flags = unaccounted(taint, findings)
    if not flags:
        return ""
    return f"the kernel has complained ({', '.join(flags)}), but its log does not say of what"


def ending_name(ending: Ending) -> str:
    """Return how the program or its guest ended, as expectations name it: ``exit 1``, ``hang``."""
    match ending.how:
        case "exit":
            return f"exit {ending.status or 0}"
        case "signal":
            return f"signal {_signal_name(ending.status or 0).removeprefix('signal ')}"
        case "died":
            return (ending.death or How.PROTOCOL).value
        case how:
            return how


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
    # A reset without a panic is reboot(2) or a triple fault; they cannot be told apart.
    How.RESET: Outcome.CRASH,
    How.HANG: Outcome.CRASH,
    How.CRASHED: Outcome.CRASH,
    How.POWER_OFF: Outcome.FAIL,
    How.UNKILLABLE: Outcome.TIMEOUT,
}
"""Outcomes of a test by the death of its guest; other deaths are errors of the harness."""


def _by_report(report: Report, outcome: Outcome, reason: str) -> _Judged:
    """Compare the program's own report with the way it ended."""
    judged = _Judged(outcome, reason)
    if not report.is_ktap and not report.broken:
        return judged
    said = report.outcome
    if said is Outcome.NOTRUN:
        # The program did run; that it kept silent about planned cases is what is wrong.
        said = Outcome.ERROR
    if outcome is Outcome.SKIP:
        # A skip is not a pass, however many cases passed before it; but a failed case is a fail.
        judged.reason = _skip_reason(report)
        if said is not Outcome.PASS and not _ends_with_skip(report):
            judged.hear(said, _first_reason(report, said))
        return judged
    if outcome is Outcome.PASS and said is Outcome.PASS and not report.planned:
        return _Judged(said, "its report has no plan, so the exit status decides")
    if outcome is Outcome.PASS and said in (Outcome.SKIP, Outcome.XFAIL):
        return _Judged(said, _first_reason(report, said))
    if outcome is Outcome.FAIL and said.as_expected:
        # Killed, or a status other than 0, after a report without a failure: believe the worse.
        judged.reason = f"{reason}, although its report has no failure"
        return judged
    if outcome is Outcome.FAIL and (said is Outcome.FAIL or report.bail_out is not None):
        killed = f"{reason}; " if said is not Outcome.FAIL and reason.startswith("killed") else ""
        return _Judged(outcome, killed + _first_reason(report, said))
    judged.hear(said, _first_reason(report, said))
    return judged


def skipped_rest(ending: Ending, report: Report) -> str | None:
    """Return why the program skipped the rest of its plan, or None if it did not.

    ``ksft_exit_skip()`` of 6.1, called after the plan, prints one skipped result and exits with
    status 4: the cases behind it are planned and never reported.  They are skipped, not lost.
    """
    if ending.how != "exit" or ending.status != _SKIP_STATUS or not _ends_with_skip(report):
        return None
    return _skip_reason(report)


def _ends_with_skip(report: Report) -> bool:
    """Whether the last result is a skip, none before it went wrong, and only later ones lack."""
    outcomes = [case.outcome for case in report.leaves()]
    while outcomes and outcomes[-1] is Outcome.NOTRUN:
        outcomes.pop()
    return (
        not report.broken
        and set(outcomes) <= {Outcome.PASS, Outcome.SKIP}
        and outcomes[-1:] == [Outcome.SKIP]
    )


def _skip_words(output: str) -> str:
    """Return the first line of *output* with the word skip, or its last line."""
    lines = [line.strip("# \t\r") for line in output.splitlines()]
    lines = [line for line in lines if line]
    return next((line for line in lines if "skip" in line.lower()), lines[-1] if lines else "")


def _first_reason(report: Report, outcome: Outcome) -> str:
    """Say which cases made *outcome*, or which remark about the report did."""
    bailed = ""
    if report.bail_out is not None:
        bailed = f"Bail out! {report.bail_out or '(no reason given)'}"
    cases = [case for case in report.leaves() if case.outcome is outcome]
    cases = cases or [case for case in report.walk() if case.outcome is outcome]
    if cases and not (bailed and outcome is Outcome.NOTRUN):
        told = [case for case in cases if case.explanation and outcome is Outcome.SKIP]
        first = (told or cases)[0]
        name = "/".join(first.path)
        more = f" and {len(cases) - 1} more" if len(cases) > 1 else ""
        said = first.explanation or ("no reason given" if outcome is Outcome.SKIP else "")
        return "; ".join(filter(None, (f"{name}{more}" + (f": {said}" if said else ""), bailed)))
    if bailed:
        return bailed
    lost = sum(case.outcome is Outcome.NOTRUN for case in report.leaves())
    if lost:
        return f"its report cannot be trusted: {lost} planned case(s) were not reported"
    errors = [remark for remark in report.diagnostics if remark.kind.is_error]
    if errors:
        return f"its report cannot be trusted: {errors[0].text} (line {errors[0].line})"
    if report.skip_reason is not None:
        return report.skip_reason or "the program skips everything and gives no reason"
    return "its report cannot be trusted: it has no result"


def _skip_reason(report: Report) -> str:
    """Return why the program skipped, according to its report; empty if it gives no reason."""
    skipped = any(case.outcome is Outcome.SKIP for case in report.leaves())
    return _first_reason(report, Outcome.SKIP) if skipped else report.skip_reason or ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
