# SPDX-License-Identifier: GPL-2.0-only
"""A recording played again: to its end, or to the instruction that is asked for.

Each replay is a QEMU of its own that begins where the recording began, or at a checkpoint within.
QEMU's own way back (reverse-stepi, replay_seek) hangs on release 7.2, so going back is a new replay
that ends earlier.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from qemu.qmp import QMPError

from harness.errors import MachineError
from harness.foreign import of_os
from harness.guest import checkpoints, record, snapshot
from harness.guest.checkpoints import Checkpoint, NotHere
from harness.guest.process import QemuProcess
from harness.guest.record import Recording, icount
from harness.guest.snapshot import OtherQemu, Snapshot
from harness.guest.stub import Stub, StubError

_TRIES = 20
_FURTHER = 1009
"""In so many instructions later, at most so often, there may be a place for a checkpoint."""
_STUCK_S = 30.0
"""A replay that executes nothing for so long, in time in which QEMU can run, never goes on."""


class Tape(msgspec.Struct, frozen=True):
    """A recording on disk, with the guest that it begins with."""

    directory: Path
    recording: Recording
    guest: Snapshot
    letter: bytes
    checkpoints: tuple[Checkpoint, ...] = ()
    """Where a replay can begin beside the start, in order."""

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read the recording in *directory*; raises :class:`MachineError` where it is damaged."""
        recording = record.load(directory)
        record.check(directory, recording)
        kept = directory / record.GUEST
        # A run that was cut off has kept none.
        cached = Path(recording.about.get("snapshot", kept))
        try:
            guest = snapshot.load(kept if kept.exists() else cached)
        except MachineError as error:
            raise MachineError(
                "the guest of the recording cannot be read",
                where=error.where,
                why=f"{error.what}: {error.why}",
                hint="record the test again",
            ) from error
        try:
            letter = (directory / record.LETTER).read_bytes()
        except OSError as error:
            raise MachineError(
                "the recording cannot be read", where=str(directory), why=str(error)
            ) from error
        return cls(directory, recording, guest, letter)

    def begin(self, count: int) -> int:
        """Return the last count at which a replay can begin that is to come to *count*."""
        found = self.checkpoint(count)
        return found.count if found else self.recording.start

    def checkpoint(self, count: int) -> Checkpoint | None:
        """Return the last checkpoint before *count*, or there; None where that is the start."""
        before = bisect.bisect_right(self.checkpoints, count, key=lambda each: each.count)
        return self.checkpoints[before - 1] if before else None


class Replay:
    """A replay that stands still where :meth:`at` has let it go; a context that ends QEMU."""

    def __init__(
        self, tape: Tape, scratch: Path, qemu: QemuProcess, stub: Stub, own: Snapshot | None
    ) -> None:
        self.tape = tape
        self.qemu = qemu
        self.stub = stub
        self._scratch = scratch
        self._own = own
        self._kept: tempfile.TemporaryDirectory[str] | None = None

    @classmethod
    async def at(cls, tape: Tape, count: int, *, saved: bool = False) -> Self:
        """Return a replay that stands after *count* instructions, counted as those of *tape*.

        With *saved* it begins at the start, and can be saved on its way.  Raises
        :class:`MachineError` where QEMU fails, or comes to another end before.
        """
        kept = tempfile.TemporaryDirectory(prefix="harness-replay-")
        try:
            replay = await cls._begun(tape, Path(kept.name), count, saved=saved)
        except BaseException:
            kept.cleanup()
            raise
        replay._kept = kept
        try:
            await replay.go_to(count)
        except BaseException:
            await replay.close()
            raise
        return replay

    @classmethod
    async def _begun(cls, tape: Tape, scratch: Path, count: int, *, saved: bool) -> Self:
        socket = scratch / "gdb"
        outputs = record.outputs(scratch)
        checkpoint = None if saved else tape.checkpoint(count)
        events = checkpoint.events if checkpoint else tape.directory / record.EVENTS
        extra = record.argv(socket, events, "replay")
        guest = checkpoint.guest if checkpoint else tape.guest
        extra += snapshot.SAVED_AGAIN if checkpoint else ()
        own = None
        if saved:
            guest = own = await _copied(guest, scratch / record.GUEST)
        try:
            qemu = await snapshot.restore_standing(guest, outputs, extra, shared=saved)
        except OtherQemu as error:
            raise MachineError(
                "the recording was made by another QEMU, and only that one can replay it",
                where=str(tape.directory),
                why=error.why,
                hint="record the test again",
            ) from error
        try:
            if checkpoint:
                # It has its letter already.
                stub = await record.connected(qemu, socket)
            else:
                memory = snapshot.memory_files(tape.guest)
                stub = await record.put_letter(qemu, socket, tape.letter, memory)
        except BaseException:
            await qemu.kill()
            raise
        return cls(tape, scratch, qemu, stub, own)

    async def save(self, directory: Path) -> Checkpoint:
        """Save the guest where it stands, or a little later, into *directory*, which is made.

        Raises OSError, and :class:`MachineError` where QEMU does not do it.
        """
        assert self._own  # noqa: S101  the caller has asked for it
        directory.mkdir()
        log = (self.tape.directory / record.EVENTS).read_bytes()
        start = self.tape.recording.start
        for _ in range(_TRIES):
            count = await self.count()
            guest = await snapshot.save_again(self.qemu, self._own, directory)
            state = snapshot.state_of(guest)
            try:
                changed, events = checkpoints.resumed(state.read_bytes(), log, start, count)
            except NotHere:
                await self.go_to(count + _FURTHER)
                continue
            state.write_bytes(changed)
            (directory / record.EVENTS).write_bytes(events)
            await snapshot.save_memory(self._own, directory)
            return Checkpoint(count, guest, directory / record.EVENTS)
        raise NotHere

    async def go_to(self, count: int) -> None:
        """Go on to *count*, which lies ahead; returns when the guest stands there.

        Raises :class:`MachineError` where it does not get there.
        """
        if await self.count() >= count:
            return
        recording = self.tape.recording
        try:
            if not recording.halted or count < recording.end:
                await self.qemu.execute("replay-break", icount=count)
            await self.qemu.execute("cont")
            # QEMU's gdbstub tells of the stop, too.
            await self.stopped()
            at = await self.count()
        except (QMPError, TimeoutError, StubError) as error:
            why = "\n".join(filter(None, (str(error), self.qemu.errors())))
            raise self._lost(count, why) from error
        if at != count:
            raise self._lost(count, f"it stands at {at}")

    async def stopped(self) -> bytes:
        """Wait until the guest stands still, however long it runs; return what the gdbstub says.

        Raises :class:`StubError` where it neither runs nor stops, or QEMU is gone; QMPError and
        TimeoutError where QEMU does not answer.
        """
        answering = asyncio.create_task(self.stub.answer(None))

        async def answered() -> None:
            await asyncio.wait({answering})

        last = -1
        try:
            while not answering.done():
                try:
                    await self.qemu.patience(_STUCK_S).wait(answered())
                except TimeoutError:
                    count = await self.count()
                    if count == last:
                        raise StubError(
                            f"QEMU waits for something after {count} instructions"
                        ) from None
                    last = count
            return answering.result()
        finally:
            answering.cancel()

    async def count(self) -> int:
        """Return how many instructions the guest has executed since its boot."""
        return await icount(self.qemu)

    def _lost(self, count: int, why: str) -> MachineError:
        return MachineError(
            "the replay does not come to where the recording was",
            where=f"{self.tape.directory}, instruction {count}",
            why=why,
            hint="ask `harness doctor` whether this QEMU can replay at all, and record it again",
        )

    def differences(self) -> tuple[str, ...]:
        """Return what the guest has sent until the end otherwise than in the recording.

        There it may have sent more before it was stopped.
        """
        pairs = zip(record.outputs(self.tape.directory), record.outputs(self._scratch), strict=True)
        found: list[str] = []
        for (was, now), least, name in zip(
            pairs, self.tape.recording.sent, ("the console", "the agent"), strict=True
        ):
            sent = now.read_bytes()
            if len(sent) < least or not was.read_bytes().startswith(sent):
                found.append(name)
        return tuple(found)

    async def close(self) -> None:
        """End QEMU; may be called again."""
        await self.stub.close()
        await self.qemu.kill()
        if self._kept:
            await asyncio.to_thread(self._kept.cleanup)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


async def _copied(guest: Snapshot, directory: Path) -> Snapshot:
    try:
        return await asyncio.to_thread(snapshot.copied, guest, directory)
    except OSError as error:
        raise of_os(error, "the guest of a recording cannot be copied", directory) from error


class Check(msgspec.Struct, frozen=True):
    """What a replay to the end has shown."""

    registers: str
    """A digest of the processor's registers there."""
    differences: tuple[str, ...]
    checkpoints: tuple[Checkpoint, ...] = ()


async def check(tape: Tape, into: Path | None = None) -> Check:
    """Replay *tape* to its end and compare what the guest has sent.

    With *into*, a directory, checkpoints are made there, if QEMU can do it.  Raises
    :class:`MachineError` where it does not come to the end.
    """
    if into:
        # What makes them may be what goes wrong.
        with contextlib.suppress(MachineError):
            return await _check(tape, into)
    return await _check(tape, None)


async def _check(tape: Tape, into: Path | None) -> Check:
    start, end = tape.recording.start, tape.recording.end
    counts = checkpoints.places(start, end, checkpoints.room(tape.guest, into)) if into else ()
    async with await Replay.at(tape, start, saved=bool(counts)) as replay:
        made = await _saved(replay, counts, into) if into and counts else ()
        await replay.go_to(end)
        registers = await replay.stub.ask(b"g")
        return Check(registers.decode(errors="replace"), replay.differences(), made)


async def _saved(replay: Replay, counts: Sequence[int], into: Path) -> tuple[Checkpoint, ...]:
    """Return checkpoints at *counts*, or the first of them: a disk may be full, QEMU another."""
    made: list[Checkpoint] = []
    for count in counts:
        await replay.go_to(count)
        directory = into / str(count)
        try:
            made.append(await replay.save(directory))
        except NotHere:
            await asyncio.to_thread(shutil.rmtree, directory)
        except (OSError, MachineError):
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
            break
    return tuple(made)
