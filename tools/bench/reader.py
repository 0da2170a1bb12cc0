# SPDX-License-Identifier: GPL-2.0-only
"""Read threads one after the other, in a process of its own on one processor.

    python -m tools.bench.reader FILE...

Prints what that took as JSON.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path

import msgspec

from harness.series import read


class Reading(msgspec.Struct, frozen=True):
    """What reading took."""

    threads: int
    patches: int
    seconds: float
    """Of the processor."""
    kib: int
    """The largest resident size of the process."""


def _read(files: list[Path]) -> Reading:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    # Not by the clock: another program may have the processor meanwhile.
    begun = time.process_time()
    patches = sum(len(read(file).patches) for file in files)
    seconds = time.process_time() - begun
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Reading(len(files), patches, seconds, size)


if __name__ == "__main__":
    made = _read([Path(name) for name in sys.stdin.read().splitlines()])
    sys.stdout.buffer.write(msgspec.json.encode(made) + b"\n")
