# SPDX-License-Identifier: GPL-2.0-only
"""Streams of any size in constant memory, and every limit with its remark."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from harness.ktap import Kind, Parser, parse
from harness.ktap.limits import (
    MAX_DEPTH,
    MAX_DIAGNOSTICS,
    MAX_EXCERPT,
    MAX_GAP,
    MAX_KEPT,
    MAX_KERNEL_LINES,
    MAX_LINE,
    MAX_NAME,
    MAX_NODES,
)
from harness.outcome import Outcome
from tests.ktap.promises import read_in_pieces

pytestmark = [pytest.mark.unit, pytest.mark.slow]

_FLOOD = """
import resource, sys, time
from harness.ktap import Parser

def peak():
    # In KiB.  A child's ru_maxrss begins with its parent's, so it says nothing here.
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1])

chunk = eval(sys.argv[1])
total = int(sys.argv[2])
parser = Parser()
parser.feed(b"TAP version 13\\n1..1\\n")
parser.feed(chunk)
before, fed, began = peak(), 0, time.process_time()
while fed < total:
    parser.feed(chunk)
    fed += len(chunk)
speed = fed / (time.process_time() - began)
parser.feed(b"\\nok 1 the end\\n")
report = parser.close()
print(peak() - before, int(speed), report.outcome, len(list(report.walk())))
"""
_SIZE = int(os.environ.get("HARNESS_TEST_FLOOD", 50_000_000))


def _flood(chunk: str, total: int) -> tuple[float, float, str, int]:
    """Return peak memory growth in MB, speed in MB/s, outcome and number of cases."""
    done = subprocess.run(
        [sys.executable, "-c", _FLOOD, chunk, str(total)],
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    growth, speed, outcome, cases = done.stdout.split()
    return int(growth) / 1024, int(speed) / 1e6, outcome, int(cases)


def test_plain_output_is_flat_and_fast() -> None:
    chunk = "b''.join(b'# slot %d at 0x%016x: %d pages\\n' % (i, i << 12, i) for i in range(2000))"
    growth, speed, outcome, cases = _flood(chunk, _SIZE)
    assert (outcome, cases) == ("pass", 1)
    assert growth < 20
    assert speed > 20, "far below what was measured (150 MB/s on one core)"


def test_one_endless_line_is_flat() -> None:
    growth, _, outcome, cases = _flood("b'x' * 100_000", _SIZE)
    assert (outcome, cases) == ("pass", 1)
    assert growth < 20


def test_a_flood_of_results_is_bounded() -> None:
    chunk = "b''.join(b'not ok %d some failing test\\n' % i for i in range(9000))"
    growth, _, outcome, cases = _flood(chunk, max(_SIZE // 4, 5_000_000))
    assert outcome == "fail"
    assert cases <= MAX_NODES
    assert growth < 100


def test_a_flood_of_headers_is_bounded() -> None:
    growth, _, outcome, _ = _flood("b'TAP version 13\\n' * 9000", 5_000_000)
    assert outcome == "error"
    assert growth < 60


def test_long_line_without_results_is_a_note() -> None:
    report = parse(b"TAP version 13\n1..1\n" + b"." * (3 * MAX_LINE) + b"\nok 1 a\n")
    assert report.outcome is Outcome.PASS
    assert [(d.kind, d.line) for d in report.diagnostics] == [(Kind.LINE_CUT, 3)]
    assert str(3 * MAX_LINE) in report.diagnostics[0].text


@pytest.mark.parametrize("hidden", [b"not ok 2 b", b"ok 2 b", b"Bail out! x", b"NOT OK"])
@pytest.mark.parametrize("at", [MAX_LINE - 3, MAX_LINE, 2 * MAX_LINE + 17])
def test_long_line_that_may_hide_a_result_is_an_error(hidden: bytes, at: int) -> None:
    line = b"." * at + hidden + b"." * MAX_LINE
    data = b"TAP version 13\n1..1\nok 1 a\n" + line + b"\n"
    report = parse(data)
    assert report.outcome is Outcome.ERROR
    assert Kind.LIMIT in {d.kind for d in report.diagnostics}
    for cut in (at + 20, at + 30, at + 33, at + MAX_LINE):
        assert read_in_pieces(data, [cut]) == report
    assert read_in_pieces(data, list(range(at, at + 60))) == report


def test_line_of_exactly_the_limit_is_whole() -> None:
    report = parse(b"TAP version 13\n1..1\n" + b"." * MAX_LINE + b"\nok 1 a\n")
    assert not report.diagnostics


def test_long_result_line_is_an_error_for_its_case() -> None:
    report = parse(b"TAP version 13\n1..1\nok 1 " + b"a" * MAX_LINE + b" # SKIP\n")
    assert [c.outcome for c in report.walk()] == [Outcome.ERROR]


def test_long_name_is_cut_and_stays_unique() -> None:
    name = b"n" * (2 * MAX_NAME)
    report = parse(b"TAP version 13\n1..2\nok 1 " + name + b"a\nok 2 " + name + b"b # SKIP x\n")
    first, second = report.walk()
    assert len(first.name) == MAX_NAME
    assert first.path != second.path
    assert second.outcome is Outcome.SKIP
    assert {d.kind for d in report.diagnostics} == {Kind.NAME_CUT}


def test_output_keeps_both_ends() -> None:
    noise = b"".join(b"line %d\n" % n for n in range(20_000))
    data = b"TAP version 13\n1..1\nfirst words\n" + noise + b"last words\nnot ok 1 a\n"
    report = parse(data)
    assert read_in_pieces(data, list(range(0, len(data), 97))) == report
    (case,) = report.walk()
    assert case.output.startswith("first words\nline 0\n")
    assert case.output.endswith("line 19999\nlast words")
    dropped = len(noise) + len("first words\nlast words\n") - 2 * MAX_EXCERPT
    assert f"[... {dropped} bytes not kept ...]" in case.output
    assert len(case.output) < 2 * MAX_EXCERPT + 100


def test_all_output_together_is_capped() -> None:
    noise = b"y" * (2 * MAX_EXCERPT - 10) + b"\n"
    parser = Parser()
    parser.feed(b"TAP version 13\n1..1000\n")
    for number in range(1, 1001):
        parser.feed(noise + b"not ok %d a # why\n" % number)
    report = parser.close()
    kept = sum(len(c.output) + len(c.explanation) for c in report.walk())
    assert 0.9 * MAX_KEPT < kept <= MAX_KEPT + 1000 * len("why")
    assert [d.kind for d in report.diagnostics] == [Kind.OUTPUT_CUT]
    assert report.outcome is Outcome.FAIL


def test_too_many_cases_is_an_error() -> None:
    lines = b"".join(b"ok %d a\n" % n for n in range(1, MAX_NODES + 10))
    report = parse(b"TAP version 13\n" + lines + b"not ok %d b\n" % (MAX_NODES + 10))
    assert len(list(report.walk())) == MAX_NODES - 1
    assert report.outcome is Outcome.ERROR
    assert [d.kind for d in report.diagnostics] == [Kind.LIMIT]
    assert report.lines == MAX_NODES + 11


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_lines_are_counted_after_the_limit_however_they_come(end: bytes) -> None:
    data = b"TAP version 13\n" * (MAX_NODES + 3000) + b"last" + end
    report = parse(data)
    assert report.lines == MAX_NODES + 3001
    assert read_in_pieces(data, list(range(0, len(data), 5003))) == report


def test_large_plan_is_an_error_and_not_a_million_cases() -> None:
    report = parse(b"TAP version 13\n1..999999999\nok 1 a\n")
    assert len(list(report.walk())) == MAX_NODES - 1
    assert report.outcome is Outcome.ERROR
    assert not report.plan_kept


def test_large_gap_without_a_plan() -> None:
    report = parse(b"TAP version 13\nok 1 a\nok 999999999 b\n")
    assert len(list(report.walk())) == MAX_GAP + 2
    assert report.outcome is Outcome.ERROR


def test_deepest_nesting() -> None:
    def nest(depth: int) -> bytes:
        down = [b"  " * n + b"KTAP version 1\n" + b"  " * n + b"1..1\n" for n in range(depth)]
        up = [b"  " * n + b"ok 1 a\n" for n in reversed(range(depth))]
        return b"".join(down + up)

    assert parse(nest(MAX_DEPTH)).outcome is Outcome.PASS
    deeper = parse(nest(MAX_DEPTH + 1))
    assert deeper.outcome is Outcome.ERROR
    assert Kind.LIMIT in {d.kind for d in deeper.diagnostics}
    parse(b"# " * 30_000 + b"ok 1 a\n")


def test_diagnostics_are_capped_and_the_error_among_them_is_not_lost() -> None:
    prose = b"# ok 5 of them\n" * (MAX_DIAGNOSTICS + 5)
    report = parse(b"TAP version 13\n1..1\n" + prose + b"# not ok 5 of them\nok 1 a\n")
    assert len(report.diagnostics) == MAX_DIAGNOSTICS + 1
    assert report.diagnostics[-1].kind is Kind.DIAGNOSTICS_CUT
    assert all(not d.kind.is_error for d in report.diagnostics)
    assert report.broken
    assert report.outcome is Outcome.ERROR


def test_prose_about_reported_tests_does_not_use_up_the_candidates() -> None:
    prose = b"this took 1 second\n" * 100
    report = parse(b"TAP version 13\n1..2\nok 1 a\n" + prose + b"textok 2 b\n")
    assert [c.outcome for c in report.walk()] == [Outcome.PASS, Outcome.PASS]


def test_an_interrupted_line_is_given_up_after_many_kernel_messages() -> None:
    messages = b"[    1.000000] usb: more\n" * (MAX_KERNEL_LINES + 1)
    head = b"TAP version 13\n1..2\nok 1 a[    1.000000] usb: first\n"
    report = parse(head + messages + b"bc\nok 2 d\n")
    assert [(c.name, c.outcome) for c in report.walk()] == [
        ("a", Outcome.ERROR),
        ("d", Outcome.PASS),
    ]


def test_a_long_line_that_may_hide_a_result_is_never_judged_by_exit_status_alone() -> None:
    assert parse(b"." * MAX_LINE + b"not ok 1 a\n").is_ktap
    assert not parse(b"." * MAX_LINE + b"and more\n").is_ktap


def test_too_many_candidates() -> None:
    prose = b"this took 2 seconds\n" * 100
    report = parse(b"TAP version 13\nok 1 a\n" + prose + b"well not ok 2 b\n")
    assert Kind.LOST_RESULT in {d.kind for d in report.diagnostics}


@pytest.mark.parametrize(
    "line",
    [
        b"ok 1 " + b"# " * 30_000,
        b"ok 1 " + b"#" * 60_000,
        b"ok 1 " + b" " * 60_000 + b"x",
        b"# RUN  a" + b" " * 60_000 + b"b",
        b"# Totals:" + b" a:1" * 15_000 + b"!",
        b"not" + b" " * 60_000 + b"ok",
        b"ok " + b"[ " * 30_000,
        b"\x1b[" * 30_000 + b"ok 1",
        b"took 1 " * 8_000,
        b"TAP version 1" + b" " * 60_000 + b"x",
    ],
    ids=range(10),
)
def test_no_line_is_slow(line: bytes) -> None:
    """A line takes time in proportion to its length: 64 KiB of the worst, in well under 1 s."""
    import time

    began = time.process_time()
    parse(b"TAP version 13\n1..2\n" + line + b"\n")
    assert time.process_time() - began < 1.0


def test_closed_is_closed() -> None:
    parser = Parser()
    parser.feed(b"TAP version 13\n1..1\nok 1 a")
    report = parser.close()
    assert report.outcome is Outcome.PASS
    assert parser.close() is report
    with pytest.raises(ValueError, match="closed"):
        parser.feed(b"x")


def test_progress_is_told_as_it_happens() -> None:
    told: list[tuple[str, int | None, Outcome, int, int]] = []
    parser = Parser(lambda f: told.append((f.name, f.number, f.outcome, f.depth, f.line)))
    parser.feed(b"KTAP version 1\n1..3\n  KTAP version 1\n  1..1\n  not ok 1 a\n")
    assert told == [("a", 1, Outcome.FAIL, 1, 5)]
    parser.feed(b"ok 1 p\nok 2 q\n")
    assert told[1:] == [("p", 1, Outcome.FAIL, 0, 6), ("q", 2, Outcome.PASS, 0, 7)]
    parser.close()
    assert told[3:] == [("test 3", 3, Outcome.NOTRUN, 0, 0)]
