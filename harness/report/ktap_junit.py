# SPDX-License-Identifier: GPL-2.0-only
"""A KTAP report as JUnit XML, for the tools of CI systems.

Written are the leaves of the tree, every parent that ended worse than its cases explain, and one
``(report)`` case when the report itself is the trouble, so that a red report shows a red case.
"""

from __future__ import annotations

from collections.abc import Iterator

import junit_xml

from harness.ktap.model import Case, Report
from harness.outcome import Outcome, worst
from harness.visible import visible

REPORT_CASE = "(report)"
"""Name of the case that carries what no case of the stream does."""


def to_junit(report: Report, suite: str) -> str:
    """Return *report* as a JUnit document with one suite named *suite*.

    Skipped and expectedly failing cases are ``skipped``, fail and xpass are ``failure``, all other
    outcomes but pass are ``error``.  What does not print, and what a CI system would obey, is an
    escape.
    """
    cases = [_case(case, suite) for case in _shown(report)]
    known = worst([case.outcome for case in report.walk()]) if any(report.walk()) else None
    if known is None or known.severity < report.outcome.severity:
        cases.append(_report_case(report, suite))
    suites = [junit_xml.TestSuite(visible(suite), cases)]
    text: str = junit_xml.to_xml_report_string(suites)
    return text


def _shown(report: Report) -> Iterator[Case]:
    for case in report.walk():
        below = [c.outcome for c in case.walk()][1:]
        if not below or case.outcome.severity > worst(below).severity:
            yield case


def _case(case: Case, suite: str) -> junit_xml.TestCase:
    classname = visible(".".join((suite, *case.path[:-1])))
    xml = junit_xml.TestCase(visible(case.name), classname)
    _judge(xml, case.outcome, case.explanation, case.output)
    return xml


def _report_case(report: Report, suite: str) -> junit_xml.TestCase:
    lines = [f"line {d.line}: {d.kind}: {d.text}" for d in report.diagnostics]
    xml = junit_xml.TestCase(REPORT_CASE, visible(suite))
    if report.skip_reason is not None:
        message = report.skip_reason or "skipped as a whole"
    elif report.has_results:
        message = report.bail_out or "the report cannot be trusted"
    else:
        message = "no results"
    _judge(xml, report.outcome, message, "\n".join(lines))
    return xml


def _judge(xml: junit_xml.TestCase, outcome: Outcome, why: str, output: str) -> None:
    message = visible(f"{outcome}: {why}" if why else outcome.value)
    output = visible(output)
    match outcome:
        case Outcome.PASS:
            return
        case Outcome.SKIP | Outcome.XFAIL:
            xml.add_skipped_info(message, output or None)
        case Outcome.FAIL | Outcome.XPASS:
            xml.add_failure_info(message, output or None, outcome.value)
        case _:
            xml.add_error_info(message, output or None, outcome.value)
