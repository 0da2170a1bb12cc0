# SPDX-License-Identifier: GPL-2.0-only
"""What a run leaves behind and what it leaves alone, however it ends.

The kernel is the one in miniature, which QEMU does not boot: a run that gets so far has a plan, and
then ends with exit 3.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from harness.errors import ExitCode
from harness.run.journal import FILE_NAME
from tests.cli.projects import REPOSITORY, Project
from tests.cli.test_report import END, PLAN, REQUESTED, exited, write
from tests.kerneltree import HARNESS

pytestmark = [pytest.mark.unit, pytest.mark.slow]
GREEN = '<testsuites><testsuite name="s"><testcase name="a"/></testsuite></testsuites>'


def errors(path: Path) -> list[str]:
    """Return the messages of the errors in a JUnit report."""
    root = ET.fromstring(path.read_bytes())  # noqa: S314  our own text
    return [each.get("message", "") for each in root.iter("error")]


def green(directory: Path) -> Path:
    """Make *directory* that of a run that ended as expected, with its reports."""
    write(directory, REQUESTED, PLAN, exited("s:a"), exited("s:b"), END)
    (directory / "junit.xml").write_text(GREEN)
    (directory / "results.json").write_text('{"tests": []}')
    (directory / "logs").mkdir()
    (directory / "logs" / "a.log").write_text("earlier")
    return directory


REFUSED = {
    "usage": ["--no-such"],
    "number": ["--jobs", "0"],
    "both": ["--resume", "x", "-k", "y"],
    "run": ["--resume", "nothing"],
    "series": ["--series", "nowhere"],
    "suite": ["--suite", "nowhere"],
    "test": ["-k", "absent"],
    "project": ["--project", "nowhere.toml"],
    "expression": ["-k", "("],
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_run_that_is_refused_leaves_no_good_report(project: Project, why: str) -> None:
    (project.root / "ci.xml").write_text(GREEN)
    (project.root / "ci.md").write_text("## ✅ AS EXPECTED")
    words = REFUSED[why]
    answer = project.harness("run", "--junit", "ci.xml", "--summary", "ci.md", *words)
    assert answer.status == ExitCode.USER, answer.text
    assert len(errors(project.root / "ci.xml")) == 1
    assert "✅" not in (project.root / "ci.md").read_text()


@pytest.mark.parametrize("why", ["usage", "series", "project"])
def test_nor_where_the_directory_holds_an_earlier_run(project: Project, why: str) -> None:
    out = green(project.root / "out")
    journal = (out / FILE_NAME).read_bytes()
    answer = project.harness("run", "--out", "out", *REFUSED[why])
    assert answer.status == ExitCode.USER, answer.text
    assert len(errors(out / "junit.xml")) == 1
    assert not (out / "results.json").exists()
    # What happened in the earlier run is kept.
    assert (out / FILE_NAME).read_bytes() == journal
    assert (out / "logs" / "a.log").read_text() == "earlier"
    assert project.harness("report", "out").status == ExitCode.USER


@pytest.mark.parametrize("words", [[], ["--series", "nowhere"], ["--no-such"]])
def test_a_directory_of_the_user_is_left_alone(project: Project, words: list[str]) -> None:
    mine = {"logs/a.log": "log", "junit.xml": GREEN, "results.json": "{}", "notes": "x"}
    for name, text in mine.items():
        (project.root / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (project.root / "mine" / name).write_text(text)
    answer = project.harness("run", "--out", "mine", *words)
    assert answer.status == ExitCode.USER, answer.text
    if not words:
        assert "neither empty nor that of a run" in answer.text
    found = {
        str(path.relative_to(project.root / "mine")): path.read_text()
        for path in (project.root / "mine").rglob("*")
        if path.is_file()
    }
    assert found == mine


def test_the_machine_fails_after_planning_and_everything_is_reported(project: Project) -> None:
    out = green(project.root / "out")
    (project.root / "ci.xml").write_text(GREEN)
    answer = project.harness("run", "--out", "out", "--junit", "ci.xml")
    assert answer.status == ExitCode.MACHINE, answer.text
    said = json.loads((out / "results.json").read_text())
    assert sorted(test["name"] for test in said["tests"]) == ["demo:good", "demo:script.sh"]
    assert {test["outcome"] for test in said["tests"]} == {"notrun"}
    assert "QEMU does not start" in said["error"]
    assert said["requested"] < said["started"] <= said["ended"]
    assert 0 < said["prepare_s"] < said["seconds"]
    assert said["tests_s"] == pytest.approx(said["seconds"] - said["prepare_s"])
    assert any("QEMU does not start" in each for each in errors(project.root / "ci.xml"))
    assert len(errors(project.root / "ci.xml")) == 3
    assert not (out / "junit.xml").exists()
    assert not (out / "logs" / "a.log").exists()
    again = project.harness("report", "out")
    assert again.status == ExitCode.MACHINE, again.text
    assert "2 not run" in again.text or "2 notrun" in again.text


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_a_run_that_is_killed_leaves_no_good_report(
    project: Project, number: signal.Signals
) -> None:
    out = green(project.root / "out")
    (project.root / "ci.xml").write_text(GREEN)
    # The build takes longer than this test.
    makefile = project.fake.work / "Makefile"
    makefile.write_text(makefile.read_text().replace("@echo compiled", "@sleep 60; echo compiled"))
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", "run", "--out", "out", "--junit", "ci.xml"],
        cwd=project.root,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "HARNESS_CACHE": f"{project.root}/cache"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    begun = time.monotonic()
    # The build is under way when its log is there.
    while not (out / "next" / "logs" / "kernel-build.log").exists():
        assert time.monotonic() < begun + 60
        time.sleep(0.01)
    os.kill(process.pid, number)
    text = process.communicate(timeout=60)[0]
    if number != signal.SIGKILL:
        assert process.returncode == ExitCode.INTERRUPTED, text
    assert len(errors(project.root / "ci.xml")) == 1
    assert not (out / "junit.xml").exists()
    assert not (out / "results.json").exists()
    assert (out / "logs" / "a.log").exists()


@pytest.mark.parametrize(
    ("name", "where"),
    [("a-directory", "a-directory"), ("file/x.xml", "file/x.xml"), ("/proc/x.xml", "/proc/x.xml")],
)
def test_a_report_that_cannot_be_written_is_refused_first(
    project: Project, name: str, where: str
) -> None:
    (project.root / "a-directory").mkdir()
    (project.root / "file").touch()
    answer = project.harness("run", "--junit", name)
    assert answer.status == ExitCode.USER, answer.text
    assert where in answer.text
    assert "Fetching" not in answer.text
    assert not (project.root / "runs").exists()


def test_a_limit_of_the_cache_that_is_no_number_is_refused_first(project: Project) -> None:
    answer = project.harness("run", HARNESS_CACHE_GIB="lots")
    assert answer.status == ExitCode.USER
    assert "HARNESS_CACHE_GIB" in answer.text
    assert "Fetching" not in answer.text


def test_the_null_device_survives(project: Project) -> None:
    before = Path("/dev/null").stat()
    answer = project.harness("run", "--junit", "/dev/null")
    assert answer.status == ExitCode.MACHINE, answer.text
    assert os.path.samestat(Path("/dev/null").stat(), before)


def shell(project: Project, script: str) -> subprocess.CompletedProcess[bytes]:
    """Run a shell script in which $harness is the program."""
    return subprocess.run(
        ["/bin/bash", "-c", script.replace("$harness", HARNESS)],
        cwd=project.root,
        env={
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "HARNESS_CACHE": f"{project.root}/cache",
        },
        capture_output=True,
        timeout=120,
        check=False,
    )


def test_the_report_alone_on_standard_output(project: Project) -> None:
    done = shell(project, "$harness run --out out --junit /dev/stdout >ci.xml 2>log")
    assert done.returncode == ExitCode.MACHINE
    assert len(errors(project.root / "ci.xml")) == 3
    assert "2 tests" in (project.root / "log").read_text()


@pytest.mark.parametrize(
    "redirection",
    [">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full", ">/dev/full 2>&1", "| true", "2>&1 | true"],
)
def test_reports_are_written_without_a_reader_of_the_output(
    project: Project, redirection: str
) -> None:
    script = f"set -o pipefail; $harness run --out out --junit ci.xml {redirection}; exit $?"
    done = shell(project, script)
    assert done.returncode == ExitCode.MACHINE, done
    assert b"Traceback" not in done.stdout + done.stderr
    assert len(errors(project.root / "ci.xml")) == 3
    said = json.loads((project.root / "out" / "results.json").read_text())
    assert len(said["tests"]) == 2
    for line in (project.root / "out" / FILE_NAME).read_text().splitlines():
        json.loads(line)


@pytest.mark.parametrize("limit", ["-f 0", "-f 1", "-n 5", "-n 9"])
def test_limits_of_the_shell_are_the_machines(project: Project, limit: str) -> None:
    run = "$harness run --out out --junit ci.xml 2>&1 | cat"
    done = shell(project, f"ulimit {limit}; {run}; exit ${{PIPESTATUS[0]}}")
    text = done.stdout.decode()
    assert "Traceback" not in text
    assert done.returncode in (ExitCode.MACHINE, ExitCode.USER), text
    assert "error: " in text
    assert "ulimit" in text


def test_a_cache_that_can_only_be_read(project: Project) -> None:
    (project.root / "cache").mkdir()
    script = (
        f"mount --bind cache cache && mount -o remount,bind,ro cache && "
        f"{HARNESS} run --junit ci.xml"
    )
    done = shell(project, f"unshare -Urm sh -c {shlex.quote(script)}")
    text = (done.stdout + done.stderr).decode()
    assert done.returncode == ExitCode.MACHINE, text
    assert "read-only" in text
    assert str(project.root / "cache") in text
    assert "HARNESS_CACHE" in text
    assert "Traceback" not in text
    assert len(errors(project.root / "ci.xml")) == 1


def test_no_home(project: Project) -> None:
    done = shell(project, "unset HARNESS_CACHE; HOME=/proc/nowhere $harness run 2>&1")
    text = done.stdout.decode()
    assert done.returncode == ExitCode.MACHINE, text
    assert "/proc/nowhere" in text
    assert "Traceback" not in text


def test_a_current_directory_that_was_removed(project: Project) -> None:
    done = shell(project, "mkdir gone; cd gone; rmdir ../gone; $harness run 2>&1")
    text = done.stdout.decode()
    assert done.returncode == ExitCode.MACHINE, text
    assert "the current directory" in text
    assert "Traceback" not in text
