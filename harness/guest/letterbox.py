# SPDX-License-Identifier: GPL-2.0-only
"""Where a guest that has not run a step finds its command: pages of memory with a mark on them.

``agent/letter.c`` is the other side.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness.errors import MachineError
from harness.guest.sparse import written_parts

MARK = bytes.fromhex("9ca929d8d7e291897db5aa8acad2a8c0")
PAGES = 20
_HEADER = struct.Struct("<16sII")
_PAGE = 4096
CONTENT = _PAGE - _HEADER.size
"""Bytes of a letter that a page has room for."""


def find(files: Sequence[Path]) -> Mapping[int, int]:
    """Return the place of each page of the box in a guest's memory, by its number.

    *files* are the memory, one after the other; places are offsets in bytes.  Raises
    :class:`MachineError` where there is no such box, or there are two.
    """
    places: dict[int, int] = {}
    twice = False
    before = 0
    for path in files:
        with path.open("rb") as file:
            for start, data in written_parts(file.fileno()):
                for at in _pages(data):
                    _, number, _ = _HEADER.unpack_from(data, at)
                    twice = twice or number in places
                    places[number] = before + start + at
        before += path.stat().st_size
    if twice or sorted(places) != list(range(PAGES)):
        raise MachineError(
            "a guest cannot be told what to run before its first step",
            where=", ".join(map(str, files)),
            why=f"its agent's letter box has {len(places)} pages instead of {PAGES}"
            + (", and some of them twice" if twice else ""),
            hint="delete the snapshot; it is made again from kernel and initramfs",
        )
    return places


def _pages(data: bytes) -> Iterator[int]:
    at = data.find(MARK)
    while at >= 0:
        if at % _PAGE == 0:
            yield at
        at = data.find(MARK, at + 1)


def written(letter: bytes, places: Mapping[int, int]) -> Iterator[tuple[int, bytes]]:
    """Yield what is to be written into the memory, as offsets and bytes, so that it has *letter*.

    Raises :class:`MachineError` where the box is too small.
    """
    parts = [letter[at : at + CONTENT] for at in range(0, len(letter), CONTENT)]
    if len(parts) > PAGES:
        raise MachineError(
            "the command of a test is too long to be recorded",
            why=f"it has {len(letter)} bytes, and there is room for {PAGES * CONTENT}",
        )
    for number, part in enumerate(parts):
        yield places[number], _HEADER.pack(MARK, number, len(part)) + part
