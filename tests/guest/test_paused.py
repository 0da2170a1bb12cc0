# SPDX-License-Identifier: GPL-2.0-only
"""A guest that somebody has stopped: the time in which it could not run is not its own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from harness.guest import snapshot
from harness.guest.machine import BootFiles, GuestConfig
from harness.guest.qemu import QemuGuest
from harness.guest.snapshot import Snapshot
from harness.model.events import Accelerator, Command, Heartbeat, Stdout
from tests.guest.conftest import Outcome, probe

pytestmark = [pytest.mark.kernel, pytest.mark.long(100)]
HEARTBEAT_LIMIT_S = 4.0
"""That of the snapshot."""
STOP_S = 7.0
"""Longer than that, than the wait for the log's end, and than the time limits below."""


def children(pid: int) -> list[int]:
    """Return the QEMUs that *pid* has started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = dict(line.split(":\t", 1) for line in status.read_text().splitlines())
        except (OSError, ValueError):
            continue
        if lines["Name"].startswith("qemu") and int(lines["PPid"]) == pid:
            found.append(int(lines["Pid"]))
    return found


async def stop(pid: int, seconds: float) -> None:
    os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(seconds)
    os.kill(pid, signal.SIGCONT)


async def run_and_stop(
    guest: QemuGuest, command: Command, when: Callable[[object], bool], seconds: float
) -> Outcome:
    """Run *command*, and stop QEMU for *seconds* at the first event that *when* is true of."""
    outcome = Outcome([])
    stopped: asyncio.Task[None] | None = None
    async for event in guest.run(command):
        outcome.events.append(event)
        if stopped is None and when(event):
            stopped = asyncio.create_task(stop(guest.qemu.pid, seconds))
    assert stopped is not None
    await stopped
    return outcome


def restored(saved: Snapshot, work: Callable[[QemuGuest], Awaitable[Outcome]]) -> Outcome:
    async def main() -> Outcome:
        async with await snapshot.restore(saved) as guest:
            return await work(guest)

    return asyncio.run(main())


def beats(event: object) -> bool:
    return isinstance(event, Heartbeat)


def test_a_stopped_test_continues_to_its_end(guest_snapshot: Snapshot) -> None:
    """The stop is longer than both the limit of silence and that of the test."""
    command = probe("sleep", "3", timeout_s=6)
    outcome = restored(guest_snapshot, lambda guest: run_and_stop(guest, command, beats, STOP_S))
    end = outcome.exit
    assert (end.status, end.timed_out, end.log_complete) == (0, False, True)
    assert end.stood_still_s > STOP_S / 2


def test_the_limit_holds_all_the_same(guest_snapshot: Snapshot) -> None:
    command = probe("sleep", "600", timeout_s=4)
    started = time.monotonic()
    outcome = restored(guest_snapshot, lambda guest: run_and_stop(guest, command, beats, STOP_S))
    assert outcome.exit.timed_out
    assert time.monotonic() - started > STOP_S + 3


def test_a_guest_that_is_stopped_while_it_comes_to_rest(guest_snapshot: Snapshot) -> None:
    def speaks(event: object) -> bool:
        return isinstance(event, Stdout)

    command = probe("output")
    outcome = restored(guest_snapshot, lambda guest: run_and_stop(guest, command, speaks, STOP_S))
    assert (outcome.exit.status, outcome.exit.log_complete) == (0, True)
    assert outcome.exit.restless == ()


def test_a_guest_that_is_not_stopped_did_not_stand_still(guest_snapshot: Snapshot) -> None:
    async def work(guest: QemuGuest) -> Outcome:
        return Outcome([event async for event in guest.run(probe("sleep", "3", timeout_s=60))])

    assert restored(guest_snapshot, work).exit.stood_still_s < 1


def test_a_guest_that_is_stopped_while_it_is_restored(guest_snapshot: Snapshot) -> None:
    """For longer than any one command of the monitor may take."""

    async def main() -> Outcome:
        tasks = []

        def on_monitor() -> None:
            (pid,) = children(os.getpid())
            tasks.append(asyncio.create_task(stop(pid, 12)))

        async with await snapshot.restore(guest_snapshot, on_monitor) as guest:
            return Outcome([event async for event in guest.run(probe("exit", "0"))])

    assert asyncio.run(main()).exit.status == 0


def test_a_guest_that_is_stopped_while_it_boots(boot_files: BootFiles) -> None:
    """It has the whole limit for itself, and what it said of the stop is forgotten."""
    config = GuestConfig(boot_limit_s=60, heartbeat_limit_s=HEARTBEAT_LIMIT_S)

    async def main() -> None:
        async def stop_first() -> int:
            while not (found := children(os.getpid())):
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.3)
            await stop(found[0], STOP_S)
            return found[0]

        stopping = asyncio.create_task(stop_first())
        hasty = msgspec.structs.replace(config, boot_limit_s=STOP_S - 1)
        # On a busy machine a boot may take longer than the stop; it is the stop that counts.
        config_used = config if os.getloadavg()[0] > 2 * (os.cpu_count() or 1) else hasty
        async with await QemuGuest.boot(config_used, Accelerator.TCG, boot_files) as guest:
            assert await stopping != guest.qemu.pid

    asyncio.run(main())


RUNNER = """
import asyncio, sys, time
from pathlib import Path
from harness.guest import snapshot
from harness.model.events import Command

async def main():
    saved = snapshot.load(Path(sys.argv[1]))
    command = Command(("/bin/probe", "sleep", "3"), 6.0, bytes(32), time.time_ns())
    async with await snapshot.restore(saved) as guest:
        async for event in guest.run(command):
            print(event, flush=True)

asyncio.run(main())
"""


def said_around_a_stop(saved: Snapshot, who: str, beats: int) -> str:
    """Stop a harness after so many heartbeats, alone or with its QEMU; return its last line."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(saved.directory)], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        for _ in range(beats):
            # On a busy host the kernel may have something to say before.
            while "Heartbeat" not in (line := process.stdout.readline()):
                assert line.startswith("KernelLog("), line
        pids = [process.pid, *(children(process.pid) if who == "both" else [])]
        assert len(pids) == (2 if who == "both" else 1)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(25)
        for pid in reversed(pids):
            os.kill(pid, signal.SIGCONT)
        return process.communicate(timeout=120)[0].splitlines()[-1]


def test_a_harness_that_is_stopped(guest_snapshot: Snapshot) -> None:
    """After the first heartbeat nothing has been measured yet that the stop could be told from.

    All at once, as they do nothing but wait.
    """
    cases = [("both", 1), ("both", 2), ("harness", 2)]
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(said_around_a_stop, guest_snapshot, *case) for case in cases]
        lines = [each.result() for each in waiting]
    for (who, beats), last in zip(cases, lines, strict=True):
        assert last.startswith("Exit(status=0,"), (who, beats, last)
        assert "timed_out=False" in last, (who, beats, last)
        if beats > 1:
            assert ("stood_still_s=0.0" in last) == (who == "harness"), (who, beats, last)
