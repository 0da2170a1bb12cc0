# SPDX-License-Identifier: GPL-2.0-only
"""Which recording of a run is kept, and whether it can be replayed."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from harness.errors import MachineError, UserError
from harness.guest import gdb, record, replay, timetravel
from harness.guest.gdb import Found, Until
from harness.guest.replay import Tape
from harness.lab.recordings import REPLAY
from harness.model.records import Record, Requested, TestEnded
from harness.model.results import Results, Test
from harness.outcome import Outcome
from harness.proc.process import capture, which

_TICK_S = 0.02
_GDB_LIMIT_S = 900.0
_LEAVE_LIMIT_S = 20.0
_NO_FAILURE = (Outcome.PASS, Outcome.SKIP)


class Kept(msgspec.Struct, frozen=True):
    """A recording that was kept."""

    test: str
    attempt: int
    outcome: Outcome
    reason: str
    directory: Path
    """Relative to the run's directory."""
    runs: int
    """How many attempts there were."""


def choose(results: Results, records: Sequence[Record], *, passes: bool) -> Kept | None:
    """Return the recording to keep: of the first attempt that failed, of any if *passes*.

    None where there is none.
    """
    recorded = {
        (each.name, each.attempt): each.logs.recording
        for each in records
        if isinstance(each, TestEnded) and each.logs.recording
    }
    found: list[Kept] = []
    for test in results.tests:
        outcomes = list(_outcomes(test))
        for attempt, (outcome, reason) in enumerate(outcomes, 1):
            directory = recorded.get((test.name, attempt))
            if directory:
                kept = Kept(test.name, attempt, outcome, reason, Path(directory), len(outcomes))
                found.append(kept)
    failed = [each for each in found if each.outcome not in _NO_FAILURE]
    return next(iter(failed or (found if passes else ())), None)


def _outcomes(test: Test) -> Iterator[tuple[Outcome, str]]:
    if not test.attempts:
        yield test.outcome, test.reason
    for each in test.attempts:
        yield each.outcome, each.reason


def tested_in(asked: Requested) -> dict[str, Any]:
    """Return the fields of a request for the kernel and the suites of the run *asked* for.

    Raises UserError where it had several kernels.
    """
    if len(asked.specs) != 1:
        raise UserError(
            "the run has several kernels",
            where="--from",
            why=", ".join(spec.name for spec in asked.specs),
            hint="the run's reports have a command for each test that runs it again: its options "
            "are those for harness replay",
        )
    return {
        "working_dir": Path(asked.working_dir),
        "kernels": asked.specs,
        "suites": asked.suites,
        "guest": asked.guest,
        "trust": asked.trust,
    }


def keep_only(out: Path, kept: Kept | None) -> None:
    """Remove all recordings of the run in *out* but the one that is *kept*."""
    for meta in (out / REPLAY).glob("*/*"):
        if kept is None or meta != out / kept.directory:
            shutil.rmtree(meta, ignore_errors=True)


def keep_guest(directory: Path) -> None:
    """Put into the recording in *directory* what a replay of it begins with.

    Raises MachineError where there is no whole recording, or the disk is full.
    """
    record.keep_guest(directory, Path(record.load(directory).about["snapshot"]))


async def check(directory: Path, times: int, into: Path | None = None) -> Tape:
    """Replay the recording in *directory* so often, and return it.

    With *into*, a directory, it has checkpoints there, from which a way back is short.  Raises
    MachineError where one comes to another end: then nothing that is seen in it counts.
    """
    tape = Tape.load(directory)
    registers = ""
    for number in range(1, times + 1):
        seen = await replay.check(tape, into if number == times else None)
        wrong = list(seen.differences)
        if registers and seen.registers != registers:
            wrong.append("the processor's registers")
        if wrong:
            raise MachineError(
                "the recording is not replayed to the same end",
                where=f"{directory}, replay {number} of {times}",
                why=f"other than in the recording: {', '.join(wrong)}",
                hint="record it again; if that is no better, this QEMU cannot do it",
            )
        registers = seen.registers
    return msgspec.structs.replace(tape, checkpoints=seen.checkpoints)


async def serve(tape: Tape, say: Callable[[str], None], until: Until | None) -> None:
    """Wait for gdb, say by which command it is started, and answer it until it leaves.

    Raises MachineError where gdb or the kernel is not there, or QEMU fails.
    """
    which("gdb")
    vmlinux = vmlinux_of(tape)
    with _socket() as socket:
        words = ["gdb", str(vmlinux), "-ex", f"target remote {socket}"]
        for command in until.commands if until else ():
            words += ["-ex", command]
        words_of_gdb = (
            "The guest stands at the end of the recording. In another terminal:\n"
            f"  {shlex.join(words)}\n"
            "reverse-continue, reverse-stepi, reverse-step and reverse-finish go back."
        )
        await timetravel.serve_gdb(tape, socket, lambda: say(words_of_gdb))


async def go_back(tape: Tape, until: Until) -> Found:
    """Let gdb find *until* in a replay of *tape*.

    Raises UserError where there is no such thing, and MachineError as :func:`serve`.
    """
    which("gdb")
    vmlinux = vmlinux_of(tape)
    with _socket() as socket:
        serving = asyncio.create_task(timetravel.serve_gdb(tape, socket))
        try:
            while not socket.exists() and not serving.done():
                await asyncio.sleep(_TICK_S)
            if serving.done():
                await serving
            commands = socket.with_name("commands")
            commands.write_text(gdb.script(str(socket), until))
            argv = ["gdb", "-nx", "-q", "-batch", "-x", str(commands), str(vmlinux)]
            done = await asyncio.to_thread(capture, argv, limit_s=_GDB_LIMIT_S)
            count = await asyncio.wait_for(serving, _LEAVE_LIMIT_S)
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
    said, errors = (each.decode(errors="replace") for each in (done.stdout, done.stderr))
    return gdb.read(said, errors, until, count)


@contextlib.contextmanager
def _socket() -> Iterator[Path]:
    """Yield a path for gdb's socket that only this user can connect to."""
    with tempfile.TemporaryDirectory(prefix="harness-gdb-") as directory:
        yield Path(directory) / "gdb"


def vmlinux_of(tape: Tape) -> Path:
    """Return the kernel of *tape* with its symbols; raises MachineError where it is gone."""
    vmlinux = Path(tape.recording.about.get("vmlinux", ""))
    if not vmlinux.is_file():
        raise MachineError(
            "the kernel of the recording is not in the cache any more",
            where=str(vmlinux),
            hint="record the test again: what was built is made again",
        )
    return vmlinux


def find_recording(text: str) -> Path | None:
    """Return the recording that *text* means: its directory, or that of a run that has one.

    None where it is the name of a test instead.  Raises UserError where it is neither.
    """
    path = Path(text)
    if is_recording(path):
        return path
    found = sorted(filter(is_recording, (path / REPLAY).glob("*/*")))
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(
            "the run has several recordings",
            where=text,
            why="\n".join(map(str, found)),
            hint="name one of them",
        )
    if ":" in text:
        return None
    why = f"it has no {record.META}: nothing was recorded there, or not to its end"
    raise UserError(
        "there is no recording",
        where=text,
        why=why if path.is_dir() else "there is no such directory",
        hint="harness replay SUITE:PROGRAM records a test",
    )


def is_recording(path: Path) -> bool:
    """Return whether *path* is the directory of a recording."""
    return (path / record.META).is_file()
