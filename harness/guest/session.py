# SPDX-License-Identifier: GPL-2.0-only
"""One run of one program in a running guest: merges what comes out of it, and judges its end."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import secrets
import sys
import termios
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

import msgspec
from qemu.qmp import QMPError

from harness.errors import MachineError
from harness.guest import ends, frames
from harness.guest.console import ConsoleLines
from harness.guest.ends import Closed, GivenUp
from harness.guest.order import order_of
from harness.guest.process import Exited, QemuProcess, Shutdown
from harness.guest.record import Recorder
from harness.guest.starved import TICK_S
from harness.model.events import (
    Command,
    Event,
    Heartbeat,
    How,
    KernelLog,
    Left,
    Stderr,
    Stdout,
)
from harness.proc.signals import LoopTimeout

_READ = 1 << 18
_QUEUE = 64
"""Events that may wait for the consumer; when it does not read, the guest has to wait."""
_POLL_S = 0.002
_IN_DOUBT_S = 1.25
"""A silence that is longer than from one heartbeat to the next."""
_MARK_LIMIT_S = 5.0
_AFTER_NMI_S = 12.0
"""A panic waits a second for processors that do not answer, and prints at the speed of TCG; it ends
with a reset, so that the rest of this time is not waited for."""
_RECORDED_FACTOR = 6.0
"""How many seconds one second of a recorded guest's clock takes at most."""
_SETTLE_S = 0.05
_DRAIN_LIMIT_S = 5.0
_MONITOR_LIMIT_S = 10.0
"""How long QEMU may take for an answer: milliseconds, but the host may be busy."""
_OVERTIME_S = 90.0
"""More than the agent's own limit on killing (60 s) before the host stops believing it."""


class _Mark(msgspec.Struct, frozen=True):
    """The agent's last line in the kernel log was seen."""


_Item = frames.Frame | KernelLog | _Mark | ends.End


class Session:
    """Runs *command* in the guest of *qemu*; :meth:`events` is its only use.

    A guest that stands still goes on with *let_go*, which is called when its command is there.  One
    that is recorded gets its command from *recorder*, and nothing else.

    The guest is useless after a :class:`GuestDied`, and after an abandoned generator.
    """

    def __init__(
        self,
        qemu: QemuProcess,
        command: Command,
        heartbeat_limit_s: float,
        *,
        let_go: Callable[[], None] | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self._qemu = qemu
        self._command = command
        self._heartbeat_limit_s = heartbeat_limit_s
        self._let_go = let_go
        self._recorder = recorder
        self._token = secrets.token_bytes(frames.TOKEN_SIZE)
        self._queue: asyncio.Queue[_Item] = asyncio.Queue(_QUEUE)
        self._lines = ConsoleLines()
        self._decoder = frames.Decoder()
        self._listening = False
        self._heard = False
        self._silent_s = 0.0
        self._time = qemu.time()
        self._open = {"agent", "console"}
        self._marked = False
        self._ending = False
        self.finished = False
        """Whether the final event was an orderly one, so that another run may follow."""

    async def events(self) -> AsyncGenerator[Event]:
        """Start the program and yield its events; exactly one, the last, is a Final."""
        run = frames.encode(order_of(self._command, self._token))
        if not self._recorder:
            self._qemu.agent_writer.write(run)
        tasks = [asyncio.create_task(work) for work in self._work()]
        try:
            if self._let_go:
                await self._wake(self._let_go)
            if self._recorder:
                await self._record(self._recorder, run)
            async for event in self._merge():
                yield event
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._time.close()

    async def _wake(self, let_go: Callable[[], None]) -> None:
        """Let a guest that stands still go on, as soon as QEMU has put the command into its port.

        So the command comes at the same instruction each time.
        """
        channel = self._qemu.agent_writer.get_extra_info("socket").fileno()
        left = bytearray(4)

        async def taken() -> None:
            await self._qemu.agent_writer.drain()
            while True:
                fcntl.ioctl(channel, termios.TIOCOUTQ, left)
                if not int.from_bytes(left, sys.byteorder):
                    return
                await asyncio.sleep(_POLL_S)
                # Its main loop asks the port for room only when there is something to do.
                await self._qemu.execute("query-status", _MONITOR_LIMIT_S)

        try:
            await self._qemu.patience(_MONITOR_LIMIT_S).wait(taken())
            let_go()
        except (TimeoutError, QMPError, OSError) as error:
            # What has become of a QEMU that is gone, its channels tell.
            if self._qemu.returncode is None:
                detail = f"QEMU does not take the command: {type(error).__name__}: {error}"
                await self._queue.put(GivenUp(How.QEMU_STUCK, detail))

    async def _record(self, recorder: Recorder, run: bytes) -> None:
        """Let a guest that stands still go on, which also keeps its time limit by its own clock."""
        limit = frames.encode(frames.TimeIsUp(round(self._command.timeout_s * 1e9)))
        try:
            await recorder.begin(self._qemu, run + limit)
        except (TimeoutError, QMPError, MachineError) as error:
            if self._qemu.returncode is None:
                detail = f"QEMU does not record: {type(error).__name__}: {error}"
                await self._queue.put(GivenUp(How.QEMU_STUCK, detail))

    def _work(self) -> list[Coroutine[Any, Any, None]]:
        return [self._read_agent(), self._read_console(), self._watch_death(), self._watch_clock()]

    # What fills the queue

    async def _read_agent(self) -> None:
        error = ""
        try:
            while True:
                self._listening = True
                data = await self._qemu.agent.read(_READ)
                self._listening = False
                if not data:
                    break
                for frame in self._decoder.feed(data):
                    if not self._heard:
                        # The limit begins here, amid a tick: what passed before is not part of it.
                        self._time.passed()
                    self._heard = True
                    self._silent_s = 0.0
                    await self._queue.put(frame)
        except (frames.FrameError, OSError) as e:
            error = str(e)
        self._listening = False
        await self._queue.put(Closed("agent", error))

    async def _read_console(self) -> None:
        mark = frames.end_line(self._token)
        with contextlib.suppress(OSError):
            while data := await self._qemu.console.read(_READ):
                lines, found = self._lines.feed(data, mark)
                if lines:
                    await self._queue.put(KernelLog(lines))
                if found:
                    await self._queue.put(_Mark())
        if rest := self._lines.rest():
            await self._queue.put(KernelLog(rest))
        await self._queue.put(Closed("console"))

    async def _watch_death(self) -> None:
        await self._queue.put(await self._qemu.death())

    async def _watch_clock(self) -> None:
        """Count the time in which the guest could run: up to its limit, and that of its silence.

        Time in which it gives no sign of life counts for the latter only.  So neither a suspended
        host, nor a stopped QEMU or harness makes a guest look hung or a test look slow.  Nor does a
        busy host.  While this side does not listen there is no silence.
        """
        left, overtime = self._command.timeout_s, self._command.grace_s + _OVERTIME_S
        told = False
        while True:
            in_doubt = self._silent_s >= _IN_DOUBT_S
            wait_s = TICK_S if told else max(left, 0.01)
            passed = await self._time.tick(wait_s, in_doubt=in_doubt)
            if self._ending:
                return
            self._silent_s = self._silent_s + passed if self._listening else 0.0
            if self._heard and not in_doubt:
                # Before its start, and while the guest gives no sign of life, it is unknown whether
                # the program could run.
                left -= passed
            if left <= 0 and not told:
                told = True
                if self._recorder:
                    # Its own clock is what counts, and may be slower.
                    left += (_RECORDED_FACTOR - 1) * self._command.timeout_s
                    continue
                self._tell(frames.TimeIsUp(round(self._command.timeout_s * 1e9)))
            if self._time.stuck:
                await self._queue.put(GivenUp(How.QEMU_STUCK, self._time.stuck))
                return
            limit_s = self._heartbeat_limit_s + self._time.recovery_s
            if self._silent_s >= limit_s:
                seconds = f"{limit_s:g} s"
                await self._queue.put(GivenUp(How.HANG, f"no heartbeat for {seconds}"))
                return
            if left <= -overtime and self._listening:
                limit = self._command.timeout_s + overtime
                detail = f"the agent answers, but the test did not end within {limit:g} s"
                await self._queue.put(GivenUp(How.PROTOCOL, detail))
                return

    def _tell(self, frame: frames.Frame) -> None:
        if not self._qemu.agent_writer.is_closing():
            self._qemu.agent_writer.write(frames.encode(frame))

    # What empties it

    async def _merge(self) -> AsyncGenerator[Event]:
        while True:
            match await self._queue.get():
                case frames.Output(data, stderr=stderr):
                    yield Stderr(data) if stderr else Stdout(data)
                case frames.Left(data):
                    yield Left(data)
                case frames.Beat(monotonic_ns):
                    yield Heartbeat(monotonic_ns / 1e9)
                case KernelLog() as log:
                    yield log
                case _Mark():
                    self._marked = True
                case frames.Ended(token=token) | frames.AgentError(token=token) as claim if (
                    token != self._token
                ):
                    async for event in self._finish_dead(ends.not_the_agents(claim)):
                        yield event
                    return
                case frames.Ended() | frames.AgentError() as last:
                    async for event in self._conclude(last):
                        yield event
                    return
                case Shutdown() | Exited() | Closed() | GivenUp() as end:
                    async for event in self._finish_dead(end):
                        yield event
                    return
                case frame:
                    detail = f"a {type(frame).__name__} frame during a run"
                    async for event in self._finish_dead(GivenUp(How.PROTOCOL, detail)):
                        yield event
                    return

    async def _conclude(self, last: frames.Ended | frames.AgentError) -> AsyncGenerator[Event]:
        """Wait for the end of the kernel log, then return how the test ended."""
        self._ending = True
        limit = self._qemu.patience(_MARK_LIMIT_S)
        end: ends.End | None = None
        while not self._marked:
            item = await self._next(limit)
            match item:
                case None:
                    break
                case KernelLog():
                    yield item
                case _Mark():
                    self._marked = True
                case Shutdown() | Exited() | Closed() | GivenUp():
                    end = item
                case _:
                    end = GivenUp(How.PROTOCOL, f"{type(item).__name__} frame after the end")
            if end is not None:
                break
        if isinstance(last, frames.AgentError) and (given_up := ends.of_error(last)):
            # The agent's report counts, also if it powers off after that.
            self._note_closed(end)
            end = given_up
        if end is not None:
            async for event in self._finish_dead(end):
                yield event
            return
        self.finished = True
        if self._recorder:
            await self._recorder.end(self._qemu, "")
        yield ends.final(last, self._time, log_complete=self._marked)

    async def _finish_dead(self, end: ends.End) -> AsyncGenerator[Event]:
        """Collect the rest of the guest's output, kill it, and return how it died."""
        self._note_closed(end)
        panicked = self._lines.panicked
        if isinstance(end, Closed):
            end = await self._reason_of(end)
        if isinstance(end, GivenUp) and end.how in ends.STUCK and not self._recorder:
            end = await ends.where_it_hangs(self._qemu, end, _MONITOR_LIMIT_S)
            if end.how in ends.STUCK:
                async for event in self._drain(_AFTER_NMI_S, until_shutdown=True):
                    yield event
        else:
            # What the serial port still holds when QEMU pauses needs a moment to get through.
            async for event in self._drain(_SETTLE_S):
                yield event
            panicked = self._lines.panicked
        errors = self._qemu.errors()
        if self._recorder:
            await self._recorder.end(self._qemu, ends.in_words(end))
        await self._qemu.kill()
        async for event in self._drain(_DRAIN_LIMIT_S):
            yield event
        if isinstance(end, Shutdown) and end.reason == ends.POWERED_OFF and self._lines.complaint:
            # The agent powered it off after a fatal error, not the test.
            end = GivenUp(How.AGENT_FAILED, self._lines.complaint)
        died = ends.died(
            end, panicked or (self._lines.panicked and isinstance(end, Shutdown)), errors
        )
        time = self._time
        yield msgspec.structs.replace(
            died, stood_still_s=time.stood_still_s, starved_s=time.starved_s
        )

    async def _drain(self, limit_s: float, until_shutdown: bool = False) -> AsyncGenerator[Event]:
        """Yield further events, until both channels are closed or *limit_s* seconds have passed."""
        limit = self._qemu.patience(limit_s)
        while self._open:
            match await self._next(limit):
                case None:
                    return
                case frames.Output(data, stderr=stderr):
                    yield Stderr(data) if stderr else Stdout(data)
                case KernelLog() as log:
                    yield log
                case Closed() as closed:
                    self._note_closed(closed)
                case Shutdown() if until_shutdown:
                    return
                case _:
                    pass

    def _note_closed(self, end: object) -> None:
        if isinstance(end, Closed):
            self._open.discard(end.name)

    async def _next(self, limit: LoopTimeout) -> _Item | None:
        try:
            return await limit.wait(self._queue.get())
        except TimeoutError:
            return None

    async def _reason_of(self, closed: Closed) -> Shutdown | Exited | GivenUp:
        """A channel closes first when QEMU dies; the reason follows."""
        if closed.error:
            return GivenUp(How.PROTOCOL, closed.error)
        try:
            return await self._qemu.patience(_DRAIN_LIMIT_S).wait(self._qemu.death())
        except TimeoutError:
            return GivenUp(How.QEMU_STUCK, f"QEMU closed the {closed.name} channel and runs on")
