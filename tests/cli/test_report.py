# SPDX-License-Identifier: GPL-2.0-only
"""``harness report`` and ``--resume`` as a user meets them, on journals that need no kernel."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from harness import ktap
from harness.errors import ExitCode
from harness.model.plan import PlannedTest
from harness.model.records import (
    Ending,
    Record,
    Requested,
    RunEnded,
    RunStarted,
    TestEnded,
    TestStarted,
)
from harness.model.results import Kernel
from harness.run.journal import FILE_NAME, Journal
from tests.kerneltree import HARNESS

pytestmark = [pytest.mark.unit, pytest.mark.slow]
REQUESTED = Requested(command=("harness", "run"), working_dir="/", project_file="/harness.toml")
PLAN = RunStarted(
    run="r1",
    time="2026-07-01T03:00:00.000Z",
    harness="0",
    command=("harness", "run"),
    kernel=Kernel(release="6.1.0", source="s", base_commit="c"),
    tests=(
        PlannedTest(name="s:a", suite="s", program="a"),
        PlannedTest(name="s:b", suite="s", program="b"),
    ),
)
END = RunEnded(time="2026-07-01T03:01:00.000Z", seconds=60.0)


def exited(name: str, status: int = 0) -> TestEnded:
    ending = Ending(how="exit", status=status)
    return TestEnded(name=name, ending=ending, report=ktap.Parser().close(), total_s=1.0)


def write(directory: Path, *records: Record) -> Path:
    directory.mkdir(parents=True)
    with Journal(directory) as book:
        for record in records:
            book.write(record)
    return directory


def harness(where: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "harness", *words],
        cwd=where,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stdout, done.stdout
    return done.returncode, done.stdout


def test_a_run_is_rendered_again_with_its_exit_code(tmp_path: Path) -> None:
    good = write(tmp_path / "good", REQUESTED, PLAN, exited("s:a"), exited("s:b"), END)
    status, text = harness(tmp_path, "report", str(good))
    assert status == ExitCode.AS_EXPECTED
    assert "2 tests: 2 pass" in text
    bad = write(tmp_path / "bad", REQUESTED, PLAN, exited("s:a"), exited("s:b", 1), END)
    assert harness(tmp_path, "report", "bad")[0] == ExitCode.NOT_AS_EXPECTED
    status, text = harness(tmp_path, "report", str(bad), "--format", "json")
    assert [test["outcome"] for test in json.loads(text)["tests"]] == ["pass", "fail"]
    status, text = harness(tmp_path, "report", str(bad), "--format", "junit")
    assert status == ExitCode.NOT_AS_EXPECTED
    assert len(list(ET.fromstring(text).iter("failure"))) == 1  # noqa: S314  our own text


@pytest.mark.parametrize(
    ("form", "begins"),
    [("html", "<!doctype html>"), ("mail", "Subject: "), ("markdown", "## "), ("kcidb", "{")],
)
def test_every_format_is_printed_with_the_exit_code_of_the_run(
    tmp_path: Path, form: str, begins: str
) -> None:
    write(tmp_path / "bad", REQUESTED, PLAN, exited("s:a"), exited("s:b", 1), END)
    status, text = harness(tmp_path, "report", "bad", "--format", form)
    assert status == ExitCode.NOT_AS_EXPECTED
    assert text.startswith(begins)
    assert "s:b" in text


def test_the_origin_of_a_report_for_kernelci(tmp_path: Path) -> None:
    write(tmp_path / "good", REQUESTED, PLAN, exited("s:a"), exited("s:b"), END)
    words = ["report", "good", "--format", "kcidb", "--origin"]
    tests = json.loads(harness(tmp_path, *words, "myci")[1])["tests"]
    assert {test["origin"] for test in tests} == {"myci"}
    status, text = harness(tmp_path, *words, "My CI")
    assert status == ExitCode.USER
    assert "lower-case letters" in text


def test_what_failed_is_printed_as_entries_to_be_filled_in(tmp_path: Path) -> None:
    write(tmp_path / "bad", REQUESTED, PLAN, exited("s:a"), exited("s:b", 99), END)
    status, text = harness(tmp_path, "report", "bad", "--as-expectations")
    assert status == ExitCode.NOT_AS_EXPECTED
    (entry,) = tomllib.loads(text)["expect"]
    assert (entry["test"], entry["outcome"], entry["ends"]) == ("b", "fail", "exit 99")
    assert entry["reason"] == entry["owner"] == ""
    for more in (["--format", "json"], ["-v"]):
        status, text = harness(tmp_path, "report", "bad", "--as-expectations", *more)
        assert status == ExitCode.USER
        assert "--as-expectations is a form of its own" in text


def test_a_run_that_was_killed_is_rendered_as_far_as_it_went(tmp_path: Path) -> None:
    begun = TestStarted(name="s:b", time="t", seed="5a")
    out = write(tmp_path / "cut", REQUESTED, PLAN, exited("s:a"), begun)
    with (out / FILE_NAME).open("ab") as journal:
        journal.write(b'{"type":"test-ended","name":"s:b"')
    status, text = harness(tmp_path, "report", "cut", "--format", "json")
    assert status == ExitCode.INTERRUPTED
    assert [test["outcome"] for test in json.loads(text)["tests"]] == ["pass", "notrun"]


def test_the_newest_run_of_the_project_needs_no_name(tmp_path: Path) -> None:
    (tmp_path / "harness.toml").write_text('[kernel]\nsource = "x"\nconfig = []\n')
    write(tmp_path / "runs" / "r1", REQUESTED, PLAN, exited("s:a"), exited("s:b"), END)
    (tmp_path / "runs" / "latest").symlink_to("r1")
    (tmp_path / "below").mkdir()
    assert harness(tmp_path / "below", "report")[0] == ExitCode.AS_EXPECTED
    assert harness(tmp_path / "below", "report", "r1")[0] == ExitCode.AS_EXPECTED


@pytest.mark.parametrize("words", [["report", "nothing"], ["run", "--resume", "nothing"]])
def test_a_run_that_is_not_there(tmp_path: Path, words: list[str]) -> None:
    status, text = harness(tmp_path, *words)
    assert status == ExitCode.USER
    assert "there is no run 'nothing'" in text
    assert str(tmp_path / "nothing") in text


def test_a_run_without_a_plan_has_nothing_to_report(tmp_path: Path) -> None:
    write(tmp_path / "early", REQUESTED)
    status, text = harness(tmp_path, "report", "early")
    assert status == ExitCode.USER
    assert "cut off before it had a plan" in text
    assert "harness run --resume" in text


def test_a_journal_that_does_not_say_what_was_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "old", PLAN)
    status, text = harness(tmp_path, "run", "--resume", "old")
    assert status == ExitCode.USER
    assert "has no record of its request" in text


def test_a_damaged_journal_is_named(tmp_path: Path) -> None:
    out = write(tmp_path / "bad", REQUESTED, PLAN)
    with (out / FILE_NAME).open("ab") as journal:
        journal.write(b'{"type":"test-ended"}\n')
    for words in (["report", "bad"], ["run", "--resume", "bad"]):
        status, text = harness(tmp_path, *words)
        assert status == ExitCode.USER
        assert f"{FILE_NAME}:3" in text


@pytest.mark.parametrize(
    "words", [["-k", "a"], ["--out", "x"], ["--repeat", "2"], ["--until-fail"], ["--suite", "s"]]
)
def test_a_run_goes_on_with_its_own_options(tmp_path: Path, words: list[str]) -> None:
    status, text = harness(tmp_path, "run", "--resume", "x", *words)
    assert status == ExitCode.USER
    assert f"{words[0]} cannot be given with --resume" in text


def test_what_a_killed_writer_left_is_cut_off_before_more_is_written(tmp_path: Path) -> None:
    out = write(tmp_path / "cut", REQUESTED, PLAN)
    whole = (out / FILE_NAME).read_bytes()
    (out / FILE_NAME).write_bytes(whole + b'{"type":"te')
    with Journal(out) as book:
        book.write(END)
    assert (out / FILE_NAME).read_bytes().startswith(whole + b'{"type":"ended"')


@pytest.mark.parametrize(
    "words", [["run", "--resume", ""], ["report", ""], ["shell", "", "--command", "x"]]
)
def test_an_empty_name_is_no_run(tmp_path: Path, words: list[str]) -> None:
    """Also where the current directory is a run's: an unset variable of a script names none."""
    out = write(tmp_path / "out", REQUESTED, PLAN, exited("s:a"), exited("s:b"), END)
    status, text = harness(out, *words)
    assert status == ExitCode.USER, text
    assert "the name of the run is empty" in text


@pytest.mark.parametrize(
    "option",
    ["--out", "--junit", "--summary", "--project", "--source", "--series", "--config", "--suite"],
)
def test_an_empty_value_of_an_option_is_refused(tmp_path: Path, option: str) -> None:
    status, text = harness(tmp_path, "run", option, "")
    assert status == ExitCode.USER, text
    assert option in text
    assert "is empty" in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["console", "json", "html"])
@pytest.mark.parametrize("where", ["/dev/full", "closed pipe"])
def test_a_report_that_cannot_be_printed(tmp_path: Path, form: str, where: str) -> None:
    out = write(tmp_path / "out", REQUESTED, PLAN, exited("s:a"), exited("s:b"), END)
    command = f"{HARNESS} report {out} --format {form}"
    script = f"{command} >/dev/full" if where == "/dev/full" else f"{command} | true"
    done = subprocess.run(
        ["/bin/bash", "-c", f"{script}; exit ${{PIPESTATUS[0]}}"],
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # The summary is for a person, who has gone; a file in a format is what was asked for.
    if form == "console":
        assert done.returncode == ExitCode.AS_EXPECTED, done.stderr
    elif where == "/dev/full":
        assert done.returncode == ExitCode.MACHINE, done.stderr
        assert "no space is left" in done.stderr
    else:
        # All of it may have gone into the pipe before its reader went.
        assert done.returncode in (ExitCode.AS_EXPECTED, ExitCode.MACHINE), done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
