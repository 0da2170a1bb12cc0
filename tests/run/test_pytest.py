# SPDX-License-Identifier: GPL-2.0-only
"""pytest with real suites and real guests: the example of docs/pytest.md, as a project has it."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from harness import project
from harness.run.prepare import Prepared
from tests.run.commands import LIMIT_S
from tests.run.test_main_job import PROVOKE, REPOSITORY, suite

pytestmark = [pytest.mark.kernel, pytest.mark.long(30)]

MARK = """
	int was_there = access("/tmp/mark", F_OK) == 0;
	printf("%s\\n", was_there ? "there is a mark already" : "it is the first");
	return was_there || open("/tmp/mark", O_CREAT, 0600) < 0;
"""
FAILING = 'puts("TAP version 13\\n1..1\\n# mine.c:7:it:Expected 1\\nnot ok 1 it"); return 1;'
SILENT = """

def test_a_complaint_that_no_assertion_sees_fails_it(guest):
    guest.run(["sh", "-c", "echo WARNING >/sys/kernel/debug/provoke-crash/DIRECT"])


def test_a_guest_that_dies_says_why(guest):
    guest.allow("Kernel panic|lkdtm")
    with pytest.raises(Exception, match="the guest died .panic") as died:
        guest.run(["sh", "-c", "echo PANIC >/sys/kernel/debug/provoke-crash/DIRECT"])
    assert "dumptest" in str(died.value)
"""


def run_pytest(directory: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "2", "--junitxml", "junit.xml", *args],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def outcomes(directory: Path) -> dict[str, str]:
    """Return what the JUnit report says of each test by name."""
    found: dict[str, str] = {}
    for case in ET.parse(directory / "junit.xml").iter("testcase"):  # noqa: S314  our own file
        kinds = [each.tag for each in case if each.tag in ("failure", "error", "skipped")]
        found[case.get("name", "")] = ",".join(kinds) or "passed"
    return found


def test_suites_and_guests_in_two_workers(prepared: Prepared, tmp_path: Path) -> None:
    (tmp_path / "selftests").mkdir()
    suite(
        tmp_path / "selftests" / "mine",
        leaves_a_mark=MARK,
        warns=PROVOKE.format("WARNING"),
        fails=FAILING,
        skips="return 4;",
        is_broken="return no_such_thing;",
    )
    own = project.load(REPOSITORY / project.FILE_NAME)
    stack = [str(REPOSITORY / each) for each in own.stacks[own.series]]
    (tmp_path / "harness.toml").write_text(
        f'series = "{own.series}"\n'
        f"[kernel]\nsource = {list(own.kernel.sources)}\nconfig = {list(own.kernel.config)}\n"
        f"config_dir = '{REPOSITORY / own.kernel.config_dir}'\ntrust = 'own'\n"
        f'[stacks]\n"{own.series}" = {stack}\n[suites.mine]\npath = "selftests/mine"\n'
    )
    document = (REPOSITORY / "docs" / "pytest.md").read_text()
    example = re.findall(r"```python\n(import pytest\n.*?)```", document, re.DOTALL)
    (tmp_path / "test_guests.py").write_text("".join(example) + SILENT)

    done = run_pytest(tmp_path)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    assert outcomes(tmp_path) == {
        "leaves_a_mark": "passed",
        "warns": "failure",
        "fails": "failure",
        "skips": "skipped",
        "is_broken": "error",
        "test_a_file_arrives_whole": "passed",
        "test_two_programs_in_one_guest": "passed",
        "test_the_kernel_that_runs_is_the_one_that_was_built": "passed",
        "test_a_warning_is_provoked": "passed",
        "test_a_complaint_that_no_assertion_sees_fails_it": "error",
        "test_a_guest_that_dies_says_why": "passed",
    }, done.stdout
    for said in (
        "mine.c:7:it:Expected 1",
        "WARNING: CPU: ",
        "the kernel complained under the test: splat: WARNING",
        "no_such_thing",
        "run again:",
    ):
        assert said in done.stdout
    # The run that was left for a failure is a whole one.
    log = re.search(r"kernel log: (\S+)/logs/\S+", done.stdout)
    assert log is not None
    report = [sys.executable, "-m", "harness", "report", log[1]]
    again = subprocess.run(report, capture_output=True, text=True, timeout=60, check=False)
    assert again.returncode == 1, again.stderr

    last = run_pytest(tmp_path, "--lf", "selftests", "-k", "fails or mark")
    assert outcomes(tmp_path) == {"fails": "failure"}, last.stdout
