# SPDX-License-Identifier: GPL-2.0-only
"""What gdb is connected to where a recording is replayed: QEMU's gdbstub, and the way back.

gdb asks for it with two packets: ``bs`` (one step back) and ``bc`` (back to the previous breakpoint
or watchpoint).  Each is answered by new replays: one finds out at which instruction the last stop
before this one was, another goes there.  All else goes on to QEMU.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path

import msgspec
from qemu.qmp import QMPError

from harness.errors import MachineError
from harness.guest.replay import Replay, Tape
from harness.guest.stub import StubError, packet, receive

_MANY = 50
"""Stops that are gone through one by one; where there are more, half of the way is left out."""
_RESUMES = re.compile(rb"(?:[cs]|vCont;.*)$", re.DOTALL)
_POINT = re.compile(rb"([Zz])([0-4]),([0-9a-f]+),([0-9a-f]+)")
_WATCH = re.compile(rb"(?:r|a)?watch:[0-9a-f]+;")
_INTERRUPT = b"\x03"
_BEGIN, _END = b"T05replaylog:begin;", b"T05replaylog:end;"


class _Stop(msgspec.Struct, frozen=True):
    """Where a breakpoint or a watchpoint stops a replay."""

    count: int
    """Instructions before it; of a write, before the one that writes."""
    answer: bytes
    """What gdb is told."""
    place: bytes
    """The registers there, where the stop is before an instruction."""


class TimeTravel:
    """Serves one gdb on the connection *reader* and *writer*, from where *replay* stands."""

    def __init__(
        self, replay: Replay, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._replay = replay
        self._tape = replay.tape
        self._reader = reader
        self._writer = writer
        self._points: dict[bytes, None] = {}
        """Requests for the breakpoints and watchpoints that are set."""
        self.told = 0
        """What ``monitor icount`` has said last."""
        self._spares = Spares(replay.tape)
        self._asked: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(self) -> None:
        """Answer gdb until it leaves; then QEMU is gone.

        Raises :class:`MachineError` where QEMU fails.
        """
        listening = asyncio.create_task(self._listen())
        self._spares.expect(self._tape.begin(await self._replay.count() - 1))
        try:
            while request := await self._asked.get():
                if not await self._answer(request):
                    return
        except (StubError, QMPError, TimeoutError) as error:
            raise MachineError("the replay has failed under gdb", why=str(error)) from error
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await self._replay.close()
            await self._spares.close()

    async def _listen(self) -> None:
        with contextlib.suppress(StubError, OSError):
            while True:
                request = await receive(self._reader)
                if request != _INTERRUPT:
                    self._writer.write(b"+")
                await self._asked.put(request)
        await self._asked.put(b"")

    async def _answer(self, request: bytes) -> bool:
        """Answer *request*; False where it was the last."""
        stub = self._replay.stub
        if request == _INTERRUPT:
            return True  # too late: it stands
        if request in (b"k", b"D") or request.startswith((b"vKill", b"D;")):
            self._say(b"OK")
            return False
        if request == b"bs":
            self._say(await self._step_back())
        elif request == b"bc":
            self._say(await self._go_back())
        elif request == b"?":
            self._say(b"T05thread:01;")
        elif request.startswith(b"qRcmd,"):
            self._say(await self._command(bytes.fromhex(request[6:].decode())))
        elif _RESUMES.match(request):
            self._say(await self._go_on(request))
        elif request.startswith(b"qSupported"):
            # Processors are threads, and not processes: so answers look the same as ours.
            answer = await stub.ask(request.replace(b"multiprocess+;", b""))
            kept = [each for each in answer.split(b";") if not each.startswith(b"Reverse")]
            kept = [each for each in kept if not each.startswith(b"multiprocess")]
            self._say(b";".join([*kept, b"ReverseStep+", b"ReverseContinue+"]))
        else:
            answer = await stub.ask(request)
            if answer == b"OK" and (point := _POINT.match(request)):
                self._note(request, set_=point[1] == b"Z")
            self._say(answer)
        return True

    def _say(self, answer: bytes) -> None:
        self._writer.write(packet(answer))

    def _note(self, request: bytes, *, set_: bool) -> None:
        key = b"Z" + request[1:]
        if set_:
            self._points[key] = None
        else:
            self._points.pop(key, None)

    async def _command(self, command: bytes) -> bytes:
        """Answer ``monitor``: it says how many instructions the guest has executed."""
        if command.strip() != b"icount":
            return b""
        self.told = await self._replay.count() - self._tape.recording.start
        return f"{self.told}\n".encode().hex().encode()

    # Forward

    async def _go_on(self, request: bytes) -> bytes:
        """Go on until something stops the guest, gdb does, or the recording ends."""
        replay, end = self._replay, self._tape.recording.end
        if await replay.count() >= end:
            return _END
        if not self._tape.recording.halted:
            await replay.qemu.execute("replay-break", icount=end)
        replay.stub.send(request)
        answered = asyncio.create_task(replay.stub.answer(None))
        asked = asyncio.create_task(self._asked.get())
        try:
            while not answered.done():
                await asyncio.wait({answered, asked}, return_when=asyncio.FIRST_COMPLETED)
                if asked.done() and not answered.done():
                    # Between a request to go on and its answer gdb sends nothing else.
                    if asked.result() != _INTERRUPT:
                        self._asked.put_nowait(b"")
                    replay.stub.interrupt()
                    await answered
            answer = answered.result()
        finally:
            if not asked.done():
                asked.cancel()
            elif asked.result() not in (_INTERRUPT, b""):
                self._asked.put_nowait(asked.result())
        if not self._tape.recording.halted:
            with contextlib.suppress(QMPError):
                await replay.qemu.execute("replay-delete-break")
        return _END if await replay.count() >= end and not _is_point(answer) else answer

    # Back

    async def _step_back(self) -> bytes:
        count = await self._replay.count() - 1
        if count < self._tape.recording.start:
            return _BEGIN
        await self._jump(count)
        return b"T05thread:01;"

    async def _go_back(self) -> bytes:
        now = await self._replay.count()
        stop = await self._last_before(now) if self._points else None
        if stop is None:
            await self._jump(self._tape.recording.start)
            return _BEGIN
        await self._jump(stop.count)
        if stop.place and await self._replay.stub.ask(b"g") != stop.place:
            raise MachineError(
                "the replay does not come to a breakpoint where another one did",
                where=f"instruction {stop.count}",
                hint="record the test again",
            )
        return stop.answer

    async def _jump(self, count: int) -> None:
        old = self._replay
        self._replay = await self._at(count)
        await old.close()
        for point in self._points:
            await self._replay.stub.demand(point)

    async def _at(self, count: int) -> Replay:
        """Return a replay that stands at *count*."""
        begin = self._tape.begin(count)
        replay = await self._spares.take(begin)
        # What is asked next is there again, or just before.
        self._spares.expect(begin, self._tape.begin(begin - 1))
        try:
            await replay.go_to(count)
        except BaseException:
            await replay.close()
            raise
        return replay

    async def _last_before(self, now: int) -> _Stop | None:
        """Return the last stop before the instruction *now*."""
        while now > self._tape.recording.start:
            begin = self._tape.begin(now - 1)
            if stop := await self._last_stop(begin, now):
                return stop
            now = begin
        return None

    async def _last_stop(self, start: int, now: int) -> _Stop | None:
        """Return the last stop before the instruction *now*, and not before *start*."""
        # Where a count is reached behind a write, QEMU tells of the count alone.
        high = now + 1
        last: _Stop | None = None
        left_out: tuple[int, int] | None = None
        async with self._searching(start) as replay:
            while True:
                stops = await self._some_stops(replay, high)
                if before := [stop for stop in stops if stop.count < now]:
                    last, left_out = before[-1], None
                if len(stops) < _MANY:
                    break
                # On to the middle of what is left, without a stop.
                at = await replay.count()
                left_out = at, (at + high) // 2
                await self._skip(replay, left_out[1])
        if left_out is None:
            return last
        # Behind it there was none.
        return await self._last_stop(*left_out) or last

    @contextlib.asynccontextmanager
    async def _searching(self, count: int) -> AsyncIterator[Replay]:
        async with await self._at(count) as replay:
            for point in self._points:
                await replay.stub.demand(point)
            yield replay

    async def _skip(self, replay: Replay, count: int) -> None:
        for point in self._points:
            await replay.stub.demand(b"z" + point[1:])
        await replay.go_to(count)
        for point in self._points:
            await replay.stub.demand(point)

    async def _some_stops(self, replay: Replay, high: int) -> list[_Stop]:
        """Return the next stops up to *high*, at least :data:`_MANY` where there are so many."""
        found: list[_Stop] = []
        async with contextlib.aclosing(self._stops(replay, high)) as stops:
            async for stop in stops:
                found.append(stop)
                if len(found) >= _MANY:
                    break
        return found

    async def _stops(self, replay: Replay, high: int) -> AsyncGenerator[_Stop]:
        """Yield the stops from where *replay* stands to *high*, in their order."""
        await replay.qemu.execute("replay-break", icount=high)
        while await replay.count() < high:
            replay.stub.send(b"c")
            answer = await replay.stopped()
            if not _is_point(answer):
                return
            count = await replay.count()
            if _WATCH.search(answer):
                yield _Stop(count - 1, answer, b"")
                continue
            yield _Stop(count, answer, await replay.stub.ask(b"g"))
            if count < high:
                stepped = await replay.stub.ask(b"s")
                if _WATCH.search(stepped):
                    yield _Stop(await replay.count() - 1, stepped, b"")


class Spares:
    """Replays that stand where *tape* can be begun, made ahead of their use."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self._made: dict[int, asyncio.Task[Replay]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def take(self, begin: int) -> Replay:
        """Return a replay that stands at *begin*; raises MachineError."""
        made = self._made.pop(begin, None)
        return await (made or Replay.at(self._tape, begin))

    def expect(self, *begins: int) -> None:
        """Have a replay at each of *begins*, and nowhere else."""
        for begin in self._made.keys() - set(begins):
            ending = asyncio.create_task(_end(self._made.pop(begin)))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
        for begin in begins:
            if begin not in self._made:
                self._made[begin] = asyncio.create_task(Replay.at(self._tape, begin))

    async def close(self) -> None:
        """End all of them."""
        self.expect()
        while self._ending:
            await asyncio.gather(*self._ending, return_exceptions=True)


async def _end(made: asyncio.Task[Replay]) -> None:
    """End the replay that is *made*, or its making."""
    made.cancel()
    (left,) = await asyncio.gather(made, return_exceptions=True)
    if isinstance(left, Replay):
        await left.close()


def _is_point(answer: bytes) -> bool:
    """Return whether a breakpoint or a watchpoint has stopped the guest, and not its count."""
    return answer.startswith(b"T05")


async def serve_gdb(tape: Tape, socket: Path, ready: Callable[[], None] = lambda: None) -> int:
    """Wait for one gdb on the path *socket*, and answer it until it leaves.

    It begins at the end of the recording; *ready* is called when gdb can connect.  Returns what
    ``monitor icount`` has said last.  Raises :class:`MachineError` where QEMU fails.
    """
    # Before there is a connection: gdb waits two seconds for its first answer.
    replay = await Replay.at(tape, tape.recording.end)
    done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        travel = TimeTravel(replay, reader, writer)
        try:
            await travel.serve()
        except Exception as error:
            if not done.done():
                done.set_exception(error)
        else:
            if not done.done():
                done.set_result(travel.told)
        finally:
            writer.close()

    try:
        async with await asyncio.start_unix_server(connected, socket, limit=1 << 20):
            ready()
            return await done
    finally:
        await replay.close()
