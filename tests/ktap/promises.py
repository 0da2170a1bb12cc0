# SPDX-License-Identifier: GPL-2.0-only
"""What must hold for any bytes at all; shared by the property tests and the fuzzer."""

from __future__ import annotations

import json
import re

from harness.ktap import Finished, Kind, Parser, Report, parse
from harness.outcome import Outcome

_COLOUR = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]_PX^][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_REFUSAL = re.compile(rb"not[ \t]+ok \d+(?=[ \t]|$)")
_PRINTK = re.compile(rb"\[ *\d+\.\d{6}\]")


def read_in_pieces(data: bytes, cuts: list[int]) -> Report:
    """Read *data*, cut at the places *cuts*."""
    parser = Parser()
    last = 0
    for cut in sorted({min(c, len(data)) for c in cuts}):
        parser.feed(data[last:cut])
        last = cut
    parser.feed(data[last:])
    return parser.close()


def check(data: bytes, cuts: list[int]) -> Report:
    """Check every promise on *data* and return the report."""
    told: list[Finished] = []
    report = parse(data, told.append)
    assert read_in_pieces(data, cuts) == report, "the report depends on how the stream was cut"
    assert Report.from_dict(json.loads(json.dumps(report.to_dict()))) == report
    # An escape sequence ends with its line at the latest: one that lost its end must not swallow
    # the results after it.
    shown = [_COLOUR.sub(b"", line) for line in data.split(b"\n")]
    cases = list(report.walk())
    assert len({case.path for case in cases}) == len(cases), "two cases share a path"
    prose = any(d.kind is Kind.PROSE for d in report.diagnostics)
    assert len(told) == len(cases) or (prose and len(told) > len(cases)), "not told once each"
    for case in cases:
        if case.outcome is Outcome.PASS:
            # A pass stands on one line of the stream, and that line does not say "not ok".
            assert case.line > 0
            said = shown[case.line - 1]
            assert b"ok" in said
            if said.count(b"ok") == 1:
                assert not re.fullmatch(rb"[^a-z]*not[ \t]+ok.*", said, re.DOTALL)
    passes = sum(case.outcome is Outcome.PASS for case in cases)
    assert passes <= sum(line.count(b"ok") for line in shown)
    for collection in report.all_collections():
        numbers = [case.number for case in collection.cases if case.number is not None]
        if collection.plan is not None and collection.plan_kept:
            assert sorted(numbers) == list(range(1, collection.plan + 1))
        elif collection.plan is not None and not report.broken:
            assert set(range(1, collection.plan + 1)) <= set(numbers), "planned, not reported"
    if report.outcome.as_expected and cases and not any(map(_PRINTK.search, shown)):
        # Wherever it stands, a "not ok" with a number is a failure or makes the report an error.
        for line in shown[: report.lines]:
            for refusal in _REFUSAL.finditer(line):
                assert b"#" in line[refusal.end() :], line
    for case in cases:
        leaves = [each.outcome for each in case.walk() if not each.children]
        if case.children and set(leaves) == {Outcome.SKIP}:
            unsure = any(d.kind is Kind.KUNIT_SKIPPED for d in report.diagnostics)
            assert case.outcome is not Outcome.PASS or unsure, "passed, and nothing was tried"
    if report.outcome.as_expected:
        assert cases or report.skip_reason is not None
        assert not report.broken
        assert report.plan_kept
    return report
