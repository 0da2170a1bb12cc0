# SPDX-License-Identifier: GPL-2.0-only
"""Real guests that a busy host hardly lets run: what their kernels say of time is not believed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import klog, ktap
from harness.guest import snapshot
from harness.guest.snapshot import Snapshot
from harness.judge.witnesses import judge
from harness.lab.observe import ending_of
from harness.model.events import STARVED_S, Command, Exit, GuestDied
from harness.model.records import Ending
from harness.outcome import Outcome as Verdict
from tests.guest.conftest import Outcome, Restored, probe, run

pytestmark = [pytest.mark.kernel, pytest.mark.proof, pytest.mark.long(120)]
HOGS = 4
BOMB_S = 2.0
"""Of the guest's own time, of which it gets a twentieth at least."""


@contextlib.contextmanager
def others_first(pid: int) -> Iterator[None]:
    """Have all threads of *pid* share one processor with programs that come before them."""
    cpu = {min(os.sched_getaffinity(0))}
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), cpu)
        os.setpriority(os.PRIO_PROCESS, int(task.name), 19)
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(HOGS)]
    try:
        for hog in hogs:
            os.sched_setaffinity(hog.pid, cpu)
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def run_starved(saved: Snapshot, command: Command) -> Outcome:
    """Run *command* in a guest that others come before from its start to its end."""

    async def main() -> Outcome:
        async with await snapshot.restore(saved) as guest:
            with others_first(guest.qemu.pid):
                return await run(guest, command)

    return asyncio.run(main())


def test_a_stall_of_a_guest_that_was_not_let_run_is_no_splat(guest_snapshot: Snapshot) -> None:
    """Seen, with three to eight programs before it: 18.7 to 19.9 s lost of 20, and a stall."""
    outcome = run_starved(guest_snapshot, probe("fork-bomb", timeout_s=BOMB_S))
    final = outcome.events[-1]
    assert isinstance(final, Exit | GuestDied)
    findings = [each for each in klog.scan(outcome.log.encode()) if each.of_time]
    print(final, [each.title for each in findings])
    assert final.starved_s >= STARVED_S
    verdict, reason = judge(ending_of(final), ktap.Parser().close(), findings)
    assert verdict in (Verdict.TIMEOUT, Verdict.ERROR), reason


def test_a_lockup_of_a_guest_that_runs_counts(restored: Restored) -> None:
    outcome = restored(probe("lkdtm", "SOFTLOCKUP", timeout_s=40))
    final = outcome.events[-1]
    assert isinstance(final, Exit | GuestDied)
    findings = [each for each in klog.scan(outcome.log.encode()) if each.of_time]
    assert "soft-lockup" in {each.kind for each in findings}
    # As if the program had ended well; on a host that is too busy just now nothing is known.
    ending = Ending(how="exit", status=0, starved_s=final.starved_s)
    verdict, reason = judge(ending, ktap.Parser().close(), findings)
    expected = Verdict.SPLAT if final.starved_s < STARVED_S else Verdict.ERROR
    assert verdict is expected, reason
