# SPDX-License-Identifier: GPL-2.0-only
"""Calls that fail on purpose, in restored guests: which one, whose, and what is said of it."""

from __future__ import annotations

import dataclasses

import pytest

from harness.klog import scan
from harness.lab.faults import settings_of
from harness.model.events import Faults
from harness.model.faults import Fault
from tests.guest.conftest import Outcome, Restored, probe

pytestmark = [pytest.mark.kernel, pytest.mark.long(60)]


def _allocate(restored: Restored, where: str, sweep: str, nth: int) -> Outcome:
    fault = settings_of(Fault(test="", sweep=sweep, nth=nth))
    return restored(dataclasses.replace(probe("allocate", where), faults=fault))


@pytest.mark.parametrize("where", ["self", "child", "thread"])
def test_one_call_fails_whichever_thread_or_child_makes_it(restored: Restored, where: str) -> None:
    outcome = _allocate(restored, where, "slab", 2500)
    assert outcome.stdout == f"{where}: Cannot allocate memory\n".encode()
    assert outcome.exit.faults_left == 0
    (note,) = [each for each in scan(outcome.log.encode()) if each.kind == "fault-injection"]
    assert "__x64_sys_eventfd2" in note.report
    assert "</TASK>" in note.report


def test_a_number_beyond_the_last_call_leaves_the_fault(restored: Restored) -> None:
    outcome = _allocate(restored, "self", "slab", 1_000_000)
    assert outcome.stdout == b""
    assert outcome.exit.faults_left == 1
    assert "FAULT_INJECTION" not in outcome.log


def test_a_page_that_fails_is_no_object(restored: Restored) -> None:
    outcome = _allocate(restored, "self", "page", 3)
    assert outcome.exit.faults_left == 0
    assert "name fail_page_alloc" in outcome.log
    assert "name failslab" not in outcome.log


def test_without_a_fault_nothing_is_counted(restored: Restored) -> None:
    assert restored(probe("allocate", "self")).exit.faults_left is None


def test_a_setting_that_there_is_not_is_named(restored: Restored) -> None:
    faults = Faults((("failslab/no-such-thing", "1"),), "failslab/times")
    outcome = restored(dataclasses.replace(probe("exit", "0"), faults=faults))
    assert outcome.not_started.detail == (
        "/sys/kernel/debug/failslab/no-such-thing: No such file or directory"
    )
