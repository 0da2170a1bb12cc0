# SPDX-License-Identifier: GPL-2.0-only
"""Judge what the kernel reported while guests booted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

from harness.entries import At
from harness.judge.witnesses import AtBoot, missing_report
from harness.klog import Finding, Severity
from harness.klog.allow import Allowance, apply_allowances
from harness.klog.naming import name_of
from harness.klog.taint import complaints
from harness.model.ids import HostName
from harness.model.plan import Group, PlannedTest
from harness.model.records import Boot, GuestReady, Record, RunStarted, TestEnded
from harness.model.results import BootReport, KernelReport, Test


def allowed_at(at: At, plan: PlannedTest) -> list[Allowance]:
    """Return what the kernel may say under the test *plan*, or before it."""
    return [entry for entry in plan.allow if entry.at == at]


def held_against(plan: PlannedTest, boot: Boot | None, today: date) -> AtBoot:
    """Return the findings of *boot* that count against the test *plan*; None is an unknown boot."""
    if boot is None:
        return AtBoot()
    applied = apply_allowances(boot.findings, allowed_at("boot", plan), today)
    return AtBoot(
        complaints=tuple(each for each in applied.remaining if each.severity is not Severity.NOTE),
        hidden=missing_report(boot.taint, boot.findings),
    )


def boots_of(records: Iterable[Record]) -> dict[tuple[Group, HostName], Boot]:
    """Return the boots of the guests from which tests were restored, on each host."""
    return {
        ((each.suite, each.guest), each.host): each.boot
        for each in records
        if isinstance(each, GuestReady) and each.boot is not None
    }


def boot_reports(
    head: RunStarted, records: Sequence[Record], tests: Sequence[Test]
) -> tuple[BootReport, ...]:
    """Return what the kernel reported while guests booted, each report once.

    What counts against none of *tests* has the reason why it is allowed.
    """
    counts = {fingerprint for test in tests for fingerprint in test.at_boot}
    found: dict[str, BootReport] = {}
    for suite, boot in _all_boots(head, records):
        for finding in boot.findings:
            before = found.get(finding.fingerprint)
            if before:
                suites = tuple(dict.fromkeys((*before.suites, suite)))
                found[finding.fingerprint] = BootReport(
                    report=before.report, suites=suites, log=before.log
                )
                continue
            allowed = "" if finding.fingerprint in counts else _why_allowed(head, finding)
            report = kernel_report(finding, finding, allowed)
            found[finding.fingerprint] = BootReport(report=report, suites=(suite,), log=boot.log)
    return tuple(found.values())


def boot_notes(head: RunStarted, records: Sequence[Record]) -> tuple[str, ...]:
    """Return what the kernel could not complain of under the tests any more, and why."""
    suites: dict[str, list[str]] = {}
    for suite, boot in _all_boots(head, records):
        for note in _unseen(boot):
            suites.setdefault(note, []).append(suite)
    return tuple(
        f"since the boot of the guests of {', '.join(dict.fromkeys(names))}, {note}"
        for note, names in suites.items()
    )


def rest_notes(records: Iterable[Record]) -> tuple[str, ...]:
    """Return the tests after which the kernel was still busy."""
    busy = [
        each.name
        for each in records
        if isinstance(each, TestEnded) and "busy" in each.ending.restless
    ]
    if not busy:
        return ()
    return (
        "kernel threads were still busy when the log of these tests ended, so a complaint of "
        f"theirs may have come later: {', '.join(dict.fromkeys(busy))}",
    )


def kernel_report(shown: Finding, found: Finding, allowed: str) -> KernelReport:
    """Return *found* for people, with the decoded text of *shown*."""
    return KernelReport(
        kind=shown.kind,
        severity=shown.severity,
        title=shown.title,
        function=shown.function,
        location=shown.location,
        fingerprint=shown.fingerprint,
        name=name_of(found),
        count=shown.count,
        allowed=allowed,
        report=shown.report,
    )


def _all_boots(head: RunStarted, records: Iterable[Record]) -> Iterable[tuple[str, Boot]]:
    """Yield every boot that is known, with the suite whose guest it was."""
    suites: Mapping[str, str] = {test.name: test.suite for test in head.tests}
    every = tuple(records)
    for ((suite, _), _), boot in boots_of(every).items():
        yield suite, boot
    for each in every:
        if isinstance(each, TestEnded) and each.boot is not None:
            yield suites[each.name], each.boot


def _why_allowed(head: RunStarted, finding: Finding) -> str:
    entries = (entry for test in head.tests for entry in allowed_at("boot", test))
    return next((entry.reason for entry in entries if entry.matches(finding)), "")


def _unseen(boot: Boot) -> Iterable[str]:
    """Yield what the kernel could not complain of under a test any more, and why."""
    if boot.lockdep_off:
        yield f"lockdep is off{_because(boot.findings)}: tests cannot detect wrong use of locks"
    warnings = [each for each in boot.findings if each.kind == "warning"]
    if warnings and not boot.once_reset:
        yield (
            f"'{warnings[0].title}' was printed: a WARN_ONCE() cannot appear again in a test "
            "(with CONFIG_DEBUG_FS the agent resets it)"
        )
    if flags := complaints(boot.taint):
        yield (
            f"the kernel is tainted ({', '.join(flags)}): if a test hides a report of that kind, "
            "it goes unnoticed"
        )
    if boot.unquiet:
        yield "the kernel did not become idle before the tests"


def _because(findings: Sequence[Finding]) -> str:
    """Say which report has turned lockdep off: its own, or one of a crash."""
    lockdep = [each for each in findings if each.kind in ("lockdep", "rcu-usage")]
    crashes = [each for each in findings if each.severity is Severity.CRASH]
    found = [*lockdep, *crashes]
    return f" since '{found[0].title}'" if found else ""
