# SPDX-License-Identifier: GPL-2.0-only
"""``harness race`` as a user meets it who has asked for something that cannot be."""

from __future__ import annotations

import pytest

from harness.errors import ExitCode
from tests.cli.projects import Project

pytestmark = [pytest.mark.unit, pytest.mark.slow]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("race s:p -k p", "not both"),
        ("race p", "SUITE:PROGRAM"),
        ("race --repeat 3", "each schedule runs once"),
        ("race --until-fail", "each schedule runs once"),
        ("race s:p --resume latest", "cannot be named with --resume"),
        ("race --schedules 0", "--schedules"),
        ("race --first 0", "--first"),
        ("race --budget 0", "--budget"),
        ("race --schedules 3 --resume latest", "--schedules cannot be given with --resume"),
        ("race nowhere:p", "nowhere"),
        ("race --guest vng", "instructions are chosen to preempt it in sealed guests only"),
        ("run s:p@seed#3 --schedule 4", "has a schedule already"),
        ("run s:p@9+3 --cost", "--schedule with --cost"),
        ("run nowhere:p --schedule 0", "it is a seed from 1 on"),
        ("run nowhere:p --schedule 12+", "it is a seed from 1 on"),
        ("run nowhere:p --schedule 9+1,5+1", "points one after the other"),
        ("run nowhere:p --schedule 9+0", "each longer than 0 instructions"),
        ("run nowhere:p --schedule 1 --cost", "--schedule with --cost"),
        ("run nowhere:p --schedule 1 --coverage", "--schedule with --coverage"),
        ("run nowhere:p --schedule 1 --base", "--schedule with --base"),
        ("run s:p -k p", "not both"),
        ("run p", "SUITE:PROGRAM"),
    ],
)
def test_what_cannot_be_is_refused(project: Project, arguments: str, words: str) -> None:
    answer = project.harness(*arguments.split())
    assert answer.status == ExitCode.USER
    assert words in " ".join(answer.text.split())


@pytest.mark.parametrize("command", ["race", "run --schedule 3"])
def test_a_guest_of_kvm_is_refused(project: Project, command: str) -> None:
    project.write("[guest]", 'accel = "kvm"')
    answer = project.harness(*command.split())
    assert answer.status == ExitCode.USER
    text = " ".join(answer.text.split())
    assert "with KVM the instructions of a test cannot be chosen to preempt it" in text
    assert 'guest.accel = "kvm"' in text
