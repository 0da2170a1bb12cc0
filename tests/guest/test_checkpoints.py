# SPDX-License-Identifier: GPL-2.0-only
"""Where checkpoints of a recording are made, and from which of them a replay begins."""

from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.errors import MachineError
from harness.guest import checkpoints, snapshot
from harness.guest.checkpoints import Checkpoint, NotHere
from harness.guest.machine import GuestConfig
from harness.guest.record import Recording
from harness.guest.replay import Tape

pytestmark = pytest.mark.unit
NONE: Any = None
HEAD = bytes.fromhex("00e0200c") + bytes(8) + b"\x1c" + b"clock678" + b"\x28\x25"
TIMERS = b"\x22"
CLOCKS = b"clock one234567!"


def instructions(count: int) -> bytes:
    """Return an entry of QEMU's log."""
    return struct.pack(">BI", 0, count)


LOG = HEAD + instructions(1000) + TIMERS + instructions(300) + TIMERS + instructions(500) + b"\x33"


def state(
    left: int = 200, kind: int = 0, more: int = 1, *, count: int = 1400, version: int = 2
) -> bytes:
    """Return QEMU's state 100 instructions within the last entry of LOG."""
    section = struct.pack(">II", 0, version) + CLOCKS
    section += struct.pack(">QIII", count, left, kind, more)
    section += struct.pack(">Q", len(LOG) - 1) + b"what follows"
    return b"before\x04\x00\x00\x00\x01\x06replay" + section


@pytest.mark.parametrize(
    ("length", "count"), [(0, 0), (49_000_000, 0), (50_000_000, 1), (10**9, 20), (10**12, 32)]
)
def test_they_are_as_far_apart_as_a_replay_runs_quickly(length: int, count: int) -> None:
    found = [7, *checkpoints.places(7, 7 + length), 7 + length]
    assert len(found) == count + 2
    gaps = [after - before for before, after in pairwise(found)]
    assert max(gaps) - min(gaps) <= 1


def test_there_are_no_more_than_asked_for() -> None:
    assert len(checkpoints.places(0, 10**9, 3)) == 3
    assert not checkpoints.places(0, 10**9, 0)


@pytest.mark.parametrize(("free_mib", "count"), [(0, 0), (3, 0), (4, 1), (40, 19), (10**6, 32)])
def test_they_leave_half_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_mib: int, count: int
) -> None:
    (tmp_path / "ram0").write_bytes(b"\1" * (1 << 20))
    guest = cast(Any, SimpleNamespace(directory=tmp_path, config=GuestConfig()))
    free = SimpleNamespace(free=free_mib << 20)
    monkeypatch.setattr("shutil.disk_usage", lambda _: free)
    assert checkpoints.room(guest, tmp_path) == count


@pytest.mark.parametrize(
    ("count", "begin"), [(100, 100), (149, 100), (150, 150), (151, 150), (999, 200), (99, 100)]
)
def test_a_replay_begins_at_the_last_before(count: int, begin: int) -> None:
    known = Recording(100, 1000, halted=False, console="", agent="", qemu="")
    made = tuple(Checkpoint(each, NONE, NONE) for each in (150, 200))
    tape = Tape(Path("recording"), known, NONE, b"", made)
    assert tape.begin(count) == begin
    found = tape.checkpoint(count)
    assert (found.count if found else 100) == begin


def test_a_replay_goes_on_after_the_timer_of_a_restored_device() -> None:
    """First the entry by which QEMU runs timers, then what was left of the one that was read."""
    before = state(left=400)
    after, log = checkpoints.resumed(before, LOG, 1000, 1400)
    assert log == HEAD + instructions(400) + b"\x33"
    place = after.index(b"\x06replay") + 7
    assert after[:place] == before[:place]
    assert after[place : place + 24] == before[place : place + 24]  # version, and the clocks
    count, left, kind, more, entry = struct.unpack(">QIIIQ", after[place + 24 : place + 52])
    assert (count, left, kind, more) == (1400, 0, TIMERS[0], 1)
    assert log[entry:] == instructions(400) + b"\x33"
    assert after[place + 52 :] == b"what follows"


@pytest.mark.parametrize(
    "there", [state(left=0), state(kind=TIMERS[0]), state(more=0), state(left=0, more=0)]
)
def test_between_two_entries_there_is_no_checkpoint(there: bytes) -> None:
    with pytest.raises(NotHere):
        checkpoints.resumed(there, LOG, 1000, 1400)


@pytest.mark.parametrize(
    ("there", "log"),
    [
        (b"no such section", LOG),
        (state(version=3), LOG),
        (state(count=1399), LOG),
        (state(), b""),
        (state(), HEAD + instructions(999) + TIMERS),
        (state(), HEAD + instructions(1000)),
        (state(), LOG.replace(instructions(500), b"\x01" * 5)),
    ],
)
def test_another_format_is_told(there: bytes, log: bytes) -> None:
    with pytest.raises(MachineError, match="cannot go on with a replay from within"):
        checkpoints.resumed(there, log, 1000, 1400)


def test_a_guest_is_copied_with_its_state_and_its_memory(tmp_path: Path) -> None:
    for name in ("ram0", "ram1", "state"):
        (tmp_path / name).write_bytes(name.encode())
    saved = snapshot.Snapshot(
        tmp_path, GuestConfig(numa_nodes=2, memory_mib=128), NONE, NONE, "7.2", "sum", ()
    )
    own = snapshot.copied(saved, tmp_path / "own")
    assert own.directory == tmp_path / "own"
    assert [path.read_text() for path in snapshot.memory_files(own)] == ["ram0", "ram1"]
    assert (own.directory / "state").read_text() == "state"
    # What was saved under these sums is changed by the guest that has the copy.
    assert not own.state_sha256
    assert not own.ram
