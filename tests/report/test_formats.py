# SPDX-License-Identifier: GPL-2.0-only
"""What all formats have in common."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.judge.merge import merged
from harness.model.results import Results
from harness.outcome import Outcome
from harness.report.console import print_summary
from harness.report.formats import FORMATS, View
from harness.report.terminal import Terminal
from tests.report import samples as s

pytestmark = [pytest.mark.unit, pytest.mark.slow]
NAMES = [name for name in FORMATS if name != "lcov"]
"""Those that every run can be rendered in: lcov is for one that has watched what its tests run."""

MEASURED = """
import re, sys, time
from pathlib import Path
from harness.outcome import Outcome
from harness.report.formats import FORMATS, View
from tests.report import samples as s

OUTCOMES = [Outcome.PASS, Outcome.FAIL, Outcome.SKIP, Outcome.XFAIL]
cases = tuple(
    s.case("big", f"group.case_{n:030}", OUTCOMES[n % 4], f"reason {n}", f"{n} printed\\n" * 10)
    for n in range(100_000)
)
results = s.run(s.program("big", Outcome.FAIL, cases=cases, kernel_log=s.WARNING))
start = time.process_time()
data = FORMATS[sys.argv[1]].render(results, View("runs/latest"))
took = time.process_time() - start
# Of this program alone: getrusage() counts what its parent had as well.
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]
print(len(data), took, int(peak) // 1024)
"""


@pytest.mark.parametrize("name", NAMES)
def test_a_hundred_thousand_cases(name: str) -> None:
    """The time is that of the process, and the memory includes the results."""
    argv = [sys.executable, "-c", MEASURED, name]
    root = Path(__file__).parents[2]
    done = subprocess.run(argv, cwd=root, capture_output=True, text=True, timeout=600, check=True)
    size, took, megabytes = done.stdout.split()
    assert float(took) < 20
    assert int(megabytes) < 500
    # GitLab reads no JUnit report that is larger, and a browser should not have to.
    assert int(size) < 30_000_000 or name in ("json", "kcidb")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sample", s.SAMPLES, ids=lambda sample: sample.name)
def test_nothing_in_a_report_acts_where_it_is_shown(name: str, sample: s.Sample) -> None:
    text = FORMATS[name].render(sample.results, View("runs/latest")).decode("utf-8")
    assert all(char.isprintable() or char in "\n\t" for char in text)
    assert text.endswith("\n")


LONG = ("<script>alert(1)</script>.\x1b[31m\u202e/\0" * 40_000)[:1_000_000]
"""A line as a test can print it, and call its cases."""
OUTCOMES = (Outcome.FAIL, Outcome.PASS, Outcome.SKIP, Outcome.XFAIL, Outcome.SPLAT)


def long_lines() -> Results:
    cases = tuple(
        s.case("p", f"{number}{LONG if number == 0 else s.HOSTILE}", outcome, LONG, f"{LONG}\n")
        for number, outcome in enumerate(OUTCOMES)
    )
    test = s.program(
        "p", Outcome.SPLAT, cases=cases, output=LONG, kernel_log=LONG, reason=LONG, ending=LONG
    )
    return s.run(test, notes=(LONG,))


@pytest.mark.parametrize("kernels", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_lines_of_a_megabyte_harm_no_report(name: str, kernels: int) -> None:
    each = {f"{number}": long_lines() for number in range(kernels)}
    start = time.process_time()
    text = FORMATS[name].render(merged(each), View("runs/latest")).decode("utf-8")
    assert time.process_time() - start < 20
    assert all(char.isprintable() or char in "\n\t" for char in set(text))
    # What a program reads as a whole has all of it; all else is for people, databases, browsers.
    assert len(text) < 500_000 or name == "json"
    if name in ("junit", "html"):
        assert "<script>alert" not in text


@pytest.mark.parametrize("kernels", [1, 2])
def test_lines_of_a_megabyte_harm_no_terminal(kernels: int) -> None:
    stream = io.StringIO()
    results = merged({f"{number}": long_lines() for number in range(kernels)})
    print_summary(results, stream, terminal=Terminal(False, False, False, 80), verbose=True)
    lines = stream.getvalue().splitlines()
    assert all(char.isprintable() for line in lines for char in set(line))
    assert max(map(len, lines)) <= 80
    assert len(lines) < 1000
