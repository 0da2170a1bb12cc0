# SPDX-License-Identifier: GPL-2.0-only
"""A kernel, an initramfs with the probe program, and a snapshot of both."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.guest import initramfs, snapshot
from harness.guest.agent import build_agent
from harness.guest.machine import BootFiles, GuestConfig
from harness.guest.qemu import QemuGuest
from harness.guest.snapshot import Snapshot
from harness.model.events import (
    Accelerator,
    Command,
    Event,
    Exit,
    GuestDied,
    KernelLog,
    NotStarted,
    Stderr,
    Stdout,
)

PROBE = Path(__file__).with_name("programs") / "probe.c"


@dataclass(frozen=True)
class Outcome:
    """All that came out of one run."""

    events: list[Event]

    @property
    def stdout(self) -> bytes:
        return b"".join(e.data for e in self.events if isinstance(e, Stdout))

    @property
    def stderr(self) -> bytes:
        return b"".join(e.data for e in self.events if isinstance(e, Stderr))

    @property
    def log(self) -> str:
        data = b"".join(e.data for e in self.events if isinstance(e, KernelLog))
        return data.decode(errors="replace")

    @property
    def exit(self) -> Exit:
        assert isinstance(self.events[-1], Exit), self.events[-1]
        return self.events[-1]

    @property
    def died(self) -> GuestDied:
        assert isinstance(self.events[-1], GuestDied), self.events[-1]
        return self.events[-1]

    @property
    def not_started(self) -> NotStarted:
        assert isinstance(self.events[-1], NotStarted), self.events[-1]
        return self.events[-1]


def probe(*argv: str, timeout_s: float = 20.0, seed: bytes = b"s" * 32) -> Command:
    """Return the command that runs the probe program with *argv*."""
    return Command(("/bin/probe", *argv), timeout_s, seed, time.time_ns())


async def run(guest: QemuGuest, command: Command) -> Outcome:
    """Run *command* in *guest*; check that there is one final event, and that it is the last."""
    outcome = Outcome([event async for event in guest.run(command)])
    finals = [e for e in outcome.events if isinstance(e, Exit | NotStarted | GuestDied)]
    assert finals == outcome.events[-1:]
    return outcome


@pytest.fixture(scope="session")
def boot_files(guest_kernel: Path, tmp_path_factory: pytest.TempPathFactory) -> BootFiles:
    """The kernel, and an initramfs with the agent and the probe program."""
    work = tmp_path_factory.mktemp("initramfs")
    program = work / "probe"
    flags = ["-static", "-O2", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["gcc", *flags, "-o", program, PROBE], check=True, timeout=60)
    files = [initramfs.file("bin/probe", program), initramfs.file("bin/text", b"no program")]
    entries = initramfs.guest_entries(build_agent(work / "agent"), files)
    initramfs.write_initramfs(work / "initramfs", entries)
    return BootFiles(guest_kernel, work / "initramfs")


@pytest.fixture(scope="session")
def guest_snapshot(boot_files: BootFiles, tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """A snapshot of the default guest under TCG, read back from its directory."""
    directory = tmp_path_factory.mktemp("snapshot")
    config = GuestConfig(heartbeat_limit_s=4.0)
    asyncio.run(snapshot.create(config, Accelerator.TCG, boot_files, directory))
    return snapshot.load(directory)


Restored = Callable[[Command], Outcome]


@pytest.fixture
def restored(guest_snapshot: Snapshot) -> Restored:
    """Runs a command in a guest of its own."""

    def run_one(command: Command) -> Outcome:
        async def work() -> Outcome:
            async with await snapshot.restore(guest_snapshot) as guest:
                return await run(guest, command)

        return asyncio.run(work())

    return run_one
