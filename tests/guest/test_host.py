# SPDX-License-Identifier: GPL-2.0-only
"""What happens on the host when something goes wrong there: processes, snapshots, accelerators."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from harness.errors import MachineError
from harness.guest import accel, snapshot, starved
from harness.guest.accel import Probe, ProbeCache, Wanted
from harness.guest.host import read_host
from harness.guest.machine import BootFiles, GuestConfig, MachineType
from harness.guest.qemu import GuestNotBooted, QemuGuest
from harness.guest.snapshot import Snapshot
from harness.model.events import Accelerator, Event, GuestDied, How, Stdout
from harness.progress import Quiet
from tests.guest.conftest import Outcome, probe, run

pytestmark = [pytest.mark.kernel, pytest.mark.long(50)]


def qemus() -> set[int]:
    """Return the QEMU processes of this user's machine, without zombies."""
    found = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            name, state = (entry / "stat").read_text().rpartition(")")[::2]
        except OSError:
            continue
        if "(qemu-system" in name and state.split()[0] != "Z":
            found.add(int(entry.name))
    return found


def children_of(pid: int) -> set[int]:
    """Return the QEMU processes among *pid*'s children."""
    found = set()
    for qemu in qemus():
        try:
            text = Path(f"/proc/{qemu}/stat").read_text()
        except OSError:
            continue
        if int(text.rpartition(")")[2].split()[1]) == pid:
            found.add(qemu)
    return found


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def copied(guest_snapshot: Snapshot, tmp_path: Path) -> Path:
    """A copy of the snapshot that a test may damage; times kept, holes kept."""
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", "--sparse=always", guest_snapshot.directory, copy], check=True)
    return copy


HARNESS = """
import asyncio, sys, time
from pathlib import Path
from harness.guest import accel, snapshot
from tests.guest.conftest import probe

async def work() -> None:
    async with await snapshot.restore(snapshot.load(Path(sys.argv[1]))) as guest:
        async for event in guest.run(probe("ignore-term", timeout_s=600)):
            print(type(event).__name__, flush=True)

asyncio.run(work())
"""


def test_no_qemu_outlives_a_killed_harness(guest_snapshot: Snapshot) -> None:
    command = [sys.executable, "-c", HARNESS, str(guest_snapshot.directory)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}
    ) as harness:
        assert harness.stdout is not None
        # Heartbeats may come before it.
        assert b"Stdout\n" in iter(harness.stdout.readline, b"")
        mine = children_of(harness.pid)
        assert len(mine) == 1
        harness.kill()
        harness.wait(10)
        # It takes 20 ms; a busy host gets more.
        limit = time.monotonic() + 5
        while mine & qemus() and time.monotonic() < limit:
            time.sleep(0.02)
        assert not mine & qemus()


def test_nothing_is_left_behind(guest_snapshot: Snapshot) -> None:
    async def work() -> None:
        async with await snapshot.restore(guest_snapshot) as guest:
            await run(guest, probe("exit", "0"))
        async with await snapshot.restore(guest_snapshot) as guest:
            await run(guest, probe("lkdtm", "PANIC"))
        async with await snapshot.restore(guest_snapshot):
            pass

    asyncio.run(work())
    # What tests before this one have left to the collector shall not go in between.
    gc.collect()
    files = open_files()
    for _ in range(3):
        asyncio.run(work())
    assert open_files() == files
    assert not children_of(os.getpid())
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_an_abandoned_run_kills_the_guest(guest_snapshot: Snapshot) -> None:
    async def work() -> None:
        async with await snapshot.restore(guest_snapshot) as guest:
            events = guest.run(probe("ignore-term", timeout_s=600))
            async for event in events:
                if isinstance(event, Stdout):
                    break
            await events.aclose()
            assert not guest.alive
            assert not children_of(os.getpid())

    asyncio.run(work())


def test_a_restore_may_be_cancelled_at_any_moment(guest_snapshot: Snapshot) -> None:
    """Also while QEMU's monitor is being connected, which is what takes the first milliseconds."""

    async def cancelled(after_s: float) -> None:
        restoring = asyncio.ensure_future(snapshot.restore(guest_snapshot))
        await asyncio.sleep(after_s)
        if restoring.done():
            await (await restoring).kill()
            return
        restoring.cancel()
        with pytest.raises(asyncio.CancelledError):
            await restoring

    async def go() -> None:
        for step in range(60):
            await cancelled(step * 0.002)

    asyncio.run(go())


def test_a_guest_may_be_killed_twice_at_once(guest_snapshot: Snapshot) -> None:
    """An interrupted run does so: its session kills the guest, and so does whoever has it."""

    async def work() -> None:
        guest = await snapshot.restore(guest_snapshot)
        await asyncio.gather(guest.kill(), guest.kill(), guest.kill())

    asyncio.run(work())


def test_a_cancelled_run_kills_the_guest(guest_snapshot: Snapshot) -> None:
    async def work() -> None:
        async with await snapshot.restore(guest_snapshot) as guest, asyncio.timeout(1):
            await run(guest, probe("ignore-term", timeout_s=600))

    with pytest.raises(TimeoutError):
        asyncio.run(work())
    assert not children_of(os.getpid())


def _run_and(guest_snapshot: Snapshot, signal_number: int) -> Outcome:
    """Send QEMU a signal as soon as the test in it has said something."""

    async def work() -> Outcome:
        async with await snapshot.restore(guest_snapshot) as guest:
            events = []
            async for event in guest.run(probe("ignore-term", timeout_s=600)):
                events.append(event)
                if isinstance(event, Stdout):
                    (pid,) = children_of(os.getpid())
                    os.kill(pid, signal_number)
            return Outcome(events)

    return asyncio.run(work())


def test_a_killed_qemu_is_not_the_kernels_fault(guest_snapshot: Snapshot) -> None:
    died = _run_and(guest_snapshot, signal.SIGKILL).died
    assert died.how is How.QEMU_DIED
    assert not died.how.in_guest
    assert "signal 9" in died.detail


def test_a_stopped_qemu_is_not_a_hung_kernel(
    guest_snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Longer than the limit on heartbeats. The real limit of a minute would only be waited for.
    monkeypatch.setattr(starved, "MUTE_LIMIT_S", 2 * guest_snapshot.config.heartbeat_limit_s)
    died = _run_and(guest_snapshot, signal.SIGSTOP).died
    assert died.how is How.QEMU_STUCK
    assert not died.how.in_guest


def test_a_slow_consumer_is_not_a_hung_kernel(guest_snapshot: Snapshot) -> None:
    async def work() -> Outcome:
        async with await snapshot.restore(guest_snapshot) as guest:
            events: list[Event] = []
            async for event in guest.run(probe("flood", "20", timeout_s=600)):
                if len(events) == 3:
                    await asyncio.sleep(2 * guest.config.heartbeat_limit_s)
                events.append(event)
            return Outcome(events)

    outcome = asyncio.run(work())
    assert outcome.exit.status == 0
    assert len(outcome.stdout) == 20 << 20


def test_a_moved_snapshot_works(guest_snapshot: Snapshot, copied: Path, tmp_path: Path) -> None:
    moved = copied.rename(tmp_path / "moved, and renamed")
    os.utime(moved / "ram0")

    async def work() -> Outcome:
        async with await snapshot.restore(snapshot.load(moved)) as guest:
            return await run(guest, probe("output"))

    assert asyncio.run(work()).stdout == b"to stdout\n"
    assert snapshot.load(moved) == msgspec.structs.replace(guest_snapshot, directory=moved)


def test_restoring_does_not_change_the_snapshot(guest_snapshot: Snapshot, copied: Path) -> None:
    loaded = snapshot.load(copied)

    async def work() -> None:
        async with await snapshot.restore(loaded) as guest:
            await run(guest, probe("flood", "5"))

    asyncio.run(work())
    snapshot.verify(loaded)
    assert (copied / "ram0").stat().st_mtime_ns == guest_snapshot.ram[0].mtime_ns


def _flip(path: Path, at: int) -> None:
    with path.open("r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 0x40]))


@pytest.mark.parametrize("name", ["ram0", "state"])
def test_a_flipped_bit_is_noticed(copied: Path, name: str) -> None:
    snapshot.load(copied)
    _flip(copied / name, (copied / name).stat().st_size // 2)
    with pytest.raises(MachineError, match="damaged"):
        snapshot.load(copied)


def test_a_cut_memory_is_noticed(copied: Path) -> None:
    os.truncate(copied / "ram0", 1 << 20)
    with pytest.raises(MachineError, match="damaged"):
        snapshot.load(copied)


@pytest.mark.parametrize("text", ["", "{}", '{"format": 0}', '{"format": 1}'])
def test_a_strange_description_is_a_machine_error(copied: Path, text: str) -> None:
    (copied / "machine.json").write_text(text)
    with pytest.raises(MachineError, match="cannot be read"):
        snapshot.load(copied)


def test_a_missing_file_is_a_machine_error(copied: Path) -> None:
    (copied / "state").unlink()
    with pytest.raises(MachineError, match="cannot be read"):
        snapshot.load(copied)


def test_a_state_that_qemu_refuses_is_a_machine_error(copied: Path) -> None:
    loaded = snapshot.load(copied)
    (copied / "state").write_bytes(b"QEVM" + bytes(100))

    async def work() -> None:
        await snapshot.restore(loaded)

    with pytest.raises(MachineError, match="restore"):
        asyncio.run(work())
    assert not children_of(os.getpid())


def test_another_qemu_is_a_machine_error(guest_snapshot: Snapshot) -> None:
    async def work() -> None:
        await snapshot.restore(msgspec.structs.replace(guest_snapshot, qemu_version="1.0"))

    with pytest.raises(MachineError, match="another QEMU"):
        asyncio.run(work())
    assert not children_of(os.getpid())


async def _boot(config: GuestConfig, files: BootFiles) -> None:
    async with await QemuGuest.boot(config, Accelerator.TCG, files):
        pass


def test_a_kernel_without_init_is_told_with_its_last_lines(
    boot_files: BootFiles, tmp_path: Path
) -> None:
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(GuestNotBooted) as error:
        asyncio.run(_boot(GuestConfig(), BootFiles(boot_files.kernel, tmp_path / "empty")))
    assert error.value.died.how is How.PANIC
    # A kernel with block devices looks for a root on one of them first, and says that instead.
    panic = "Kernel panic - not syncing: (No working init found|VFS: Unable to mount root fs)"
    assert re.search(panic, error.value.why)


def test_a_kernel_that_says_nothing_meets_the_limit(boot_files: BootFiles, tmp_path: Path) -> None:
    config = GuestConfig(cmdline=("rdinit=/bin/probe", "--", "ignore-term"), boot_limit_s=6)
    with pytest.raises(GuestNotBooted) as error:
        asyncio.run(_boot(config, boot_files))
    assert error.value.died == GuestDied(How.NOT_BOOTED, "no hello within 6 s")
    assert b"Linux version" in error.value.log


def test_a_file_that_is_no_kernel_is_a_machine_error(boot_files: BootFiles, tmp_path: Path) -> None:
    (tmp_path / "bzImage").write_bytes(b"no kernel")
    with pytest.raises(MachineError, match="not start") as error:
        asyncio.run(_boot(GuestConfig(), BootFiles(tmp_path / "bzImage", boot_files.initramfs)))
    assert "kernel" in error.value.why


@pytest.mark.parametrize("machine", [MachineType.MICROVM, MachineType.PC])
def test_other_machines(boot_files: BootFiles, tmp_path: Path, machine: MachineType) -> None:
    async def work() -> Outcome:
        config = GuestConfig(machine=machine)
        made = await snapshot.create(config, Accelerator.TCG, boot_files, tmp_path)
        async with await snapshot.restore(made) as guest:
            return await run(guest, probe("output"))

    assert asyncio.run(work()).stdout == b"to stdout\n"


def test_auto_gives_an_accelerator_that_works_and_kvm_gives_kvm_or_says_why(
    boot_files: BootFiles, tmp_path: Path
) -> None:
    memory = ProbeCache(tmp_path, read_host())

    def find(wanted: Wanted) -> Probe:
        return asyncio.run(accel.find(GuestConfig(), boot_files, wanted, memory, Quiet()))

    found = find(Wanted.AUTO)
    assert found.why
    assert find(Wanted.AUTO).why == found.why
    if found.accelerator is Accelerator.KVM:
        assert find(Wanted.KVM).accelerator is Accelerator.KVM
    else:
        with pytest.raises(MachineError) as error:
            find(Wanted.KVM)
        assert error.value.why
    assert not children_of(os.getpid())


def test_qemu_is_there() -> None:
    """Otherwise everything above would have failed for another reason."""
    assert shutil.which(GuestConfig().qemu)
