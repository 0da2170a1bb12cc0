# SPDX-License-Identifier: GPL-2.0-only
"""Keeping the cache from growing for ever: what was not used for longest goes first.

Entries go, and the directories in which kernels are built: all of it is made again when it is
wanted.  Other places stay: they grow slowly, or hold what a machine without a network cannot fetch
again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec

from harness.context import Context
from harness.errors import UserError
from harness.kbuild.kernel import Slot, slots
from harness.store import Store

MOST_GIB = 20.0
_YOUNG_S = 2 * 3600.0
"""What was used since then may be in use.

A run looks its entries up when it begins, and each guest touches its snapshot.  A day would be too
long: each edit of a kernel leaves some 0.5 GB of snapshots.
"""
_TIME_S = 10.0
"""A user waits for the command to end; the rest is removed after the next run."""
_PAUSE_S = 3600.0
"""Examining the cache takes a second, so not every run does it."""


class _Item(msgspec.Struct, frozen=True):
    used: float
    size: int
    remove: Callable[[], bool]
    """Whether it was removed."""


def most_bytes() -> int:
    """Return the size limit in bytes, from ``HARNESS_CACHE_GIB``; UserError if it is no number."""
    text = os.environ.get("HARNESS_CACHE_GIB", "")
    try:
        return int((float(text) if text else MOST_GIB) * (1 << 30))
    except (ValueError, OverflowError):
        raise UserError(
            "HARNESS_CACHE_GIB is not a number", where=repr(text), hint="for example 20"
        ) from None


def prune_now_and_then(context: Context) -> None:
    """Run :func:`prune` at most once an hour, and report what was removed."""
    stamp = context.store.place("prune") / "stamp"
    most = most_bytes()
    if stamp.exists() and time.time() - stamp.stat().st_mtime < _PAUSE_S:
        return
    stamp.touch()
    with context.step("Removing the least recently used entries of the cache") as step:
        end = time.monotonic() + _TIME_S
        freed = prune(context.store, most, end=end)
        step.result(f"{freed / (1 << 30):.1f} GiB")
    if time.monotonic() >= end:
        stamp.unlink(missing_ok=True)  # the next run goes on with it
    if freed:
        gib, limit = freed / (1 << 30), most / (1 << 30)
        context.note(
            f"{gib:.1f} GiB of least recently used entries were removed from {context.store.root}: "
            f"HARNESS_CACHE_GIB is {limit:g}"
        )


def prune(store: Store, most: int, young_s: float = _YOUNG_S, *, end: float = float("inf")) -> int:
    """Remove what can go until *most* bytes are left of it; return how many bytes went.

    What killed runs have left half made goes in any case, and does not count.

    What was used in the last *young_s* seconds stays in any case, and so does what there is no time
    for before *end* on the monotonic clock.
    """
    _clear_away(store, young_s)
    items = sorted((*_entries(store), *_slots(store)), key=lambda item: item.used)
    total, freed = sum(item.size for item in items), 0
    for item in items:
        if total - freed <= most or time.time() - item.used < young_s or time.monotonic() >= end:
            break
        # Those of another user, such as root, stay.
        with contextlib.suppress(OSError):
            if item.remove():
                freed += item.size
    return freed


def _clear_away(store: Store, young_s: float) -> None:
    """Remove unfinished files of killed runs."""
    for root in {store.root, store.for_make().root}:
        if (root / "tmp").is_symlink():
            continue  # Others may have something there.
        for path in (root / "tmp").iterdir():
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime >= young_s:
                    shutil.rmtree(path, ignore_errors=True)


def _entries(store: Store) -> Iterator[_Item]:
    def remove(kind: str, key: str) -> bool:
        store.discard(kind, key)
        return True

    for path in (store.root / "entries").glob("*/*"):
        yield from _item(path, partial(remove, path.parent.name, path.name))


def _slots(store: Store) -> Iterator[_Item]:
    def remove(slot: Slot) -> bool:
        with store.try_lock(slot.name) as mine, store.for_make().scratch("slot") as grave:
            if mine:
                slot.path.rename(grave / "slot")
                shutil.rmtree(grave / "slot", ignore_errors=True)
            return mine

    for slot in slots(store):
        yield from _item(slot.path, partial(remove, slot))


def _item(path: Path, remove: Callable[[], bool]) -> Iterator[_Item]:
    # OSError: another run has removed it meanwhile.
    with contextlib.suppress(OSError):
        yield _Item(path.stat().st_mtime, _size(path), remove)


def _size(path: Path) -> int:
    """Return the size on the disk in bytes."""
    return sum(
        (Path(directory) / name).lstat().st_blocks * 512
        for directory, _, names in os.walk(path)
        for name in names
    )
