# SPDX-License-Identifier: GPL-2.0-only
"""Measures what one test costs in a restored guest, in a booted one, and under virtme-run."""

from __future__ import annotations

import shlex
import shutil
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import MachineError
from harness.guest import snapshot
from harness.guest.snapshot import Snapshot
from harness.guest.vng import find_virtme, virtme_environment
from harness.model.events import Command, Event, Exit, Guest, Stdout
from harness.proc.process import run


@dataclass(frozen=True)
class Timing:
    """Wall-clock seconds of each round, everything included from start to reaped process."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def worst(self) -> float:
        return max(self.seconds)


@dataclass(frozen=True)
class Round:
    """One test in a restored guest: when what happened, in seconds since its beginning.

    Memory is QEMU's at the end of the test, in KiB: ``private_kib`` is its own alone,
    ``shared_kib`` it has in common with others (the snapshot's pages, programs, libraries).
    """

    monitor_s: float
    """QEMU is up, its devices are made, and its monitor answers."""
    running_s: float
    """The saved state is loaded, and the processors run."""
    first_s: float
    """The agent's first frame has come: the program was executed and has written something."""
    ended_s: float
    """The agent's last frame and the end of the kernel log have come."""
    gone_s: float
    """QEMU is reaped."""
    private_kib: int
    shared_kib: int


async def measure_restored(
    saved: Snapshot, argv: tuple[str, ...], rounds: int
) -> tuple[Round, ...]:
    """Restore, run *argv*, kill: *rounds* times, one after another.

    Raises :class:`MachineError` at the first round whose program does not exit with status 0.
    """
    return tuple([await _round(saved, argv, number) for number in range(rounds)])


async def _round(saved: Snapshot, argv: tuple[str, ...], number: int) -> Round:
    started = time.perf_counter()
    times: list[float] = []

    def mark() -> None:
        times.append(time.perf_counter() - started)

    command = Command(argv, 60.0, number.to_bytes(32, "little"), time.time_ns())
    async with await snapshot.restore(saved, mark) as guest:
        mark()
        end: Event | None = None
        async for event in guest.run(command):
            if isinstance(event, Stdout) and len(times) == 2:
                mark()
            end = event
        mark()
        if not isinstance(end, Exit) or end.status != 0 or len(times) != 4:
            raise MachineError("a restored guest did not do its work", why=str(end))
        private, shared = _memory_kib(guest.qemu.pid)
    mark()
    monitor, running, first, ended, gone = times
    return Round(monitor, running, first, ended, gone, private, shared)


async def measure_booted(start: Callable[[], Awaitable[Guest]], argv: tuple[str, ...]) -> float:
    """Start a guest, run *argv*, kill; return the seconds that it took.

    Raises :class:`MachineError` when the program does not exit with status 0.
    """
    started = time.perf_counter()
    command = Command(argv, 60.0, bytes(32), time.time_ns())
    async with await start() as guest:
        *_, end = [event async for event in guest.run(command)]
    if not isinstance(end, Exit) or end.status != 0:
        raise MachineError("a booted guest did not do its work", why=str(end))
    return time.perf_counter() - started


def _memory_kib(pid: int) -> tuple[int, int]:
    """Return private and shared resident memory of a process, by proc_pid_smaps(5)."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    fields = {line.split(":")[0]: line.split()[1] for line in text.splitlines()[1:]}
    private = int(fields["Private_Clean"]) + int(fields["Private_Dirty"])
    return private, int(fields["Rss"]) - private


def measure_virtme(
    kernel: Path, program: Path, arguments: Sequence[str], rounds: int, limit_s: float = 60.0
) -> Timing:
    """Boot *kernel* under virtme-run with TCG and run the static *program*, *rounds* times.

    virtme-run's exit status means several things, so the program's own status is written to a
    directory that the guest shares, and read there.  Raises :class:`MachineError` when virtme-run
    is not installed, or a round did not leave status 0 within *limit_s* seconds.
    """
    virtme = find_virtme()
    seconds = []
    with tempfile.TemporaryDirectory(prefix="harness-virtme-") as name:
        shared = Path(name)
        shutil.copy(program, shared / "program")
        words = shlex.join([str(shared / "program"), *arguments])
        status = shared / "status"
        script = shared / "script"
        script.write_text(f"{words} > {shared}/stdout\necho $? > {status}\n")
        options = ["--kimg", str(kernel), "--mods", "none", "--memory", "1G", "--cpus", "2"]
        options += ["--disable-kvm", "--force-9p", f"--rwdir={shared}", "--show-boot-console"]
        # A kernel without block devices mounts a root only if it has a name, less /dev/, and 9p's
        # name for it is /dev/root.
        options += ["--kopt", "root=/dev//dev/root"]
        command = [virtme, *options, "--verbose", "--script-sh", f"sh {script}"]
        for _ in range(rounds):
            status.unlink(missing_ok=True)
            started = time.perf_counter()
            console = _output(command, name, limit_s)
            seconds.append(time.perf_counter() - started)
            if not status.exists() or status.read_text() != "0\n":
                raise MachineError("virtme-run did not do its work", why=console[-2000:])
    return Timing(tuple(seconds))


def _output(command: Sequence[str], home: str, limit_s: float) -> str:
    """Run *command* and return its output; nothing of it is left running."""
    try:
        return run(command, env=virtme_environment(home), limit_s=limit_s).output
    except MachineError as error:
        return str(error)
