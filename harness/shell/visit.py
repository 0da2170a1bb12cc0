# SPDX-License-Identifier: GPL-2.0-only
"""One shell session: boot a guest, run the failed test there, give the user a shell."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import msgspec

from harness import klog
from harness.errors import ExitCode, MachineError
from harness.guest.machine import BootFiles
from harness.guest.qemu import GuestNotBooted, QemuGuest, last_words
from harness.lab.templates import INITRAMFS, TemplateFactory
from harness.model.events import (
    Command,
    Exit,
    Final,
    Guest,
    GuestDied,
    How,
    KernelLog,
    NotStarted,
    Stderr,
    Stdout,
)
from harness.shell.choose import Place, Rerun
from harness.shell.terminal import Left, Terminal, attach

_LOG_KEPT = 1 << 18
_LOOK_S = 0.05
GDB = "harness-gdb-"
_SOCKET = 108
"""Bytes of a socket's path, including the zero at its end (unix(7))."""
_LINES = 40
"""Lines that are shown of a kernel report."""


class KernelLogTail:
    """Keeps the end of the kernel log, and writes all of it to *copy* if there is one."""

    def __init__(self, copy: BinaryIO | None = None) -> None:
        self._copy = copy
        self._kept = bytearray()

    def add(self, data: bytes) -> None:
        """Add the next bytes of the kernel log."""
        self._kept += data
        del self._kept[:-_LOG_KEPT]
        if self._copy:
            self._copy.write(data)
            self._copy.flush()

    @property
    def last_words(self) -> str:
        """The report of the first crash, or else the lines around a panic, or the last ones.

        A process stuck in a crashed kernel makes the host request a panic, which tells less.
        """
        kept = bytes(self._kept)
        crashes = [each for each in klog.scan(kept) if each.severity is klog.Severity.CRASH]
        if not crashes:
            return last_words(kept)
        lines = crashes[0].report.splitlines()
        more = [f"[... {len(lines) - _LINES} more lines]"] if len(lines) > _LINES else []
        return "\n".join(lines[:_LINES] + more)


def directory_for_socket() -> Path:
    """Return the directory for temporary files, or /tmp if a socket's path would be too long."""
    chosen = Path(tempfile.gettempdir()).absolute()
    return chosen if len(bytes(chosen / f"{GDB}12345678" / "gdb")) < _SOCKET else Path("/tmp")  # noqa: S108


class Screen(msgspec.Struct, frozen=True):
    """Where the output of a session goes; each function writes its argument at once."""

    say: Callable[[str], None]
    """Prints a line of the harness itself."""
    text: Callable[[str], None]
    """Prints the output of a test."""
    out: Callable[[bytes], None]
    """Writes the standard output of a command."""
    err: Callable[[bytes], None]


class Visit(msgspec.Struct, frozen=True):
    """One session in a guest of *place*: on *terminal*, or for one command *line*."""

    place: Place
    maker: TemplateFactory
    screen: Screen
    log: KernelLogTail
    environ: Mapping[str, str]
    terminal: Terminal | None = None
    line: str = ""
    gdb: bool = False

    async def make(self) -> ExitCode:
        """Run the session.

        Returns NOT_AS_EXPECTED if the guest did not boot or died under what ran in it, and
        if the command *line* ended with a status other than 0.  Raises MachineError if the
        machine failed.
        """
        files = self.place.files(self.maker)
        with self._socket() as socket:
            try:
                guest = await self._boot(files, socket)
            except GuestNotBooted as error:
                if not error.died.how.in_guest:
                    raise
                # A kernel with a bit flip on the disk does not boot either.
                booted = (
                    ("kernel", self.maker.kernel.key),
                    (INITRAMFS, files.initramfs.parent.name),
                )
                self.maker.context.store.check(booted)
                self.screen.say(f"{error.what}; {error.why}")
                return ExitCode.NOT_AS_EXPECTED
            async with guest:
                self.log.add(guest.boot_log)
                self.screen.say(self._arrival(guest))
                if self.place.rerun:
                    died = await self._again(guest, self.place.rerun)
                    if died:
                        return self._report_death(died)
                return await self._stay(guest)

    @contextlib.contextmanager
    def _socket(self) -> Iterator[str]:
        """Yield a path for gdb's socket that only this user can connect to."""
        if not self.gdb:
            yield ""
            return
        with tempfile.TemporaryDirectory(prefix=GDB, dir=directory_for_socket()) as directory:
            yield str(Path(directory) / "gdb")

    async def _boot(self, files: BootFiles, socket: str) -> QemuGuest:
        if not socket:
            with self.maker.context.step("Starting the guest") as step:
                # A command should be answered soon, and this happens often.
                if self.terminal is None:
                    starter = await self.maker.starter("the shell", self.place.guest, files)
                    guest = await starter()
                else:
                    guest = await self.maker.boot(self.place.guest, files)
                step.result(f"{guest.hello.release}, {guest.accelerator}")
                return guest
        telling = asyncio.create_task(self._tell_of_gdb(Path(socket)))
        try:
            return await self.maker.boot(self.place.guest, files, socket)
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)

    async def _tell_of_gdb(self, socket: Path) -> None:
        while not socket.exists():
            await asyncio.sleep(_LOOK_S)
        vmlinux = str(self.place.kernel.vmlinux)
        words = shlex.join(["gdb", vmlinux, "-ex", f"target remote {socket}"])
        self.screen.say(
            "The processors are stopped until gdb continues them. In another terminal:\n"
            f"  {words}\n"
            "and then, for instance, `hbreak start_kernel` and `continue`."
        )

    def _arrival(self, guest: QemuGuest) -> str:
        names = ", ".join(suite.name for suite in self.place.suites)
        lines = [
            f"Linux {guest.hello.release} of run {self.place.run}, "
            f"{self.place.guest.type} guest: {guest.config}, {guest.accelerator}",
            f"On the PATH: the programs of {names}" if names else "The run has no programs.",
        ]
        if self.terminal:
            lines.append("`dmesg` shows the kernel log. `exit` or Ctrl-] leaves.")
        return "\n".join(lines)

    async def _again(self, guest: Guest, rerun: Rerun) -> GuestDied | None:
        """Run the test; return None if the guest survives."""
        seed = "a new seed, because it has not run" if rerun.fresh else f"seed {rerun.seed}"
        self.screen.say(f"Running {rerun.test.name} with {seed}")
        decode = codecs.getincrementaldecoder("utf-8")("backslashreplace").decode
        started = time.monotonic()
        end = await self._hear(
            guest, rerun.command(), lambda data: self.screen.text(decode(data)), self.screen.err
        )
        if isinstance(end, GuestDied):
            return end
        seconds = time.monotonic() - started
        self.screen.say(
            f"{rerun.test.name} {ending(end)} after {seconds:.1f} s; the guest survived."
        )
        return None

    async def _stay(self, guest: Guest) -> ExitCode:
        if self.terminal is None:
            command = self.place.shell(self.environ, self.line)
            end = await self._hear(guest, command, self.screen.out, self.screen.err)
            if isinstance(end, GuestDied):
                return self._report_death(end)
            if isinstance(end, Exit) and end.status == 0:
                return ExitCode.AS_EXPECTED
            self.screen.say(f"the command {ending(end)}")
            return ExitCode.NOT_AS_EXPECTED
        command = self.place.shell(self.environ, window=self.terminal.window())
        try:
            end = await attach(guest, command, self.terminal, self.log.add)
        except Left:
            self.screen.say("\nleft; the guest was killed")
            return ExitCode.AS_EXPECTED
        if isinstance(end, GuestDied):
            # Usually the last line is incomplete.
            self.screen.say("")
            if end.how is How.POWER_OFF:
                self.screen.say("the guest was powered off")
                return ExitCode.AS_EXPECTED
            return self._report_death(end)
        if isinstance(end, NotStarted):
            raise MachineError("no shell in the guest", where=command.argv[0], why=end.detail)
        return ExitCode.AS_EXPECTED

    async def _hear(
        self,
        guest: Guest,
        command: Command,
        out: Callable[[bytes], None],
        err: Callable[[bytes], None],
    ) -> Final:
        async with contextlib.aclosing(guest.run(command)) as events:
            async for event in events:
                match event:
                    case Stdout(data):
                        out(data)
                    case Stderr(data):
                        err(data)
                    case KernelLog(data):
                        self.log.add(data)
                    case Exit() | NotStarted() | GuestDied() as end:
                        return end
                    case _:
                        pass
        raise AssertionError("a run without an end")  # excluded by Guest.run

    def _report_death(self, died: GuestDied) -> ExitCode:
        what = f"the guest died ({died.how}): {died.detail}"
        if not died.how.in_guest:
            raise MachineError(what, why=self.log.last_words)
        self.screen.say(f"{what}; the end of the kernel log:\n{self.log.last_words}")
        return ExitCode.NOT_AS_EXPECTED


def ending(end: Exit | NotStarted) -> str:
    """Return how a program ended, as text that follows its name."""
    if isinstance(end, NotStarted):
        return f"could not be started: {end.detail}"
    if end.timed_out:
        return "was killed at its time limit"
    if end.signal is not None:
        return f"was killed by signal {end.signal}"
    return f"ended with status {end.status}"
