# SPDX-License-Identifier: GPL-2.0-only
"""A KTAP report as JUnit XML, for the tools of CI systems.

Written are the leaves of the tree, every parent that ended worse than its cases explain, and one
``(report)`` case when the report itself is the trouble, so that a red report shows a red case.
"""

from __future__ import annotations

from collections.abc import Iterator

import junit_xml

from harness.ktap.model import Case, Report
from harness.outcome import worst
from harness.report.testcases import (
    CASE_TEXT_LIMIT,
    document,
    make_testcase,
    story_text,
    value,
)

REPORT_CASE = "(report)"
"""Name of the case that carries what no case of the stream does."""


def render(report: Report, suite: str) -> bytes:
    """Return *report* as a JUnit document with one suite named *suite*."""
    cases = [_case(case, suite) for case in _shown(report)]
    known = worst([case.outcome for case in report.walk()]) if any(report.walk()) else None
    if known is None or known.severity < report.outcome.severity:
        cases.append(_report_case(report, suite))
    return document([junit_xml.TestSuite(value(suite), cases)], [None])


def _shown(report: Report) -> Iterator[Case]:
    for case in report.walk():
        below = [c.outcome for c in case.walk()][1:]
        if not below or case.outcome.severity > worst(below).severity:
            yield case


def _case(case: Case, suite: str) -> junit_xml.TestCase:
    classname = ".".join((suite, *case.path[:-1]))
    story = story_text(case.output, CASE_TEXT_LIMIT)
    return make_testcase(case.name, classname, case.outcome, case.explanation, story)


def _report_case(report: Report, suite: str) -> junit_xml.TestCase:
    lines = [f"line {d.line}: {d.kind}: {d.text}" for d in report.diagnostics]
    if report.skip_reason is not None:
        reason = report.skip_reason or "skipped as a whole"
    elif report.has_results:
        reason = report.bail_out or "the report cannot be trusted"
    else:
        reason = "no results"
    story = story_text("\n".join(lines))
    return make_testcase(REPORT_CASE, suite, report.outcome, reason, story)
