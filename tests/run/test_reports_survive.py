# SPDX-License-Identifier: GPL-2.0-only
"""Reports and logs of real runs to which something is done while they are under way."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from harness.errors import ExitCode
from harness.model import results
from harness.outcome import Outcome
from harness.run.prepare import Prepared
from tests.run.commands import LIMIT_S
from tests.run.records import begun

pytestmark = pytest.mark.kernel
REPOSITORY = Path(__file__).parents[2]


def suite(directory: Path, *scripts: str) -> Path:
    """Write a suite of scripts that print their names; those with "slow" in it take their time."""
    directory.mkdir()
    (directory / "Makefile").write_text(f"TEST_PROGS := {' '.join(scripts)}\ninclude ../lib.mk\n")
    for name in scripts:
        rest = "sleep 5" * ("slow" in name)
        (directory / name).write_text(f"#!/bin/sh\necho 'this is {name}'\n{rest}\n")
        (directory / name).chmod(0o755)
    return directory


def start(out: Path, junit: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "harness",
            "run",
            "--out",
            str(out),
            "--junit",
            str(junit),
            *options,
        ],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(process: subprocess.Popen[str], out: Path, test: str) -> None:
    """Wait until *test* has begun."""
    end = time.monotonic() + LIMIT_S
    while not begun(out, test):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.05)


def classnames(junit: Path) -> list[str]:
    root = ET.fromstring(junit.read_bytes())  # noqa: S314  our own text
    return sorted(each.get("classname", "") for each in root.iter("testcase"))


def test_each_test_has_its_own_logs_whatever_its_name(prepared: Prepared, tmp_path: Path) -> None:
    names = ("a,b", "a_b", "a@b", "A_b", "boot", "x" * 240 + ".sh")
    directory = suite(tmp_path / "odd", *names)
    process = start(tmp_path / "out", tmp_path / "ci.xml", "--suite", str(directory))
    text = process.communicate(timeout=LIMIT_S)[0]
    assert process.returncode == ExitCode.AS_EXPECTED, text
    said = results.decode((tmp_path / "out" / "results.json").read_bytes())
    printed = {
        test.program: (tmp_path / "out" / test.logs.output).read_text() for test in said.tests
    }
    assert printed == {name: f"this is {name}\n" for name in names}
    assert (tmp_path / "out" / "logs" / "odd" / "a=2Cb.output.log").exists()


def test_a_run_whose_directory_is_removed_reports_all_the_same(
    prepared: Prepared, tmp_path: Path
) -> None:
    directory, out = suite(tmp_path / "gone", "a_good", "b_slow", "c_good"), tmp_path / "out"
    process = start(out, tmp_path / "ci.xml", "--suite", str(directory), "--jobs", "1")
    wait_for(process, out, "gone:b_slow")
    shutil.rmtree(out)
    text = process.communicate(timeout=LIMIT_S)[0]
    assert process.returncode == ExitCode.AS_EXPECTED, text
    assert classnames(tmp_path / "ci.xml") == ["gone:a_good", "gone:b_slow", "gone:c_good"]
    said = results.decode((out / "results.json").read_bytes())
    assert said.counts == {Outcome.PASS: 3}
    assert said.tests_s is not None
    assert said.tests_s > 5
    assert said.prepare_s is not None
    argv = [sys.executable, "-m", "harness", "report", str(out)]
    assert subprocess.run(argv, cwd=REPOSITORY, timeout=60, check=False).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_more_signals_do_not_cost_the_reports(
    prepared: Prepared, tmp_path: Path, number: signal.Signals
) -> None:
    directory, out = suite(tmp_path / "cut", "a_slow", "b_slow", "c_slow"), tmp_path / "out"
    process = start(out, tmp_path / "ci.xml", "--suite", str(directory), "--jobs", "1")
    wait_for(process, out, "cut:a_slow")
    # From the first to the last moment: while guests are ended, reports written, the cache tidied.
    while process.poll() is None:
        os.kill(process.pid, number)
        time.sleep(0.002)
        if (out / "results.json").exists():
            break
    text = process.communicate(timeout=LIMIT_S)[0]
    assert process.returncode == ExitCode.INTERRUPTED, text
    assert "Traceback" not in text
    assert classnames(tmp_path / "ci.xml") == ["cut:a_slow", "cut:b_slow", "cut:c_slow"]
    said = results.decode((out / "results.json").read_bytes())
    assert said.interrupted
    assert len(said.tests) == 3
