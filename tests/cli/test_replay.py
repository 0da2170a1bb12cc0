# SPDX-License-Identifier: GPL-2.0-only
"""``harness replay`` as a user meets it who has asked for something that cannot be."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.errors import ExitCode
from tests.cli.projects import Project

pytestmark = [pytest.mark.unit, pytest.mark.slow]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing argument"),
        (["p"], "SUITE:PROGRAM"),
        (["p"], "there is no such directory"),
        (["."], "nothing was recorded there"),
        ([":p"], "SUITE:PROGRAM"),
        (["nowhere:p"], "nowhere"),
        (["s:p", "-k", "p"], "-k chooses nothing"),
        (["s:p", "--repeat", "3"], "--hunt N"),
        (["s:p", "--until-fail"], "--hunt N"),
        (["s:p", "--resume", "latest"], "cannot be taken up again"),
        (["s:p", "--hunt", "0"], "--hunt"),
        (["s:p", "--times", "0"], "--times"),
        (["s:p", "--until", "x"], "not said how far back"),
        (["s:p", "--schedule", "0"], "it is a seed from 1 on"),
        (["s:p", "--schedule", "3", "--hunt", "4"], "--schedule with --hunt"),
        (["s:p", "--schedule", "3", "--seed", "4"], "--schedule with --seed"),
        (["s:p@seed#3", "--schedule", "4"], "has a schedule already"),
        (["s:p@5+7", "--hunt", "4"], "--schedule with --hunt"),
        (["s:p", "--from", "nowhere"], "nowhere"),
        (["s:p", "--from", "latest", "--series", "none"], "are those of the run"),
        (["s:p", "--guest", "vng"], "recorded in sealed guests only"),
    ],
)
def test_what_cannot_be_is_refused(project: Project, arguments: list[str], words: str) -> None:
    answer = project.harness("replay", *arguments)
    assert answer.status == ExitCode.USER
    assert words in " ".join(answer.text.split())


def test_kvm_cannot_be_recorded(project: Project) -> None:
    with (project.root / "harness.toml").open("a") as file:
        file.write('\n[guest]\naccel = "kvm"\n')
    answer = project.harness("replay", "s:p")
    assert answer.status == ExitCode.USER
    said = " ".join(answer.text.split())
    assert "with KVM the instructions of a test cannot be recorded" in said
    assert 'guest.accel be "auto"' in said


@pytest.mark.parametrize("option", [["--gdb"], ["--until", "write x"]])
def test_gdb_that_is_missing_is_told_before_anything_is_built(
    project: Project, tmp_path: Path, option: list[str]
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for each in ("git", "setpriv", "sh"):
        (programs / each).symlink_to(str(shutil.which(each)))
    answer = project.harness("replay", "s:p", *option, PATH=str(programs))
    assert answer.status == ExitCode.MACHINE
    assert "gdb is not installed" in answer.text


def test_a_run_stands_for_its_only_recording(project: Project) -> None:
    for name in ("a.1", "b.1"):
        directory = project.root / "run/logs/=replay/=" / name
        directory.mkdir(parents=True)
        (directory / "recording.json").write_text("{}")
        answer = project.harness("replay", "run")
        if name == "a.1":
            assert answer.status == ExitCode.MACHINE
            assert "a.1/recording.json" in answer.text
    assert answer.status == ExitCode.USER
    assert "several recordings" in answer.text
    assert "run/logs/=replay/=/b.1" in answer.text


def test_a_recording_that_is_damaged_is_told(project: Project) -> None:
    directory = project.root / "one"
    directory.mkdir()
    (directory / "recording.json").write_text("{}")
    answer = project.harness("replay", "one")
    assert answer.status == ExitCode.MACHINE
    assert "the recording cannot be read" in answer.text
