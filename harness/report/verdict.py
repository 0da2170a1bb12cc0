# SPDX-License-Identifier: GPL-2.0-only
"""The last line of a run: the verdict."""

from __future__ import annotations

from harness.errors import ExitCode
from harness.klog import Severity
from harness.model.changes import Changes, Kind
from harness.model.results import BootReport, Results
from harness.outcome import Outcome
from harness.report.mutants import shortfall
from harness.report.text import Span, count, one_line, tally

_MAX_NAMES = 5


def verdict(results: Results) -> list[list[Span]]:
    """Return the last lines of a run: the verdict, after a warning if nothing was tested."""
    lines: list[list[Span]] = []
    asked_else = results.bisection or results.against is not None
    bad = [] if asked_else else [test for test in results.tests if not test.good]
    names = [one_line(test.name) for test in sorted(bad, key=lambda each: -each.outcome.severity)]
    if names:
        more = f" and {count(len(names) - _MAX_NAMES, 'other')}" if len(names) > _MAX_NAMES else ""
        lines.append([("Not as expected: ", "bad"), (f"{', '.join(names[:_MAX_NAMES])}{more}", "")])
    nothing = nothing_tested(results)
    if nothing:
        lines.append([("NOTHING WAS TESTED: ", "bad"), (nothing, "")])
    if too_few := shortfall(results.mutants):
        lines.append([("Not enough: ", "bad"), (too_few, "")])
    if results.error:
        lines.append([("CUT OFF: ", "bad"), (one_line(results.error, 200), "")])
    code = results.exit_code
    if results.bisection and code in (ExitCode.AS_EXPECTED, ExitCode.NOT_AS_EXPECTED):
        word, style = ("FOUND", "good") if code is ExitCode.AS_EXPECTED else ("NOT FOUND", "bad")
        lines.append([(f"{word} (exit {int(code)}): ", style), (counted(results), "")])
        return lines
    if results.against is not None and code in (ExitCode.AS_EXPECTED, ExitCode.NOT_AS_EXPECTED):
        worse = code is ExitCode.NOT_AS_EXPECTED
        word, style = ("WORSE THAN BASE", "bad") if worse else ("NO REGRESSION", "good")
        # Tests of both kernels together would count what fails on both twice.
        lines.append([(f"{word} (exit {int(code)}): ", style), (kinds(results.against), "")])
        return lines
    if code is ExitCode.AS_EXPECTED:
        word, style = "AS EXPECTED", "warn" if nothing else "good"
    elif code is ExitCode.INTERRUPTED:
        word, style = "INTERRUPTED", "bad"
    else:
        word, style = "NOT AS EXPECTED", "bad"
    lines.append([(f"{word} (exit {int(code)}): ", style), (counted(results), "")])
    return lines


def nothing_tested(results: Results) -> str:
    """Return why a run gives no information about the kernel; empty if it does."""
    if not results.tests:
        return "no test was planned"
    outcomes = {
        outcome
        for test in results.tests
        for outcome in (test.outcome, *(case.outcome for case in test.cases))
    }
    if outcomes - {Outcome.SKIP, Outcome.NOTRUN}:
        return ""
    reasons = list(dict.fromkeys(one_line(test.reason, 200) for test in results.tests))
    why = next((reason for reason in reasons if reason), "no reason given")
    more = f" (and {count(len(reasons) - 1, 'other reason')})" if len(reasons) > 1 else ""
    return f"all {count(len(results.tests), 'test')} skipped or not run: {why}{more}"


def kinds(changes: Changes) -> str:
    """Return how many cases have changed in which way: ``2 regressions, 3 same``."""
    found = []
    for kind in Kind:
        number = len(changes.of(kind))
        noun = kind in (Kind.REGRESSION, Kind.NEW_FAILURE, Kind.OTHER_FAILURE)
        found += [count(number, kind, "" if noun else kind)] if number else []
    return ", ".join(found) or "neither run has a case"


def counted(results: Results) -> str:
    """Return the counts; those of cases only where they say more than those of tests."""
    if not results.tests:
        return "0 tests"
    tests = f"{count(len(results.tests), 'test')}: {tally(results.counts)}"
    if not any(test.cases for test in results.tests):
        return tests
    counts = results.case_counts
    return f"{tests}; {count(sum(counts.values()), 'case')}: {tally(counts)}"


def run_trouble(results: Results) -> str:
    """Return what stopped the run, or why it is not green for a reason outside its tests.

    Empty where a test says so, or the run is green.
    """
    if results.error:
        return results.error
    if any(not test.good for test in results.tests) or results.exit_code is ExitCode.AS_EXPECTED:
        return ""
    if not results.tests:
        return "no test was planned"
    if results.interrupted:
        return "the run was interrupted"
    return (results.against.unknown if results.against else "") or shortfall(results.mutants)


def complaints_at_boot(results: Results) -> list[BootReport]:
    """Return the kernel's complaints before the tests."""
    return [boot for boot in results.at_boot if boot.report.severity != Severity.NOTE]
