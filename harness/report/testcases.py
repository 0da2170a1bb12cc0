# SPDX-License-Identifier: GPL-2.0-only
"""Outcomes as JUnit has them: the one mapping, for runs and for KTAP reports.

    pass                                  testcase
    skip                                  skipped, message = reason
    xfail                                 skipped, message = "expected failure: reason"
    what the base has as well             skipped, message = "why: outcome: reason"
    fail, xpass, timeout, splat, crash    failure, type = outcome, message = reason
    error, notrun                         error, type = outcome, message = reason

Elements, their order and their attributes are those of the XML Schema for Jenkins' JUnit reports;
times have at most three decimals, since the schema of Jenkins' xUnit plugin takes no more.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence

import junit_xml

from harness.outcome import Outcome
from harness.report.text import cut, one_line
from harness.visible import visible

TEXT_LIMIT = 16_000
"""Characters of one section of a whole program's text (its output, its kernel log)."""
CASE_TEXT_LIMIT = 8_000
"""Characters of what one case printed."""
VALUE_LIMIT = 2_000
"""Characters of one name, property or message."""

_FAILURES = (Outcome.FAIL, Outcome.XPASS, Outcome.TIMEOUT, Outcome.SPLAT, Outcome.CRASH)


def make_testcase(
    name: str,
    classname: str,
    outcome: Outcome,
    reason: str = "",
    story: str = "",
    *,
    seconds: float | None = None,
    attached: Sequence[str] = (),
    excused: str = "",
) -> junit_xml.TestCase:
    """Return the testcase of something that ended with *outcome*.

    *story* is the text below the message, printable and cut to size; a pass has none.  *attached*
    are files, by names that the CI's job finds: GitLab and Jenkins' plugin for attachments read
    them from the output.  *excused* is why it lets no run fail.
    """
    testcase = junit_xml.TestCase(
        name=value(name),
        classname=value(classname),
        elapsed_sec=seconds,
        stdout="\n".join(f"[[ATTACHMENT|{value(path)}]]" for path in attached) or None,
    )
    # An entry without message and text is dropped by the package, and the testcase then passes.
    message = value(reason) or f"{outcome}, no reason given"
    if excused:
        testcase.add_skipped_info(f"{value(excused)}: {outcome}: {message}", story)
    elif outcome in _FAILURES:
        testcase.add_failure_info(message, story, str(outcome))
    elif outcome in (Outcome.ERROR, Outcome.NOTRUN):
        testcase.add_error_info(message, story, str(outcome))
    elif outcome is Outcome.XFAIL:
        testcase.add_skipped_info(f"expected failure: {message}", story)
    elif outcome is Outcome.SKIP:
        testcase.add_skipped_info(message, story)
    return testcase


def document(suites: Sequence[junit_xml.TestSuite], seconds: Sequence[float | None]) -> bytes:
    """Return the JUnit document with *suites* as UTF-8.

    *seconds* are the times of the suites, None where it was not measured: the package would add up
    testcases.
    """
    root = ET.Element("testsuites")
    totals = dict.fromkeys(("errors", "failures", "tests"), 0)
    for suite, total in zip(suites, seconds, strict=True):
        element = suite.build_xml_doc()
        # The package writes it, and the schema does not know it.
        element.attrib.pop("disabled", None)
        for name in totals:
            totals[name] += int(element.get(name, "0"))
        element.attrib.pop("time", None)
        if total is not None:
            element.set("time", f"{total:.3f}")
        root.append(element)
    root.attrib.update({name: str(number) for name, number in totals.items()})
    measured = [total for total in seconds if total is not None]
    if measured:
        root.set("time", f"{sum(measured):.3f}")
    for testcase in root.iter("testcase"):
        time = testcase.get("time")
        if time is not None:
            testcase.set("time", f"{float(time):.3f}")
    ET.indent(root)
    data = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return bytes(data) + b"\n"


def story_text(text: str, limit: int = TEXT_LIMIT) -> str:
    """Return *text* printable, with its head and its tail where it is longer than *limit*."""
    return visible(cut(text, limit)).strip("\n")


def value(text: str) -> str:
    """Return *text* as it stands in an attribute: printable, on one line, cut to size."""
    return one_line(text, VALUE_LIMIT)
