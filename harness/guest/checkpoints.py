# SPDX-License-Identifier: GPL-2.0-only
"""Places within a recording at which a replay can begin, too, so that going back is quick.

A checkpoint is a snapshot of a guest that is replayed, and a log that goes on from there.  QEMU's
state says how far the log has been read.  But where it is restored, the device with the agent's
port has a timer that is due at once; QEMU runs timers where the log says so, and would wait for
that for ever.  So the log of a checkpoint begins with such an entry, which the log of the recording
also has where its guest woke, for the same reason.

All checkpoints are made in one replay, and last as long as the command.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Sequence
from pathlib import Path

import msgspec

from harness.errors import MachineError
from harness.guest import snapshot
from harness.guest.snapshot import Snapshot

_SPACING = 50_000_000
"""Instructions from one to the next: a replay takes 0.3 s to start, and runs so many meanwhile."""
_MOST = 32
"""Each takes as much of the disk as the guest has memory in use, and some tenths of a second."""
_SHARE = 2
"""Of the disk's free space they take one part of so many."""


# Numbers are big-endian.  The section of QEMU's state with what its record/replay is at, in version
# 2: name, instance, version; two clocks, the count of instructions; how many are left of the entry
# that was read last, its kind, whether there is more to it; where the next entry is.
_SECTION = struct.Struct(">7sII16xQIIIQ")
_NAME = b"\x06replay"
_VERSION = 2
_INSTRUCTIONS = struct.Struct(">BI")
"""An entry of the log: the kind, and how many instructions follow."""
_IS_INSTRUCTIONS = 0
_HEAD = 4096
"""Within how many bytes the log comes to where its guest woke."""


class NotHere(Exception):
    """There can be no checkpoint just there, but may be a little later."""


class Checkpoint(msgspec.Struct, frozen=True):
    """A guest as it was within a recording."""

    count: int
    """Instructions that it had executed, counted as those of the recording."""
    guest: Snapshot
    events: Path
    """QEMU's log from there on."""


def places(start: int, end: int, most: int = _MOST) -> Sequence[int]:
    """Return the counts between *start* and *end* at which checkpoints are made, at most *most*."""
    number = min((end - start) // _SPACING, most)
    return [start + (end - start) * n // (number + 1) for n in range(1, number + 1)]


def room(guest: Snapshot, directory: Path) -> int:
    """Return how many checkpoints of *guest* the disk of *directory* has room for."""
    size = sum(path.stat().st_blocks * 512 for path in snapshot.memory_files(guest))
    # The replay that makes them has a memory of its own.
    fit = shutil.disk_usage(directory).free // _SHARE // max(size, 1) - 1
    return max(0, min(fit, _MOST))


def resumed(state: bytes, log: bytes, start: int, count: int) -> tuple[bytes, bytes]:
    """Return QEMU's *state* after *count* instructions, and its *log*, for a replay from there on.

    The guest woke after *start* instructions.  Raises :class:`NotHere`, and :class:`MachineError`
    where this QEMU has another format.
    """
    head = log.find(_INSTRUCTIONS.pack(_IS_INSTRUCTIONS, start), 0, _HEAD)
    place = state.find(_NAME)
    if head < 0 or place < 0 or head + _INSTRUCTIONS.size >= len(log):
        raise _other_format()
    timers = log[head + _INSTRUCTIONS.size]
    name, instance, version, at, left, kind, more, next_entry = _SECTION.unpack_from(state, place)
    if version != _VERSION or at != count:
        raise _other_format()
    if kind != _IS_INSTRUCTIONS or not more or not left:
        raise NotHere
    entry = next_entry - _INSTRUCTIONS.size
    if entry < head or log[entry] != _IS_INSTRUCTIONS:
        raise _other_format()
    changed = bytearray(state)
    clocks = state[place + 15 : place + 31]
    _SECTION.pack_into(changed, place, name, instance, version, at, 0, timers, 1, head)
    changed[place + 15 : place + 31] = clocks
    rest = _INSTRUCTIONS.pack(_IS_INSTRUCTIONS, left) + log[next_entry:]
    return bytes(changed), log[:head] + rest


def _other_format() -> MachineError:
    return MachineError(
        "this QEMU cannot go on with a replay from within",
        why="its log or its state has a format that is not known here",
    )
