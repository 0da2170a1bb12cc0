# SPDX-License-Identifier: GPL-2.0-only
"""SARIF 2.1.0: what checks have found, for code scanning and editors that show it at its line.

Tests that ran in guests are in it as well, where they did not end as expected; they have a name and
no line.  A check that could not be made is a notification, so that nothing looks clean that was not
looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from harness import __version__
from harness.digest import digest
from harness.model.results import Remark, Results, Test
from harness.outcome import Outcome
from harness.report.testcases import value
from harness.report.text import one_line
from harness.visible import defuse_json

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = frozenset({"error", "warning", "note"})
_UNKNOWN = (Outcome.ERROR, Outcome.NOTRUN)


def render(results: Results) -> bytes:
    """Return *results* as a SARIF log with one run."""
    rules: dict[str, int] = {}
    found = [each for test in results.tests for each in _of_test(test, rules)]
    lost = [test for test in results.tests if test.outcome in _UNKNOWN and not test.good]
    skipped = [test for test in results.tests if test.outcome is Outcome.SKIP]
    run: dict[str, Any] = {
        "tool": {
            "driver": {
                "name": "kernel-selftest-harness",
                "version": __version__,
                "rules": [
                    {"id": name, "shortDescription": {"text": f"{name} of each patch"}}
                    for name in rules
                ],
            }
        },
        "columnKind": "utf16CodeUnits",
        "automationDetails": {"id": f"harness/{quote(results.run)}"},
        "invocations": [
            {
                "executionSuccessful": not (lost or results.error or results.interrupted),
                "toolExecutionNotifications": [
                    *(_notification(test, "error") for test in lost),
                    *(_notification(test, "note") for test in skipped),
                ],
            }
        ],
        "results": found,
    }
    document = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return defuse_json(json.dumps(document, indent=2)).encode() + b"\n"


def _of_test(test: Test, rules: dict[str, int]) -> Iterator[dict[str, Any]]:
    """Yield the results of a check or a test; *rules* gets what it is a result of."""
    if test.remarks:
        number, _, check = test.program.partition("-")
        for remark in test.remarks:
            yield _result(
                rules, check or number, remark.severity, f"patch {number}: {remark.text}", remark
            )
    elif not test.outcome.as_expected and test.outcome not in _UNKNOWN:
        said = f"{test.name}: {test.outcome}: {test.reason}"
        level = "note" if test.good else "error"
        said += f" ({test.excused})" if test.good else ""
        remark = Remark(severity=level, text=said)
        yield _result(rules, test.suite, level, said, remark, test.name)


def _result(
    rules: dict[str, int], rule: str, level: str, text: str, remark: Remark, name: str = ""
) -> dict[str, Any]:
    rule = one_line(rule)
    found: dict[str, Any] = {
        "ruleId": rule,
        "ruleIndex": rules.setdefault(rule, len(rules)),
        "level": level if level in _LEVELS else "error",
        "message": {"text": value(text)},
        # A finding stays the same one where lines before it move.
        "partialFingerprints": {"finding/v1": digest(rule, remark.file, remark.text)[:16]},
    }
    location: dict[str, Any] = {}
    if remark.file:
        uri = quote(remark.file.encode(errors="surrogateescape"))
        location["physicalLocation"] = {"artifactLocation": {"uri": uri}}
        if remark.line:
            location["physicalLocation"]["region"] = {"startLine": remark.line}
    if name:
        location["logicalLocations"] = [{"fullyQualifiedName": one_line(name), "kind": "function"}]
    if location:
        found["locations"] = [location]
    return found


def _notification(test: Test, level: str) -> dict[str, Any]:
    text = f"{test.name}: {test.outcome}: {test.reason or 'no reason given'}"
    return {"level": level, "message": {"text": value(text)}}
