# SPDX-License-Identifier: GPL-2.0-only
"""Calls that fail on purpose, in restored guests: which one, whose, and what is said of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from harness.guest import snapshot
from harness.guest.machine import BootFiles, GuestConfig
from harness.klog import scan
from harness.lab.faults import parse_left, settings_of
from harness.model.events import Accelerator, Faults, Left
from harness.model.faults import Fault, Survivor
from tests.guest.conftest import Outcome, Restored, probe, run

pytestmark = [pytest.mark.kernel, pytest.mark.long(60)]


def _allocate(restored: Restored, where: str, sweep: str, nth: int) -> Outcome:
    fault = settings_of(Fault(test="", sweep=sweep, nth=nth))
    return restored(msgspec.structs.replace(probe("allocate", where), faults=fault))


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
    outcome = restored(msgspec.structs.replace(probe("exit", "0"), faults=faults))
    assert outcome.not_started.detail == (
        "/sys/kernel/debug/failslab/no-such-thing: No such file or directory"
    )


def _left_of(outcome: Outcome) -> tuple[Survivor, ...]:
    assert outcome.exit.status == 0
    left = parse_left(b"".join(each.data for each in outcome.events if isinstance(each, Left)))
    assert left is not None
    return left


def test_what_a_test_leaves_is_told_with_the_stacks_of_its_allocations(
    boot_files: BootFiles, tmp_path: Path
) -> None:
    """Objects remember their users where the kernel is told so, as with the fragment inject."""

    async def work() -> tuple[Outcome, ...]:
        config = GuestConfig(cmdline=("slub_debug=FZPU",))
        await snapshot.create(config, Accelerator.TCG, boot_files, tmp_path)
        outcomes = []
        for deed in (probe("exit", "0"), probe("leave"), probe("replace", "/bin/probe")):
            async with await snapshot.restore(snapshot.load(tmp_path)) as guest:
                outcomes.append(await run(guest, msgspec.structs.replace(deed, watch_left=True)))
        return tuple(outcomes)

    nothing, segment, file = (_left_of(outcome) for outcome in asyncio.run(work()))
    assert nothing == ()
    of_segment = [each for each in segment if "newseg+" in each.where]
    assert {"filp", "shmem_inode_cache"} <= {each.cache for each in of_segment}
    assert all(each.count == 1 for each in of_segment)
    # The file that it replaces was of the boot: no cache has grown.
    of_file = [each.cache for each in file if "do_filp_open+" in each.where]
    assert sorted(of_file) == ["dentry", "shmem_inode_cache"]


def test_a_kernel_that_does_not_know_whose_its_objects_are_says_nothing(restored: Restored) -> None:
    outcome = restored(msgspec.structs.replace(probe("leave"), watch_left=True))
    assert [each for each in outcome.events if isinstance(each, Left)] == []
