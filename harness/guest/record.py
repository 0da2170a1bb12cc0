# SPDX-License-Identifier: GPL-2.0-only
"""A guest that QEMU records, so that it can be replayed to the same end (docs/failures.md).

QEMU's record/replay does not feed again what came through the agent's port, nor does it take such
input at all with ``sleep=off``.  So nothing comes from outside while the guest runs.  It finds its
command and its time limit in its memory (:mod:`harness.guest.letterbox`), written there before its
first step, and what it sends goes to files, which never make it wait.

A recording is a directory:

    events          QEMU's log of what happened at which instruction
    letter          the frames that the guest found
    console, agent  what it sent
    recording.json  a :class:`Recording`
    guest/          the snapshot that it woke from (links, where the file system allows)
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
from qemu.qmp import QMPError

from harness.digest import digest_file
from harness.errors import MachineError
from harness.foreign import of_os
from harness.guest import letterbox, sparse
from harness.guest.machine import ICOUNT, escaped
from harness.guest.process import QemuProcess
from harness.guest.stub import Stub, StubError

FORMAT = 1
EVENTS, LETTER, CONSOLE, AGENT = "events", "letter", "console", "agent"
META, GUEST = "recording.json", "guest"
_TICK_S = 0.01
_READ = 1 << 18
_BELOW = (1 << 64, 0x80000000, 0xB0000000, 0xC0000000, 0xE0000000)
"""How much memory lies below 4 GiB: all of it, or what QEMU's machine types leave there."""
_IDLE_S = 20.0
_ABOVE = 1 << 32
_QUIT_LIMIT_S = 60.0
_MARGIN = 1_000_000
"""How many instructions are recorded beyond the end: a replay can stop short of the very last."""


class Recording(msgspec.Struct, frozen=True):
    """What is known of a recording beside its files."""

    start: int
    """Instructions that its guest had executed when it woke; all counts begin at its boot."""
    end: int
    """Those after which it had ended."""
    halted: bool
    """Whether no instruction followed: it had reset or switched itself off, or waited for ever."""
    console: str
    """SHA-256 of what came from the console."""
    agent: str
    """And of what came from the agent."""
    qemu: str
    """QEMU's version."""
    sent: tuple[int, int] = (0, 0)
    """How many bytes had come from console and agent by the end, at least.  The guest ran on a
    little, and may have printed more."""
    events: str = ""
    """SHA-256 of QEMU's log; empty in a recording of before it was noted."""
    letter: str = ""
    """And of what the guest found in its memory."""
    ending: str = ""
    """How the guest ended, in words; empty where it ended with its test."""
    about: Mapping[str, str] = msgspec.field(default_factory=dict)
    """What the caller noted: the test, its kernel."""


def save(directory: Path, recording: Recording) -> None:
    """Write *recording* into its directory; raises OSError."""
    text = json.dumps(
        {"format": FORMAT, **msgspec.structs.asdict(recording)}, indent=1, sort_keys=True
    )
    (directory / META).write_text(text + "\n")


def load(directory: Path) -> Recording:
    """Return what is known of the recording in *directory*.

    Raises :class:`MachineError` where there is none, or one of another format.
    """
    try:
        return _from_json(json.loads((directory / META).read_text()))
    except OSError as error:
        raise of_os(error, "the recording cannot be read", directory / META) from error
    except (ValueError, msgspec.MsgspecError) as error:
        raise MachineError(
            "the recording cannot be read",
            where=str(directory / META),
            why=str(error),
            hint="record the test again",
        ) from error


def check(directory: Path, recording: Recording) -> None:
    """Raise :class:`MachineError` where files of the recording in *directory* have changed."""
    try:
        digests = {
            EVENTS: recording.events,
            LETTER: recording.letter,
            CONSOLE: recording.console,
            AGENT: recording.agent,
        }
        for name, known in digests.items():
            if known and digest_file(directory / name) != known:
                raise MachineError(
                    "the recording is damaged",
                    where=str(directory / name),
                    why="the file is not what was recorded",
                    hint="record the test again",
                )
    except OSError as error:
        raise of_os(error, "the recording cannot be read") from error


def _from_json(raw: Any) -> Recording:
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise ValueError("another format of recordings")
    found = msgspec.convert(raw, Recording)
    if not 0 <= found.start <= found.end:
        raise ValueError("it ends before it begins")
    return found


def argv(stub: Path, events: Path, mode: Literal["record", "replay"]) -> tuple[str, ...]:
    """Return what QEMU's command line has more for a guest that is recorded, or replayed.

    *stub* is the socket for gdb.  The guest stands still until it has its letter.
    """
    return (
        # The last one counts.
        *("-icount", f"{ICOUNT},rr={mode},rrfile={escaped(str(events))}"),
        "-S",
        *("-gdb", f"unix:{escaped(str(stub))},server=on,wait=off"),
    )


def outputs(directory: Path) -> tuple[Path, Path]:
    """Return where what the guest sends goes: from its console, and from its agent."""
    return directory / CONSOLE, directory / AGENT


async def icount(qemu: QemuProcess) -> int:
    """Return how many instructions the guest has executed since its boot."""
    answer: Any = await qemu.execute("query-replay")
    return int(answer["icount"])


async def running(qemu: QemuProcess) -> bool:
    """Return whether the guest runs."""
    answer: Any = await qemu.execute("query-status")
    return bool(answer["running"])


async def put_letter(
    qemu: QemuProcess, stub: Path, letter: bytes, memory: tuple[Path, ...]
) -> Stub:
    """Write *letter* into the memory of a guest that stands still, whose snapshot *memory* is.

    Returns the connection by which that was done.  Raises :class:`MachineError`.
    """
    places = await asyncio.to_thread(letterbox.find, memory)
    connection = await connected(qemu, stub)
    try:
        await connection.physical(on=True)
        for offset, data in letterbox.written(letter, places):
            await connection.write(await _address(connection, offset), data)
        await connection.physical(on=False)
    except StubError as error:
        why = "\n".join(filter(None, (str(error), qemu.errors())))
        raise MachineError("QEMU does not take what the guest is to run", why=why) from error
    return connection


async def connected(qemu: QemuProcess, stub: Path) -> Stub:
    """Return a connection to the gdbstub of *qemu*; raises :class:`MachineError`."""
    try:
        return await Stub.connect(stub)
    except StubError as error:
        why = "\n".join(filter(None, (str(error), qemu.errors())))
        raise MachineError("QEMU does not let its guest be looked at", why=why) from error


async def _address(connection: Stub, offset: int) -> int:
    """Return the physical address of the page of the letter box at *offset* of the memory.

    Where a machine type puts what does not fit below its devices, QEMU does not say.  But the page
    has a mark.  Raises :class:`StubError` where it is not found.
    """
    for below in _BELOW:
        address = offset if offset < below else offset - below + _ABOVE
        if await connection.read(address, len(letterbox.MARK)) == letterbox.MARK:
            return address
    raise StubError(f"its memory has no letter box at the offset {offset:#x}")


class Recorder:
    """Records one guest into the empty *directory*; *memory* is that of its snapshot.

    *about* is noted in the recording.  *stub* is a path for a socket, at most 107 bytes long.
    """

    def __init__(
        self, directory: Path, stub: Path, memory: tuple[Path, ...], about: Mapping[str, str]
    ) -> None:
        self.directory = directory
        self._stub = stub
        self._memory = memory
        self._about = about
        self._start = 0
        self._feeding: list[asyncio.Task[None]] = []
        self._over = asyncio.Event()

    @property
    def argv(self) -> tuple[str, ...]:
        """What QEMU's command line has more."""
        return argv(self._stub, self.directory / EVENTS, "record")

    @property
    def outputs(self) -> tuple[Path, Path]:
        """Where what the guest sends goes."""
        return outputs(self.directory)

    async def begin(self, qemu: QemuProcess, letter: bytes) -> None:
        """Let the guest go, with *letter*; what it sends comes through the channels of *qemu*.

        Raises :class:`MachineError` where QEMU does not do it.
        """
        (self.directory / LETTER).write_bytes(letter)
        self._start = await icount(qemu)
        connection = await put_letter(qemu, self._stub, letter, self._memory)
        self._feeding = [
            asyncio.create_task(self._feed(path, reader))
            for path, reader in zip(self.outputs, (qemu.console, qemu.agent), strict=True)
        ]
        await qemu.execute("cont")
        await connection.close()

    async def _feed(self, path: Path, reader: asyncio.StreamReader) -> None:
        """Give *reader* what is written to *path*, until all of it is there."""
        with path.open("rb") as file:
            while True:
                last = self._over.is_set()
                while data := file.read(_READ):
                    reader.feed_data(data)
                if last:
                    return
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._over.wait(), _TICK_S)

    async def _goes_on(self, qemu: QemuProcess, count: int) -> bool:
        """Wait until the guest has executed so many instructions; False where it does not.

        One that waits for nothing, not even for a timer, executes none.
        """

        async def reached() -> None:
            while await icount(qemu) < count:
                await asyncio.sleep(_TICK_S)

        try:
            await qemu.patience(_IDLE_S).wait(reached())
        except TimeoutError:
            return await icount(qemu) >= count
        return True

    async def end(self, qemu: QemuProcess, ending: str) -> None:
        """End the recording, whatever state the guest is in; QEMU is gone afterwards.

        Without this its log has no end.  Where QEMU does not end it, there is no recording, and
        :func:`load` says so.
        """
        if self._over.is_set():
            return
        end, halted, sent = 0, False, (0, 0)
        try:
            console, agent = (path.stat().st_size for path in self.outputs)
            sent = console, agent
            end = await icount(qemu)
            halted = not await running(qemu) or not await self._goes_on(qemu, end + _MARGIN)
            await qemu.execute("stop")
        except (QMPError, TimeoutError):
            end = 0
        self._over.set()
        await asyncio.gather(*self._feeding, return_exceptions=True)
        with contextlib.suppress(QMPError, TimeoutError, EOFError):
            await qemu.execute("quit")
            await qemu.patience(_QUIT_LIMIT_S).wait(qemu.gone())
        if not end or qemu.returncode != 0:
            return
        if not halted:
            # There the clock's next tick is due: one may stand before it or behind.
            end += 1
        save(
            self.directory,
            Recording(
                start=self._start,
                end=end,
                halted=halted,
                console=digest_file(self.directory / CONSOLE),
                agent=digest_file(self.directory / AGENT),
                qemu=qemu.version,
                sent=sent,
                events=digest_file(self.directory / EVENTS),
                letter=digest_file(self.directory / LETTER),
                ending=ending,
                about=self._about,
            ),
        )


def keep_guest(directory: Path, snapshot: Path) -> None:
    """Put the files of *snapshot* into the recording in *directory*, so that it can be replayed.

    Raises :class:`MachineError` where the disk is full.
    """
    guest = directory / GUEST
    try:
        guest.mkdir(exist_ok=True)
        for file in snapshot.iterdir():
            to = guest / file.name
            to.unlink(missing_ok=True)
            try:
                os.link(file, to)
            except OSError:
                sparse.copy(file, to)
    except OSError as error:
        # Half a guest would be in the way of the whole one in the cache.
        shutil.rmtree(guest, ignore_errors=True)
        raise of_os(error, "the guest of a recording cannot be kept", guest) from error
