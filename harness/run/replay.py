# SPDX-License-Identifier: GPL-2.0-only
"""Which recording of a run is kept, and whether it can be replayed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import MachineError
from harness.guest import record, replay
from harness.guest.replay import Tape
from harness.lab.recordings import REPLAY
from harness.model.records import Record, TestEnded
from harness.model.results import Results, Test
from harness.outcome import Outcome

_NO_FAILURE = (Outcome.PASS, Outcome.SKIP)


@dataclass(frozen=True)
class Kept:
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


def keep_only(out: Path, kept: Kept | None) -> None:
    """Remove all recordings of the run in *out* but the one that is *kept*."""
    for meta in (out / REPLAY).glob("*/*"):
        if kept is None or meta != out / kept.directory:
            shutil.rmtree(meta, ignore_errors=True)


async def check(directory: Path, times: int) -> Tape:
    """Replay the recording in *directory* so often, and return it.

    Raises MachineError where one comes to another end: then nothing that is seen in it counts.
    """
    tape = Tape.load(directory)
    registers = ""
    for number in range(1, times + 1):
        seen = await replay.check(tape)
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
    return tape


def is_recording(path: Path) -> bool:
    """Return whether *path* is the directory of a recording."""
    return (path / record.META).is_file()
