# SPDX-License-Identifier: GPL-2.0-only
"""Programs in restored guests: what they do, and what is said about it."""

from __future__ import annotations

import asyncio
import re
import subprocess
import time
from pathlib import Path

import msgspec
import pytest

from harness.errors import MachineError
from harness.guest import frames, snapshot
from harness.guest.machine import BootFiles, GuestConfig, MachineType
from harness.guest.qemu import QemuGuest
from harness.guest.snapshot import Snapshot
from harness.klog import scan
from harness.model.events import Accelerator, Heartbeat, How
from tests.guest.conftest import Outcome, Restored, probe, run

pytestmark = [pytest.mark.kernel, pytest.mark.long(60)]


def test_hello_names_the_kernel(guest_snapshot: Snapshot, guest_kernel: Path) -> None:
    hello = guest_snapshot.hello
    assert hello.sysname == "Linux"
    assert hello.machine == "x86_64"
    assert len(hello.build_id) == 20
    vmlinux = guest_kernel.parents[3] / "vmlinux"
    if vmlinux.exists():
        notes = subprocess.run(["readelf", "-n", vmlinux], capture_output=True, text=True)
        assert f"Build ID: {hello.build_id.hex()}" in notes.stdout


def test_the_boot_log_is_whole_and_without_marks(guest_snapshot: Snapshot) -> None:
    log = guest_snapshot.boot_log.decode()
    assert re.match(r"\[    0\.000000\](\[ *T0\])? Linux version ", log)
    assert "Run /init as init process" in log
    assert "harness-agent" not in log
    assert "\r" not in log


@pytest.mark.parametrize("status", [0, 1, 4, 255])
def test_exit_status(restored: Restored, status: int) -> None:
    end = restored(probe("exit", str(status))).exit
    assert (end.status, end.signal, end.timed_out) == (status, None, False)
    assert end.log_complete
    assert 0 < end.wall_s < 10
    assert 0 < end.utime_s + end.stime_s < 10
    assert 100 < end.maxrss_kib < 100_000


@pytest.mark.parametrize("signal", [6, 9, 11])
def test_signals(restored: Restored, signal: int) -> None:
    end = restored(probe("signal", str(signal))).exit
    assert (end.status, end.signal, end.timed_out) == (None, signal, False)


def test_output_is_kept_apart(restored: Restored) -> None:
    outcome = restored(probe("output"))
    assert outcome.stdout == b"to stdout\n"
    assert outcome.stderr == b"to stderr\n"


def test_the_program_gets_what_the_command_says(restored: Restored) -> None:
    command = msgspec.structs.replace(
        probe("describe", "", "two words", "\udcff"), cwd="/tmp", env=(("A", "1"), ("B", "x=y"))
    )
    lines = restored(command).stdout.split(b"\n")
    assert lines[:-1] == [
        b"cwd=/tmp",
        b"core=0",
        b"session=1",
        b"arg=",
        b"arg=two words",
        b"arg=\xff",
        b"env=A=1",
        b"env=B=x=y",
        b"stdin=0",
    ]


@pytest.mark.parametrize(
    ("argv", "cwd", "errno"),
    [("/bin/none", "/", 2), ("/bin/text", "/", 8), ("/bin/probe", "/x", 2)],
)
def test_what_does_not_start_is_not_run(
    restored: Restored, argv: str, cwd: str, errno: int
) -> None:
    end = restored(msgspec.structs.replace(probe(), argv=(argv,), cwd=cwd)).not_started
    assert end.errno == errno
    assert argv in end.detail


def test_files_are_written_before_the_program_starts(restored: Restored) -> None:
    name = "/proc/sys/kernel/core_pattern"
    outcome = restored(msgspec.structs.replace(probe("read", name), files=((name, "mine"),)))
    assert outcome.stdout == b"mine\n"


@pytest.mark.parametrize(("name", "errno"), [("/proc/none", 2), ("/proc/version", 13)])
def test_without_its_files_a_program_does_not_start(
    restored: Restored, name: str, errno: int
) -> None:
    end = restored(msgspec.structs.replace(probe("output"), files=((name, "1"),))).not_started
    assert name in end.detail
    assert end.errno in (errno, 5)


def test_the_limit_sends_term(restored: Restored) -> None:
    end = restored(probe("sleep", "60", timeout_s=0.5)).exit
    assert (end.status, end.signal, end.timed_out) == (None, 15, True)
    assert end.wall_s >= 0.5


def test_the_limit_holds_by_the_clock_of_the_guest(guest_snapshot: Snapshot) -> None:
    """The host says too early that it has passed, as after a suspension that it counts in part."""

    async def work() -> Outcome:
        async with await snapshot.restore(guest_snapshot) as guest:
            outcome = Outcome([])
            async for event in guest.run(probe("sleep", "60", timeout_s=60)):
                outcome.events.append(event)
                if len(outcome.events) == 1:
                    guest.qemu.agent_writer.write(frames.encode(frames.TimeIsUp(1_500_000_000)))
            return outcome

    end = asyncio.run(work()).exit
    assert (end.signal, end.timed_out) == (15, True)
    assert 1.5 <= end.wall_s < 20


def test_after_term_comes_kill(restored: Restored) -> None:
    outcome = restored(probe("ignore-term", timeout_s=3))
    assert outcome.stdout == b"ready\n"
    assert (outcome.exit.signal, outcome.exit.timed_out) == (9, True)
    assert outcome.exit.wall_s > 4.5
    assert any(isinstance(e, Heartbeat) for e in outcome.events)


def test_a_flood_arrives_whole_and_beside_it_heartbeats(restored: Restored) -> None:
    outcome = restored(probe("flood", "80", timeout_s=300))
    assert outcome.exit.status == 0
    assert len(outcome.stdout) == 80 << 20
    assert outcome.stdout.count(b"x") == 80 << 20
    beats = [e for e in outcome.events if isinstance(e, Heartbeat)]
    assert len(beats) >= int(outcome.exit.wall_s) // 2


def test_a_flood_does_not_outlast_its_limit(restored: Restored) -> None:
    end = restored(probe("flood", "100000", timeout_s=1)).exit
    assert end.timed_out
    assert end.wall_s < 20


def test_who_stays_behind_with_stdout_open_is_killed(restored: Restored) -> None:
    started = time.monotonic()
    outcome = restored(probe("background"))
    assert outcome.stdout == b"parent ends\n"
    assert outcome.exit.status == 0
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("seconds", ["0", "1"])
def test_who_was_started_by_the_kernel_is_killed_too(
    guest_snapshot: Snapshot, seconds: str
) -> None:
    """Also after a test in which PIDs may have been given a second time."""

    async def work() -> list[bytes]:
        async with await snapshot.restore(guest_snapshot) as guest:
            deeds = [("programs",), ("start-core-helper", seconds), ("programs",)]
            return [(await run(guest, probe(*deed))).stdout for deed in deeds]

    assert asyncio.run(work()) == [b"2\n", b"dumped=1\n", b"2\n"]


def test_the_kernel_comes_to_rest(restored: Restored) -> None:
    assert restored(probe("exit", "0")).exit.restless == ()


@pytest.mark.proof
def test_a_fork_bomb_is_cleared_away(restored: Restored) -> None:
    """In each run the fault ``fork_bomb_left_behind`` shows it."""
    assert restored(probe("fork-bomb", timeout_s=5)).exit.log_complete


def test_the_port_is_the_agents(restored: Restored) -> None:
    assert restored(probe("port")).stdout == b"Device or resource busy\n"


def test_init_survives_signals(restored: Restored) -> None:
    outcome = restored(probe("kill-init"))
    assert outcome.stdout == b"alive\n"
    assert outcome.exit.status == 0


def test_memory_runs_out_for_the_test_and_not_for_the_agent(restored: Restored) -> None:
    outcome = restored(probe("eat-memory", timeout_s=120))
    assert outcome.exit.signal == 9
    assert not outcome.exit.timed_out
    assert "Out of memory: Killed process" in outcome.log


def test_kernel_lines_come_before_the_end(restored: Restored) -> None:
    outcome = restored(probe("kmsg", "<7>a line of the test"))
    assert "a line of the test\n" in outcome.log
    assert "harness-agent" not in outcome.log


def test_a_kernel_warning_is_seen_though_the_test_passes(restored: Restored) -> None:
    outcome = restored(probe("lkdtm", "WARNING"))
    assert outcome.exit.status == 0
    assert "WARNING: CPU" in outcome.log
    assert "---[ end trace" in outcome.log


def test_a_silenced_console_is_not_taken_for_a_quiet_kernel(restored: Restored) -> None:
    assert not restored(probe("console-off")).exit.log_complete


def test_an_oops_leaves_the_guest_alive(restored: Restored) -> None:
    outcome = restored(probe("lkdtm", "EXCEPTION"))
    assert outcome.exit.signal == 9
    assert "BUG: kernel NULL pointer dereference" in outcome.log


@pytest.mark.parametrize("deed", [("lkdtm", "PANIC"), ("sysrq", "c")])
def test_a_panic(restored: Restored, deed: tuple[str, str]) -> None:
    outcome = restored(probe(*deed))
    assert outcome.died.how is How.PANIC
    assert "Kernel panic - not syncing" in outcome.log
    assert outcome.log.endswith("Kernel Offset: disabled\n")


def test_power_off_from_within(restored: Restored) -> None:
    assert restored(probe("power-off")).died.how is How.POWER_OFF


def test_reset_from_within(restored: Restored) -> None:
    assert restored(probe("reboot")).died.how is How.RESET


def test_a_hang_is_told_from_a_slow_test_and_shows_where(restored: Restored) -> None:
    outcome = restored(probe("lock-up", timeout_s=60))
    assert outcome.died.how is How.HANG
    assert "CPU 0 at 0x" in outcome.died.detail
    assert "CPU 1 at 0x" in outcome.died.detail
    for cpu in (0, 1):
        stack = outcome.log.partition(f"NMI backtrace for cpu {cpu}\n")[2]
        assert "RIP: 0010:lkdtm_HARDLOCKUP" in stack


def test_silence_is_no_hang_while_the_agent_lives(restored: Restored) -> None:
    """Twice as long as the limit on heartbeats, without any output."""
    assert restored(probe("sleep", "8", timeout_s=60)).exit.status == 0


def test_the_clock_is_set(restored: Restored) -> None:
    wanted = 2_000_000_000
    command = msgspec.structs.replace(probe("clock"), wall_clock_ns=wanted * 10**9)
    assert 0 <= float(restored(command).stdout) - wanted < 10


def test_restored_guests_differ_in_their_random_numbers(restored: Restored) -> None:
    numbers = [restored(probe("random", seed=seed * 32)).stdout for seed in (b"a", b"b")]
    assert all(len(number) == 65 for number in numbers)
    assert numbers[0] != numbers[1]


def test_kvm_works_inside(restored: Restored) -> None:
    assert restored(probe("kvm")).stdout == b"1\n"


def test_who_survives_sigkill_is_stuck_in_the_kernel(restored: Restored) -> None:
    """LKDTM's hung task sleeps uninterruptibly, for ever."""
    outcome = restored(probe("lkdtm", "HUNG_TASK", timeout_s=3))
    assert outcome.died.how is How.UNKILLABLE
    blocked = outcome.log.partition("sysrq: Show Blocked State")[2]
    assert "task:probe " in blocked
    assert "direct_entry" in blocked
    assert "NMI backtrace for cpu 1" in outcome.log


_GOOD = frames.encode(frames.Run(0, 0, bytes(32), bytes(16), b"/", (b"/bin/probe", b"output"), ()))
_IO = frames.HEADER.size + 8 * 2 + 32 + 16
_ARGC = _IO + 4 + 2 + 2 + 4 + 1


@pytest.mark.parametrize(
    "wire",
    [
        b"\0" + _GOOD[1:],
        _GOOD[:1] + b"\x2a" + _GOOD[2:],
        _GOOD[:2] + b"\x01" + _GOOD[3:],
        _GOOD[:4] + (frames.MAX_PAYLOAD + 1).to_bytes(4, "little"),
        frames.HEADER.pack(frames.VERSION, frames.FrameType.RUN, 0, 0),
        frames.HEADER.pack(frames.VERSION, frames.FrameType.RUN, 0, len(_GOOD) - 9) + _GOOD[8:-1],
        frames.HEADER.pack(frames.VERSION, frames.FrameType.RUN, 0, len(_GOOD) - 7)
        + _GOOD[8:]
        + b"x",
        _GOOD[:_IO] + b"\3" + _GOOD[_IO + 1 :],
        _GOOD[:_ARGC] + b"\xff\xff\xff\xff" + _GOOD[_ARGC + 4 :],
        _GOOD[: _ARGC + 4] + b"\xff\xff\xff\xff" + _GOOD[_ARGC + 8 :],
        _GOOD.replace(b"output", b"out\0ut"),
        frames.HEADER.pack(frames.VERSION, frames.FrameType.POWEROFF, 0, 1) + b"x",
        frames.encode(frames.Beat(0)),
    ],
)
def test_the_agent_gives_up_on_what_is_no_frame(guest_snapshot: Snapshot, wire: bytes) -> None:
    async def work() -> Outcome:
        async with await snapshot.restore(guest_snapshot) as guest:
            guest.qemu.agent_writer.write(wire)
            return await run(guest, probe("exit", "0"))

    died = asyncio.run(work()).died
    assert died.how is How.PROTOCOL
    assert "bad frame" in died.detail


def test_several_runs_in_one_guest(guest_snapshot: Snapshot) -> None:
    async def work() -> list[Outcome]:
        async with await snapshot.restore(guest_snapshot) as guest:
            outcomes = [await run(guest, probe("exit", str(n))) for n in range(12)]
            outcomes.append(await run(guest, probe("lkdtm", "PANIC")))
            with pytest.raises(MachineError, match="dead"):
                await run(guest, probe("exit", "0"))
            return outcomes

    *orderly, last = asyncio.run(work())
    assert [outcome.exit.status for outcome in orderly] == list(range(12))
    assert all(outcome.exit.log_complete for outcome in orderly)
    assert last.died.how is How.PANIC


def test_guests_in_parallel_do_not_meet(guest_snapshot: Snapshot) -> None:
    async def one(number: int) -> Outcome:
        async with await snapshot.restore(guest_snapshot) as guest:
            return await run(guest, probe("exit", str(number), timeout_s=60))

    async def work() -> list[Outcome]:
        return await asyncio.gather(*(one(number) for number in range(6)))

    assert [outcome.exit.status for outcome in asyncio.run(work())] == list(range(6))


@pytest.mark.parametrize("machine", MachineType)
def test_qemu_warns_of_nothing(boot_files: BootFiles, tmp_path: Path, machine: MachineType) -> None:
    """What is deprecated in this QEMU, as it says, will be refused by a later one."""

    async def work() -> str:
        config = GuestConfig(machine=machine)
        saved = await snapshot.create(config, Accelerator.TCG, boot_files, tmp_path)
        async with await snapshot.restore(saved) as guest:
            assert (await run(guest, probe("output"))).stdout == b"to stdout\n"
            return guest.qemu.errors()

    assert asyncio.run(work()) == ""


def test_a_guest_without_snapshot(boot_files: BootFiles) -> None:
    async def work() -> Outcome:
        async with await QemuGuest.boot(GuestConfig(), Accelerator.TCG, boot_files) as guest:
            return await run(guest, probe("output"))

    assert asyncio.run(work()).stdout == b"to stdout\n"


def test_an_archive_that_is_not_unpacked_to_its_end(boot_files: BootFiles, tmp_path: Path) -> None:
    damaged = tmp_path / "initramfs"
    damaged.write_bytes(boot_files.initramfs.read_bytes() + b"no archive" * 100)

    async def work() -> bytes:
        files = msgspec.structs.replace(boot_files, initramfs=damaged)
        async with await QemuGuest.boot(GuestConfig(), Accelerator.TCG, files) as guest:
            return guest.boot_log

    assert [finding.kind for finding in scan(asyncio.run(work()))] == ["initramfs"]
