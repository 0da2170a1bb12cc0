# SPDX-License-Identifier: GPL-2.0-only
"""The end of a run on the console, and errors."""

from __future__ import annotations

import io
import time

import pytest

from harness.errors import UserError
from harness.model import results as r
from harness.outcome import Outcome
from harness.report import console, text
from harness.report.summary import KERNEL_LINES, MAX_CASES
from tests.report import samples as s
from tests.report.golden import same_as_golden

pytestmark = pytest.mark.unit

PLAIN = console.Terminal(live=False, colour=False, unicode=True)
COLOUR = console.Terminal(live=True, colour=True, unicode=True)


def shown(results: r.Results, *, terminal: console.Terminal = PLAIN, verbose: bool = False) -> str:
    stream = io.StringIO()
    console.print_summary(
        results,
        stream,
        verbose=verbose,
        directory=f"runs/{results.run}",
        junit=f"runs/{results.run}/junit.xml",
        terminal=terminal,
    )
    return stream.getvalue()


def last_line(results: r.Results) -> str:
    return shown(results).splitlines()[-1]


@pytest.mark.parametrize("sample", s.SAMPLES, ids=lambda sample: sample.name)
def test_golden(sample: s.Sample) -> None:
    assert same_as_golden(f"{sample.name}.txt", shown(sample.results).encode())


def test_golden_in_colour_with_every_case() -> None:
    assert same_as_golden("all.ansi", shown(s.ALL, terminal=COLOUR, verbose=True).encode())


@pytest.mark.parametrize("sample", s.SAMPLES, ids=lambda sample: sample.name)
@pytest.mark.parametrize("verbose", [False, True])
def test_nothing_from_a_guest_reaches_the_terminal_raw(sample: s.Sample, verbose: bool) -> None:
    output = shown(sample.results, verbose=verbose)
    assert all(char.isprintable() or char in "\n\t" for char in output)


def test_text_like_markup_stays() -> None:
    assert r"\x1b[2J\x1b]0;owned\x07 [bold]x[/bold] [/] :smile:" in shown(s.HOSTILE_RUN)


@pytest.mark.parametrize(
    ("results", "line"),
    [
        (s.ALL_PASS, "AS EXPECTED (exit 0): 2 tests: 2 pass; 3 cases: 2 pass, 1 skip"),
        (s.ALL_SKIP, "AS EXPECTED (exit 0): 7 tests: 7 skip"),
        (s.EMPTY, "NOT AS EXPECTED (exit 1): 0 tests"),
        (s.INTERRUPTED, "INTERRUPTED (exit 130): 8 tests: 1 pass, 7 notrun"),
        (s.INTERRUPTED_AT_END, "INTERRUPTED (exit 130): 1 test: 1 pass"),
        (
            s.run(s.program("a_test", Outcome.SPLAT), s.program("b_test", Outcome.PASS)),
            "NOT AS EXPECTED (exit 1): 2 tests: 1 pass, 1 splat",
        ),
    ],
)
def test_verdict(results: r.Results, line: str) -> None:
    assert last_line(results) == line


@pytest.mark.parametrize(
    ("results", "line"),
    [
        (
            s.ALL_SKIP,
            "NOTHING WAS TESTED: all 7 tests skipped or not run: this machine has no TDX",
        ),
        (s.EMPTY, "NOTHING WAS TESTED: no test was planned"),
        (
            s.run(
                s.program("a_test", Outcome.SKIP, reason="no TDX"),
                s.program("b_test", Outcome.NOTRUN, reason="no guest"),
            ),
            "NOTHING WAS TESTED: all 2 tests skipped or not run: no TDX (and 1 other reason)",
        ),
    ],
)
def test_nothing_tested_is_said_aloud(results: r.Results, line: str) -> None:
    assert shown(results).splitlines()[-2] == line


@pytest.mark.parametrize("results", [s.ALL, s.ALL_PASS, s.INTERRUPTED])
def test_something_tested_is_not_called_nothing(results: r.Results) -> None:
    assert "NOTHING" not in shown(results)


def test_known_failures_stand_in_one_line_a_tag() -> None:
    story = "known: C6: a part of a file can be bound twice (someone@example.org, as posted); why"
    tests = [
        s.program(f"a_rather_long_name_{n}_test", Outcome.XFAIL, reason=story) for n in range(9)
    ]
    results = s.run(*tests, s.program("other_test", Outcome.XFAIL, reason="so it is"))
    lines = [line for line in shown(results).splitlines() if line.startswith("Failed as expected")]
    assert lines[0].startswith("Failed as expected, 9 tests: known: C6 (kvm:a_rather_long_name_0")
    assert lines[1] == "Failed as expected, 1 test: so it is (kvm:other_test)"
    assert max(map(len, lines)) <= text.LOG_COLUMNS
    assert story in shown(results, verbose=True)


def test_cases_only_when_asked_for() -> None:
    assert "no huge pages" not in shown(s.ALL_PASS)
    assert "- skip  no huge pages" in shown(s.ALL_PASS, verbose=True)


def test_a_failing_test_tells_all_that_is_needed() -> None:
    output = shown(s.ALL)
    for part in (
        "fd_memory_test.c:118:hole_punch:Expected 0 (0) == ret (-1)",
        "lib/kvm_util.c:1203: !ret",
        "WARNING: CPU: 0 PID: 61 at mm/memfd.c:77 restricted_fallocate",
        "kernel log: runs/2026-07-01T03-00-00-3f2a/tests/state_test/kernel.log",
        "run again:  harness run kvm:state_test --seed=5a5a",
        "note:  KVM was asked for, TCG was used",
        "run:   runs/2026-07-01T03-00-00-3f2a",
        "junit: runs/2026-07-01T03-00-00-3f2a/junit.xml",
    ):
        assert part in output
    assert "frame_8" in output
    assert "frame_9" not in output  # beyond the excerpt
    assert KERNEL_LINES == 16


def test_of_an_oops_the_trace_is_shown_and_not_the_registers() -> None:
    log = (
        "[    1.007763][   T30] BUG: kernel NULL pointer dereference, address: 0000000000000000\n"
        "[    1.008171][   T30] PGD 2c2c067 P4D 2c2c067 PUD 2c2b067 PMD 0\n"
        "[    1.009248][   T30] RIP: 0010:lkdtm_EXCEPTION+0x0/0x10\n"
        "[    1.009668][   T30] Code: 54 24 10 65 48 2b 14 25 28 00 00 00 75 0d 48 83 c4 18 5b\n"
        "[    1.009968][   T30] RSP: 0018:ffffc9000010be18 EFLAGS: 00000282\n"
        "[    1.010050][   T30] RAX: ffffffff81377f40 RBX: 000000000000000a RCX: c0000000ffffdfff\n"
        "[    1.010673][   T30] R13: ffffc9000010bf10 R14: 000000000000000a R15: ffffc9000010bf10\n"
        "[    1.010838][   T30] CR2: 0000000000000000 CR3: 0000000002c0f000 CR4: 0000000000750ef0\n"
        "[    1.010838][   T30]  <TASK>\n"
        "[    1.010838][   T30]  vfs_write+0xe1/0x3b0 (fs/read_write.c:582)\n"
    )
    output = shown(s.run(s.program("a_test", Outcome.CRASH, reason="BUG", kernel_log=log)))
    said = output.split("the kernel reported:\n")[1].split("  run again")[0].split("\n\n")[0]
    assert [line.strip() for line in said.splitlines()[:5]] == [
        "BUG: kernel NULL pointer dereference, address: 0000000000000000",
        "RIP: 0010:lkdtm_EXCEPTION+0x0/0x10",
        "<TASK>",
        "vfs_write+0xe1/0x3b0 (fs/read_write.c:582)",
        "... 6 more lines in its log",
    ]


def test_a_failing_case_of_a_passing_test_is_not_green() -> None:
    case = s.case("a_test", "one", Outcome.FAIL, "why")
    results = s.run(s.program("a_test", Outcome.PASS, cases=(case,)))
    assert last_line(results).startswith("NOT AS EXPECTED (exit 1)")
    assert "one  fail  why" in shown(results)


def test_many_failing_cases_do_not_flood() -> None:
    output = shown(s.many(1000))
    assert output.count("Expected 0 (0) == ret (-1)") == MAX_CASES
    assert "... and 90 more cases like these" in output


@pytest.mark.parametrize("verbose", [False, True])
def test_ten_thousand_cases_take_less_than_two_seconds(verbose: bool) -> None:
    results = s.many(10_000)
    start = time.process_time()
    output = shown(results, verbose=verbose)
    assert time.process_time() - start < 2
    assert ("case_9999" in output) == verbose


def test_a_stream_that_knows_no_unicode() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    results = s.run(s.program("a_test", Outcome.FAIL, reason="größer ✗"))
    console.print_summary(results, stream)
    output = raw.getvalue().decode("ascii")
    assert "! kvm:a_test  fail" in output
    assert r"gr\xf6\xdfer \u2717" in output


def test_an_error_in_four_parts() -> None:
    error = UserError(
        "patch 3 does not apply",
        where="0003-x.patch",
        why="first\nsecond \x1b[31m",
        hint="do [this]",
    )
    stream = io.StringIO()
    console.print_error(error, stream, PLAIN)
    assert stream.getvalue() == (
        "error: patch 3 does not apply\n"
        "  where: 0003-x.patch\n"
        "  why:   first\n"
        "         second \\x1b[31m\n"
        "  do:    do [this]\n"
    )
    coloured = io.StringIO()
    console.print_error(error, coloured, COLOUR)
    assert coloured.getvalue().startswith("\x1b[1;31merror: \x1b[0m\x1b[1mpatch 3")


def test_an_error_without_parts() -> None:
    stream = io.StringIO()
    console.print_error(UserError("no project"), stream, PLAIN)
    assert stream.getvalue() == "error: no project\n"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, ""),
        (0.04, "0.0s"),
        (9.94, "9.9s"),
        (9.96, "10s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (151.2, "2m31s"),
        (3599.7, "1h00m"),
        (3720, "1h02m"),
        (360000, "100h00m"),
    ],
)
def test_duration(seconds: float | None, words: str) -> None:
    assert text.duration(seconds) == words


def test_the_last_lines_where_nothing_is_asserted() -> None:
    lines = [f"line {n}" for n in range(20)]
    assert text.assertion("\n".join(lines)) == (lines[-8:], 12)
    assert text.assertion("") == ([], 0)


def test_a_long_line_is_cut() -> None:
    output = shown(s.run(s.program("a_test", Outcome.FAIL, output="x" * 100_000)))
    assert "[... 99500 characters]" in output
    assert len(output) < 3000
