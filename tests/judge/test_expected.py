# SPDX-License-Identifier: GPL-2.0-only
"""From a run that fails to one that ends as known, and back, as a user goes that way."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.errors import ExitCode
from harness.outcome import Outcome
from harness.run.prepare import Prepared
from tests.run.test_main_job import PROVOKE, REPOSITORY, Run, run, suite

pytestmark = pytest.mark.kernel

TAP = 'puts("TAP version 13\\n1..2\\nok 1 one");'
PRINT = 'printf("# a.c:9: lost %p of %d\\nnot ok 2 two\\n", &main, 2);'
PROGRAMS = {
    "a_fail": TAP + PRINT + "return 1;",
    "b_oops": f"{TAP}\nfflush(stdout);{PROVOKE.format('EXCEPTION')}",
    "c_splat": PROVOKE.format("WARNING"),
    "d_status": 'fprintf(stderr, "d_status: gone\\n");\nreturn 99;',
    "e_signal": "abort();",
}
KNOWN = {
    "a_fail": Outcome.FAIL,
    "b_oops": Outcome.CRASH,
    "c_splat": Outcome.SPLAT,
    "d_status": Outcome.FAIL,
    "e_signal": Outcome.FAIL,
}


def outcomes(ended: Run) -> dict[str, Outcome]:
    return {test.program: test.outcome for test in ended.results.tests}


def project_file(directory: Path, digits: str = "") -> Path:
    """Write this project's file to where its paths do not lead; with *digits* for ``[posted]``."""
    text = (REPOSITORY / "harness.toml").read_text()
    text = re.sub(r'"(patches|selftests)/', rf'"{REPOSITORY}/\1/', text)
    text = text.replace("[kernel]\n", f'[kernel]\nconfig_dir = "{REPOSITORY}/kernel-configs"\n', 1)
    if digits:
        text, count = re.subn(r'(/patches/v10" = )"\w+"', rf'\1"{digits}"', text)
        assert count == 1
    directory.mkdir()
    (directory / "harness.toml").write_text(text)
    return directory / "harness.toml"


def test_entries_of_a_run_excuse_the_same_run_and_what_was_posted(
    prepared: Prepared, tmp_path: Path
) -> None:
    directory = suite(tmp_path / "five", **PROGRAMS)
    mine = project_file(tmp_path / "mine")
    first = run(tmp_path / "1", "--project", str(mine), "--suite", str(directory))
    assert first.status == ExitCode.NOT_AS_EXPECTED, first.text
    assert outcomes(first) == KNOWN

    argv = [sys.executable, "-m", "harness", "report", str(first.out), "--as-expectations"]
    done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.NOT_AS_EXPECTED
    known = directory / "expectations.toml"
    known.write_text(done.stdout)
    refused = run(tmp_path / "2", "--project", str(mine), "--suite", str(directory))
    assert refused.status == ExitCode.USER
    assert f"{known}: expect[0].reason" in refused.text

    filled = done.stdout.replace('reason = ""', 'reason = "known"\nposted = true')
    known.write_text(filled.replace('owner = ""', 'owner = "me"'))
    again = run(tmp_path / "3", "--project", str(mine), "--suite", str(directory))
    assert again.status == ExitCode.AS_EXPECTED, again.text
    assert set(outcomes(again).values()) == {Outcome.XFAIL}

    # On other patches than those that were posted, nothing of it holds.
    other = project_file(tmp_path / "other", "0" * 16)
    now = run(tmp_path / "4", "--project", str(other), "--suite", str(directory))
    assert now.status == ExitCode.NOT_AS_EXPECTED, now.text
    assert outcomes(now) == KNOWN
    (note,) = (each for each in now.results.notes if "posted = true" in each)
    line = re.search(r'write ("[^"]+/patches/v10" = "\w{16}") there', note)
    assert line is not None
    assert line[1] in mine.read_text()
    # Told before the tests, and again at the end.
    assert now.text.count("posted = true do not hold") == 2


def test_what_ends_soon_is_told_where_it_is_seen(prepared: Prepared, tmp_path: Path) -> None:
    directory = suite(tmp_path / "one", d_status=PROGRAMS["d_status"])
    soon = datetime.now(UTC).date() + timedelta(days=3)
    (directory / "expectations.toml").write_text(
        f'[[expect]]\ntest = "d_status"\noutcome = "fail"\nends = "exit 99"\nsays = "gone"\n'
        f'series = ["*"]\nreason = "known"\nowner = "me"\nuntil = {soon}\n'
    )
    ended = run(tmp_path / "1", "--suite", str(directory))
    assert ended.status == ExitCode.AS_EXPECTED, ended.text
    said = f"d_status: known (ends in 3 days, on {soon}; me renews or removes it)"
    assert said in ended.text
    assert any(said in note for note in ended.results.notes)
    properties = [each.get("value") or "" for each in ended.junit.iter("property")]
    assert any(said in value for value in properties)
