# SPDX-License-Identifier: GPL-2.0-only
"""The observations of one test, and their differences from an expectation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

from harness.entries import each
from harness.judge.assertions import of_case, of_output
from harness.judge.witnesses import ending_name, planned
from harness.klog import Finding, Severity
from harness.klog.naming import name_of
from harness.klog.rules import FLOOD
from harness.model.events import How
from harness.model.expectations import Expectation
from harness.model.records import TestEnded
from harness.model.results import Case
from harness.outcome import Outcome

CONSEQUENCES = frozenset(
    {"rcu-stall", "soft-lockup", "hard-lockup", "hung-task", "workqueue-lockup", "atomic-sleep"}
)
"""Consequences of a crash or hang: a task killed by an oops keeps its locks."""
_SHOWN = 3
"""Assertions and reports of the kernel that a reason shows."""
_FINGERPRINT = re.compile(r"[0-9a-f]{16}")


class Seen(msgspec.Struct, frozen=True):
    """What was observed of one attempt, as far as expectations speak of it."""

    ended: TestEnded
    complaints: tuple[Finding, ...]
    """Complaints of the kernel that are not allowed."""
    hidden: str
    """The complaint that is missing from the kernel's log; empty if none is."""
    at_boot: tuple[Finding, ...] = ()
    """Complaints of the kernel before the test that are not allowed."""

    @property
    def came_to_its_end(self) -> bool:
        """Whether the program exited, so that its report has to be whole."""
        return self.ended.ending.how == "exit"

    def incomplete(self) -> str:
        """Return why an observation may be missing; empty if none is."""
        if not self.ended.ending.log_complete:
            return "the end of the kernel log did not arrive"
        return self.hidden

    def lost(self, cases: int | None) -> str:
        """Return why the program's report may lack cases; empty where it is whole.

        *cases* is how many it reports, which has to be known where there is no plan.  Of a program
        that was cut off only that number counts.
        """
        report = self.ended.report
        leaves = list(report.leaves())
        reported = sum(case.outcome not in (Outcome.NOTRUN, Outcome.ERROR) for case in leaves)
        if not self.came_to_its_end:
            return "" if cases in (None, reported) else f"it reported {reported} cases"
        if report.broken:
            errors = [remark.text for remark in report.diagnostics if remark.kind.is_error]
            return f"its report cannot be trusted: {errors[0] if errors else 'too many errors'}"
        if reported < len(leaves):
            return f"{len(leaves) - reported} planned case(s) were not reported"
        if cases is not None and cases != reported:
            return f"it reported {reported} cases"
        if cases is None and not planned(report):
            return (
                f"it has no plan, so cases may be missing after the {reported} that it reported; "
                "an entry for the whole program can say how many there are (cases = N)"
            )
        return ""


def case_differs(entry: Expectation, case: Case) -> str:
    """Return the difference between the failed *case* and *entry*; empty if it matches."""
    if case.outcome not in entry.expected:
        return f"it ended as {case.outcome}"
    if _of_old(entry):
        return ""
    wrong = [text for text in of_case(case) if not _is_said(each(entry.says), text)]
    return (f"it says '{_short(wrong[0])}'" if wrong[0] else "it says nothing") if wrong else ""


def differs(entry: Expectation, outcome: Outcome, cases: Iterable[Case], seen: Seen) -> str:
    """Return how a program that ended as *outcome* is not what *entry* expects; empty if it is.

    *cases* are those of its cases that are not as expected.
    """
    ended = seen.ended
    if outcome not in entry.expected:
        return f"it ended as {outcome}"
    if _of_old(entry):
        return ""
    if ending_name(ended.ending) not in each(entry.ends):
        return f"it ended by {ending_name(ended.ending)}"
    if missing := seen.incomplete():
        return missing
    if wrong := _kernel_differs(entry, seen):
        return wrong
    if ended.report.is_ktap and (lost := seen.lost(entry.cases)):
        return lost
    said = [(case.name.partition("/")[2], text) for case in cases for text in of_case(case)]
    if not said and outcome is Outcome.FAIL and ended.ending.how in ("exit", "signal"):
        said = [("", text) for text in of_output(ended.output)]
    for name, text in said:
        if not _is_said((*each(entry.says), *each(entry.also)), text):
            return f"{name}: it says '{_short(text)}'".removeprefix(": ")
    if entry.says and not any(_is_said(each(entry.says), text) for _, text in said):
        return "none of its assertions matches"
    return ""


def describe(seen: Seen, cases: Iterable[Case]) -> str:
    """Return what was seen, for people; *cases* are those that are not as expected."""
    parts = [ending_name(seen.ended.ending)]
    parts += _few([f"kernel '{name_of(each)}' at boot" for each in seen.at_boot], "reports")
    parts += _few([f"kernel '{name_of(each)}'" for each in seen.complaints], "reports")
    said = [text for case in cases for text in of_case(case) if text]
    if not said and seen.ended.ending.how in ("exit", "signal"):
        said = list(of_output(seen.ended.output)) if not seen.complaints else []
    parts += _few([f"says '{_short(text)}'" for text in said], "assertions")
    return ", ".join(parts)


def _kernel_differs(entry: Expectation, seen: Seen) -> str:
    """Return the difference between the kernel's reports and *entry*; empty if they match."""
    expected = each(entry.kernel)
    if entry.at == "boot":
        complaints, others, when = seen.at_boot, seen.complaints, "under the test"
        findings = seen.at_boot
    else:
        complaints, others, when = seen.complaints, seen.at_boot, "at boot"
        findings = seen.ended.findings
    if others:
        return f"the kernel also reported '{name_of(others[0])}' {when}"
    died = seen.ended.ending.death
    follows = died in (How.HANG, How.UNKILLABLE)
    for finding in sorted(complaints, key=lambda finding: finding.line):
        if finding.kind == FLOOD.kind:
            return "the kernel printed too many reports to tell them apart"
        if follows and finding.kind in CONSEQUENCES:
            continue
        if not any(_is_report(pattern, finding) for pattern in (*expected, *each(entry.also))):
            return f"the kernel also reported '{name_of(finding)}'"
        # A program that came to its end had other cases after the crash, which count.
        follows = follows or (died is not None and finding.severity is Severity.CRASH)
    for pattern in expected:
        if not any(_is_report(pattern, finding) for finding in findings):
            return f"the kernel did not report '{pattern}'"
    for function in each(entry.stack):
        name = re.compile(rf"(?<![\w.$]){re.escape(function)}(?:\.[\w.]+)?\+0x")
        if not any(name.search(finding.report) for finding in findings):
            return f"no stack trace of the kernel has {function}()"
    return ""


def _is_report(pattern: str, finding: Finding) -> bool:
    if _FINGERPRINT.fullmatch(pattern):
        return pattern == finding.fingerprint
    return re.fullmatch(pattern, name_of(finding), re.DOTALL) is not None


def _is_said(patterns: Iterable[str], assertion: str) -> bool:
    return any(re.search(pattern, assertion) for pattern in patterns)


def _of_old(entry: Expectation) -> bool:
    """Whether *entry* is from the journal of a version whose entries named an outcome only."""
    return not (entry.says if entry.case else entry.ends)


def _few(texts: Sequence[str], noun: str) -> list[str]:
    every = list(dict.fromkeys(texts))
    more = [f"{len(every) - _SHOWN} more {noun}"] if len(every) > _SHOWN else []
    return every[:_SHOWN] + more


def _short(text: str) -> str:
    return text if len(text) <= 160 else f"{text[:157]}..."
