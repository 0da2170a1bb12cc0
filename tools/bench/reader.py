# SPDX-License-Identifier: GPL-2.0-only
"""Read threads one after the other, in a process of its own on one processor.

    python -m tools.bench.reader FILE...

Prints what that took as JSON.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import msgspec

from harness.series import read

_TICK_S = 0.01


class Reading(msgspec.Struct, frozen=True):
    """What reading took."""

    threads: int
    patches: int
    seconds: float
    """Of the processor."""
    kib: int
    """The most memory that the process had of its own: pages of the mapped file are the cache's."""


def _read(files: list[Path]) -> Reading:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    sizes: list[int] = []
    ended = threading.Event()
    watch = threading.Thread(target=_watch, args=(sizes, ended), daemon=True)
    watch.start()
    # Not by the clock: another program may have the processor meanwhile.
    begun = time.process_time()
    patches = sum(len(read(file).patches) for file in files)
    seconds = time.process_time() - begun
    ended.set()
    watch.join()
    return Reading(len(files), patches, seconds, max(sizes))


def _watch(sizes: list[int], ended: threading.Event) -> None:
    """Note again and again how much memory this process has of its own, in KiB."""
    while True:
        status = Path("/proc/self/status").read_text()
        sizes.append(int(status.partition("RssAnon:")[2].split()[0]))
        if ended.wait(_TICK_S):
            return


if __name__ == "__main__":
    made = _read([Path(name) for name in sys.stdin.read().splitlines()])
    sys.stdout.buffer.write(msgspec.json.encode(made) + b"\n")
