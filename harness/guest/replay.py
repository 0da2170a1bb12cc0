# SPDX-License-Identifier: GPL-2.0-only
"""A recording played again: to its end, or to the instruction that is asked for.

Each replay is a QEMU of its own that begins where the recording began.  QEMU's own way back
(reverse-stepi, replay_seek) hangs on release 7.2, so going back is a new replay that ends earlier.
"""

from __future__ import annotations

import asyncio
import dataclasses
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from qemu.qmp import QMPError

from harness.digest import digest_file
from harness.errors import MachineError
from harness.guest import record, snapshot
from harness.guest.process import QemuProcess
from harness.guest.record import Recording, icount
from harness.guest.snapshot import Snapshot
from harness.guest.stub import Stub, StubError

_LIMIT_S = 600.0
"""How long a replay may take, in time in which QEMU can run; it is about as fast as the recording.
"""


@dataclasses.dataclass(frozen=True)
class Tape:
    """A recording on disk, with the guest that it begins with."""

    directory: Path
    recording: Recording
    guest: Snapshot
    letter: bytes

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read the recording in *directory*; raises :class:`MachineError` where it is damaged."""
        recording = record.load(directory)
        kept = directory / record.GUEST
        # A run that was cut off has kept none.
        guest = snapshot.load(kept if kept.exists() else Path(recording.about["snapshot"]))
        try:
            letter = (directory / record.LETTER).read_bytes()
        except OSError as error:
            raise MachineError(
                "the recording cannot be read", where=str(directory), why=str(error)
            ) from error
        return cls(directory, recording, guest, letter)


class Replay:
    """A replay that stands still where :meth:`at` has let it go; a context that ends QEMU."""

    def __init__(self, tape: Tape, scratch: Path, qemu: QemuProcess, stub: Stub) -> None:
        self.tape = tape
        self.qemu = qemu
        self.stub = stub
        self._scratch = scratch
        self._kept: tempfile.TemporaryDirectory[str] | None = None

    @classmethod
    async def at(cls, tape: Tape, count: int) -> Self:
        """Return a replay that stands after *count* instructions, counted as those of *tape*.

        Raises :class:`MachineError` where QEMU fails, or comes to another end before.
        """
        kept = tempfile.TemporaryDirectory(prefix="harness-replay-")
        try:
            replay = await cls._begun(tape, Path(kept.name))
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
    async def _begun(cls, tape: Tape, scratch: Path) -> Self:
        socket = scratch / "gdb"
        outputs = record.outputs(scratch)
        extra = record.argv(socket, tape.directory / record.EVENTS, "replay")
        qemu = await snapshot.restore_standing(tape.guest, outputs, extra)
        try:
            memory = snapshot.memory_files(tape.guest)
            stub = await record.put_letter(qemu, socket, tape.letter, memory)
        except BaseException:
            await qemu.kill()
            raise
        return cls(tape, scratch, qemu, stub)

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
            await self.stub.answer(None)
            at = await self.count()
        except (QMPError, TimeoutError, StubError) as error:
            why = "\n".join(filter(None, (str(error), self.qemu.errors())))
            raise self._lost(count, why) from error
        if at != count:
            raise self._lost(count, f"it stands at {at}")

    async def count(self) -> int:
        """Return how many instructions the guest has executed since its boot."""
        return await icount(self.qemu)

    def _lost(self, count: int, why: str) -> MachineError:
        return MachineError(
            "the replay does not come to where the recording was",
            where=f"{self.tape.directory}, instruction {count}",
            why=why,
            hint="record it again",
        )

    def differences(self) -> tuple[str, ...]:
        """Return what the guest has sent until the end otherwise than in the recording."""
        known = self.tape.recording
        names = ("the console", "the agent")
        found = [digest_file(path) for path in record.outputs(self._scratch)]
        expected = (known.console, known.agent)
        return tuple(
            name for name, was, now in zip(names, expected, found, strict=True) if was != now
        )

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


@dataclasses.dataclass(frozen=True)
class Check:
    """What a replay to the end has shown."""

    registers: str
    """A digest of the processor's registers there."""
    differences: tuple[str, ...]


async def check(tape: Tape) -> Check:
    """Replay *tape* to its end and compare what the guest has sent.

    Raises :class:`MachineError` where it does not come there.
    """
    async with await Replay.at(tape, tape.recording.end) as replay:
        registers = await replay.stub.ask(b"g")
        return Check(registers.decode(errors="replace"), replay.differences())
