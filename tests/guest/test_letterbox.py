# SPDX-License-Identifier: GPL-2.0-only
"""The letter box: found in a guest's memory, and filled, before the guest has run a step."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from harness.errors import MachineError
from harness.guest import agent, letterbox

pytestmark = pytest.mark.unit
PAGE = 4096


def page(number: int, mark: bytes = letterbox.MARK) -> bytes:
    return (mark + struct.pack("<II", number, 0)).ljust(PAGE, b"\xee")


def memory(path: Path, pages: dict[int, int], size: int = 512) -> Path:
    """Write a file of *size* pages, with holes, that has pages of the box at given places."""
    with path.open("wb") as file:
        file.truncate(size * PAGE)
        for at, number in pages.items():
            file.seek(at * PAGE)
            file.write(page(number))
    return path


def test_pages_are_found_wherever_they_are(tmp_path: Path) -> None:
    places = {7 + 3 * number: number for number in reversed(range(letterbox.PAGES))}
    found = letterbox.find([memory(tmp_path / "ram0", places)])
    assert found == {number: at * PAGE for at, number in places.items()}


def test_memory_of_several_nodes_is_one_after_the_other(tmp_path: Path) -> None:
    first = memory(tmp_path / "ram0", {at: at for at in range(5)}, size=16)
    second = memory(tmp_path / "ram1", {at: at for at in range(5, letterbox.PAGES)}, size=64)
    found = letterbox.find([first, second])
    assert found[4] == 4 * PAGE
    assert found[5] == (16 + 5) * PAGE


def test_a_mark_amid_a_page_is_none(tmp_path: Path) -> None:
    path = memory(tmp_path / "ram0", {at: at for at in range(letterbox.PAGES)})
    with path.open("r+b") as file:
        file.seek(100 * PAGE + 64)
        file.write(page(0))
    assert letterbox.find([path])[0] == 0


@pytest.mark.parametrize(
    ("pages", "words"),
    [
        ({}, "0 pages instead of"),
        ({at: at for at in range(letterbox.PAGES - 1)}, "pages instead of"),
        ({at: at % letterbox.PAGES for at in range(letterbox.PAGES + 1)}, "twice"),
    ],
)
def test_a_memory_without_one_box_is_refused(
    tmp_path: Path, pages: dict[int, int], words: str
) -> None:
    with pytest.raises(MachineError) as error:
        letterbox.find([memory(tmp_path / "ram0", pages)])
    assert words in error.value.why


def test_a_letter_goes_over_several_pages() -> None:
    places = {number: 100 * PAGE - number * PAGE for number in range(letterbox.PAGES)}
    letter = bytes(range(256)) * 40
    parts = list(letterbox.written(letter, places))
    assert [at for at, _ in parts] == [places[0], places[1], places[2]]
    content = b""
    for number, (_, data) in enumerate(parts):
        mark, which, used = struct.unpack_from("<16sII", data)
        assert (mark, which) == (letterbox.MARK, number)
        assert len(data) == 24 + used <= PAGE
        content += data[24:]
    assert content == letter


def test_a_letter_that_has_no_room_is_refused() -> None:
    places = dict.fromkeys(range(letterbox.PAGES), 0)
    full = bytes(letterbox.PAGES * letterbox.CONTENT)
    assert len(list(letterbox.written(full, places))) == letterbox.PAGES
    with pytest.raises(MachineError, match="too long"):
        list(letterbox.written(full + b"x", places))


def test_both_sides_mean_the_same_box() -> None:
    header = (agent.SOURCES / "frames.h").read_text()
    hidden = re.search(r"FRAME_BOX_MARK\s+\{([^}]*)\}", header)
    mask = re.search(r"FRAME_BOX_MASK\s+(0x\w+)", header)
    pages = re.search(r"FRAME_BOX_PAGES\s+(\d+)", header)
    assert hidden
    assert mask
    assert pages
    words = re.findall(r"0x\w\w", hidden[1])
    assert bytes(int(word, 16) ^ int(mask[1], 16) for word in words) == letterbox.MARK
    assert int(pages[1]) == letterbox.PAGES


def test_the_mark_is_not_in_the_agents_program(tmp_path: Path) -> None:
    """Its file is in the guest's memory, too."""
    program = agent.build_agent(tmp_path / "agent")
    assert letterbox.MARK not in program.read_bytes()
