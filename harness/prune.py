# SPDX-License-Identifier: GPL-2.0-only
"""Keeping the cache from growing for ever: what was not used for longest goes first.

Only entries go; they are made again when they are wanted.  Places stay: a kernel in an object
directory that is not there any more takes minutes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UserError
from harness.progress import Progress
from harness.store import Store

MOST_GIB = 20.0
_YOUNG_S = 24 * 3600.0
"""What was used since then may be in use: a run looks its entries up when it begins."""
_PAUSE_S = 3600.0
"""To look at everything takes a second; not every run has to."""


@dataclass(frozen=True)
class _Entry:
    kind: str
    key: str
    used: float
    size: int


def most_bytes() -> int:
    """Return how large entries may be in all: ``HARNESS_CACHE_GIB``; UserError for no number."""
    text = os.environ.get("HARNESS_CACHE_GIB", "")
    try:
        return int((float(text) if text else MOST_GIB) * (1 << 30))
    except (ValueError, OverflowError):
        raise UserError(
            "HARNESS_CACHE_GIB is not a number", where=repr(text), hint="for example 20"
        ) from None


def prune_now_and_then(store: Store, progress: Progress) -> None:
    """Do :func:`prune` if the last time is an hour ago, and tell what went."""
    stamp = store.place("prune") / "stamp"
    most = most_bytes()
    if stamp.exists() and time.time() - stamp.stat().st_mtime < _PAUSE_S:
        return
    stamp.touch()
    freed = prune(store, most)
    if freed:
        gib, limit = freed / (1 << 30), most / (1 << 30)
        progress.note(
            f"{gib:.1f} GiB that were not used for longest went from {store.root / 'entries'}: "
            f"HARNESS_CACHE_GIB is {limit:g}"
        )


def prune(store: Store, most: int, young_s: float = _YOUNG_S) -> int:
    """Remove entries until those left have *most* bytes in all; return how many bytes went.

    What was used in the last *young_s* seconds stays in any case.
    """
    entries = sorted(_entries(store), key=lambda entry: entry.used)
    total, freed = sum(entry.size for entry in entries), 0
    for entry in entries:
        if total - freed <= most or time.time() - entry.used < young_s:
            break
        store.discard(entry.kind, entry.key)
        freed += entry.size
    return freed


def _entries(store: Store) -> Iterator[_Entry]:
    for path in (store.root / "entries").glob("*/*"):
        try:
            used, size = path.stat().st_mtime, _size(path)
        except OSError:
            continue  # Somebody else has removed it meanwhile.
        yield _Entry(path.parent.name, path.name, used, size)


def _size(path: Path) -> int:
    """What is on the disk, in bytes."""
    return sum(
        (Path(directory) / name).lstat().st_blocks * 512
        for directory, _, names in os.walk(path)
        for name in names
    )
