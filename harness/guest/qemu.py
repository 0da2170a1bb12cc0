# SPDX-License-Identifier: GPL-2.0-only
"""A guest in QEMU.  By itself it is the sealed one: an initramfs, no network, nothing of the host.

:mod:`harness.guest.vng` makes one that has the host's files.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Self

import msgspec

from harness import klog
from harness.errors import MachineError
from harness.guest import frames
from harness.guest.capabilities import capabilities
from harness.guest.console import PANIC, ConsoleLines
from harness.guest.machine import BootFiles, Channels, GuestConfig, Memory, qemu_argv
from harness.guest.process import Exited, QemuProcess, Shutdown
from harness.guest.record import Recorder
from harness.guest.session import Session
from harness.guest.starved import GuestTime
from harness.model.events import (
    STARVED_S,
    STARVED_WITHIN_S,
    STOOD_STILL_S,
    Accelerator,
    Capabilities,
    Command,
    Event,
    Exit,
    GuestDied,
    Hello,
    How,
    Window,
)

_TAIL_LINES = 30
_BOOTS = 3
_SETTLE_S = 0.05


class GuestNotBooted(MachineError):
    """The guest died, or said nothing in time, before its user space was ready.

    Whether the kernel or the machine is to blame shows ``log``, the console's bytes so far.
    """

    def __init__(self, died: GuestDied, log: bytes, where: str) -> None:
        tail = last_words(log)
        super().__init__(
            f"the guest does not boot ({died.how}): {died.detail}",
            where=where,
            why=f"the end of its console:\n{tail}" if tail else "its console is empty",
        )
        self.died = died
        self.log = log


def last_words(log: bytes) -> str:
    """The lines around a panic, which may have long stacks after it; otherwise the last ones."""
    lines = log.decode(errors="replace").splitlines()
    for number, line in enumerate(lines):
        if PANIC.decode() in line:
            first = max(0, number - _TAIL_LINES // 3)
            return "\n".join(lines[first : first + _TAIL_LINES])
    return "\n".join(lines[-_TAIL_LINES:])


class QemuGuest:
    """A running guest, a :class:`harness.model.events.Guest`.

    Made by :meth:`boot`, or by :func:`harness.guest.snapshot.restore`.  ``boot_log`` is what the
    console said until user space was ready, ``hello`` what the agent said then.
    """

    def __init__(
        self,
        qemu: QemuProcess,
        config: GuestConfig,
        accelerator: Accelerator,
        hello: Hello,
        boot_log: bytes,
        let_go: Callable[[], None] | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.qemu = qemu
        self.config = config
        self.accelerator = accelerator
        self.hello = hello
        self.boot_log = boot_log
        self._let_go = let_go
        self._recorder = recorder
        self._alive = True

    @classmethod
    async def boot(
        cls,
        config: GuestConfig,
        accelerator: Accelerator,
        files: BootFiles,
        memory: Memory | None = None,
    ) -> Self:
        """Boot until the agent sends its hello.

        Raises :class:`GuestNotBooted` when it does not within ``config.boot_limit_s``, and
        :class:`MachineError` when QEMU does not start.
        """

        def argv(channels: Channels) -> list[str]:
            return qemu_argv(config, accelerator, channels, memory or Memory(), files)

        return await cls.start(argv, config, accelerator, str(files.kernel))

    @classmethod
    async def start(
        cls,
        argv: Callable[[Channels], list[str]],
        config: GuestConfig,
        accelerator: Accelerator,
        where: str,
    ) -> Self:
        """Start QEMU with what *argv* returns and wait for the agent, as :meth:`boot` does.

        A kernel whose machine stood still while it booted may say anything about that, so it is
        booted again; also one that was let run too little, and says that something took too long.
        """
        for _ in range(_BOOTS):
            qemu = await QemuProcess.start(argv)
            log = bytearray()
            time = qemu.time()
            try:
                hello = await _await_hello(qemu, config, time, log, where)
            except GuestNotBooted as error:
                await qemu.kill()
                if not _disturbed(time, bytes(log)) or error.died.how is How.QEMU_STUCK:
                    raise
            except BaseException:
                await qemu.kill()
                raise
            else:
                if not _disturbed(time, bytes(log)):
                    return cls(qemu, config, accelerator, hello, bytes(log))
                await qemu.kill()
            finally:
                await time.close()
        raise MachineError(
            f"a guest could not run while it booted, {_BOOTS} times in a row",
            where=where,
            why=f"{_disturbed(time, bytes(log))} the last time",
            hint="something stops QEMU or this machine as a whole (debugger, suspended laptop), "
            "or other programs need all its processors",
        )

    @property
    def capabilities(self) -> Capabilities:
        return capabilities(self.config, self.accelerator)

    @property
    def alive(self) -> bool:
        return self._alive and self.qemu.returncode is None

    async def run(self, command: Command) -> AsyncGenerator[Event]:
        """Run one program; see :class:`harness.model.events.Guest`."""
        if not self.alive:
            raise MachineError("the guest is dead, nothing can run in it")
        self._alive = False
        limit_s = self.config.heartbeat_limit_s
        recorder = self._recorder
        session = Session(self.qemu, command, limit_s, let_go=self._let_go, recorder=recorder)
        self._let_go = None
        try:
            async with contextlib.aclosing(session.events()) as events:
                async for event in events:
                    # The recording of one ends with its test.
                    self._alive = session.finished and recorder is None
                    yield _by_own_clock(event) if self.config.counted else event
        finally:
            if not session.finished:
                await self.kill()

    async def read_rest_of_boot(self) -> None:
        """Add to the boot log what the console has said since the hello, of a guest that is saved.

        It stands still then: what it said later would be lost.
        """
        lines = ConsoleLines()
        with contextlib.suppress(TimeoutError):
            while data := await asyncio.wait_for(self.qemu.console.read(1 << 16), _SETTLE_S):
                text, _ = lines.feed(data, frames.READY_LINE)
                self.boot_log += text
        self.boot_log += lines.rest()

    def feed(self, data: bytes) -> None:
        """Type on the terminal of the command that runs."""
        for start in range(0, len(data), frames.MAX_INPUT):
            self._tell(frames.Input(data[start : start + frames.MAX_INPUT]))

    def resize(self, window: Window) -> None:
        """Change the size of that terminal."""
        self._tell(frames.Resize(window.rows, window.columns))

    def _tell(self, frame: frames.Frame) -> None:
        if not self.qemu.agent_writer.is_closing():
            self.qemu.agent_writer.write(frames.encode(frame))

    async def kill(self) -> None:
        """Kill the guest; QEMU is reaped and its channels are closed when this returns."""
        self._alive = False
        await self.qemu.kill()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.kill()


def _by_own_clock(event: Event) -> Event:
    """Return *event* of a guest whose clock stands still whenever it cannot run."""
    if isinstance(event, Exit | GuestDied):
        return msgspec.structs.replace(event, stood_still_s=0.0, starved_s=0.0)
    return event


def _disturbed(time: GuestTime, log: bytes) -> str:
    """Return why nothing follows from a boot with this *log*; empty where something does."""
    if time.stood_still_s >= STOOD_STILL_S:
        return f"QEMU did not run for {time.stood_still_s:.0f} s"
    if time.starved_s >= STARVED_S and any(finding.of_time for finding in klog.scan(log)):
        return f"QEMU waited for the host for {time.starved_s:.0f} of {STARVED_WITHIN_S:.0f} s"
    return ""


async def _await_hello(
    qemu: QemuProcess, config: GuestConfig, time: GuestTime, log: bytearray, where: str
) -> Hello:
    """Read console and agent until both say that user space is ready."""
    lines = ConsoleLines()
    ready = asyncio.create_task(_read_console(qemu, lines, log))
    hello = asyncio.create_task(_read_hello(qemu))
    death = asyncio.create_task(qemu.death())
    limit = asyncio.create_task(_boot_limit(time, config.boot_limit_s))
    tasks = (ready, hello, death, limit)
    try:
        while not (ready.done() and hello.done()):
            waiting = [task for task in tasks if not task.done()]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if hello.done() and hello.exception() is not None:
                raise GuestNotBooted(
                    GuestDied(How.PROTOCOL, str(hello.exception())), bytes(log), where
                )
            if ready.done() and hello.done():
                break
            if death.done():
                await asyncio.wait({ready}, timeout=0.2)
                died = _boot_death(death.result(), lines, qemu.errors())
                raise GuestNotBooted(died, bytes(log + lines.rest()), where)
            if limit.done():
                died = limit.result()
                if lines.panicked:
                    died = GuestDied(How.PANIC, died.detail)
                raise GuestNotBooted(died, bytes(log + lines.rest()), where)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return hello.result()


async def _boot_limit(time: GuestTime, limit_s: float) -> GuestDied:
    """Return how the guest died when it could run for *limit_s* seconds, or runs no more."""
    left = limit_s
    while left > 0:
        left -= await time.tick(left, in_doubt=True)
        if time.stuck:
            return GuestDied(How.QEMU_STUCK, time.stuck)
        if time.stood_still_s >= STOOD_STILL_S and not time.mute_s:
            return GuestDied(How.NOT_BOOTED, "it was stopped while it booted")
    return GuestDied(How.NOT_BOOTED, f"no hello within {limit_s:g} s")


def _boot_death(end: Shutdown | Exited, lines: ConsoleLines, errors: str) -> GuestDied:
    if lines.panicked:
        return GuestDied(How.PANIC, "the kernel panicked")
    if isinstance(end, Exited):
        return GuestDied(How.QEMU_DIED, f"QEMU ended with {end.code}: {errors}")
    return GuestDied(How.RESET, f"QEMU says {end.reason}")


async def _read_console(qemu: QemuProcess, lines: ConsoleLines, log: bytearray) -> None:
    while data := await qemu.console.read(1 << 16):
        text, found = lines.feed(data, frames.READY_LINE)
        log += text
        if found:
            return


async def _read_hello(qemu: QemuProcess) -> Hello:
    decoder = frames.Decoder()
    while data := await qemu.agent.read(1 << 16):
        for frame in decoder.feed(data):
            if isinstance(frame, Hello) and not decoder.pending:
                return frame
            text = f": {frame.text}" if isinstance(frame, frames.AgentError) else ""
            raise frames.FrameError(f"{type(frame).__name__} frame instead of hello{text}")
    # QEMU has gone; its end says more than the end of this channel.
    never: asyncio.Future[Hello] = asyncio.get_running_loop().create_future()
    return await never
