# SPDX-License-Identifier: GPL-2.0-only
"""Counts read from the plugin's file, and what is made of them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.guest import counted
from harness.model.cost import (
    USER_SPACE,
    Counts,
    FunctionCost,
    Symbols,
    by_function,
    figures,
    fold,
    unfold,
)
from harness.model.metrics import RESERVED

pytestmark = pytest.mark.unit

SYMBOLS = Symbols((0x100, 0x200, 0x300, 0x400), ("a", "__switch_to_asm", "asm_exc_x", "b"))
USER = 0xFFFFFFFF
AGENT, FIRST = 1, 2


def write(
    path: Path, tasks: Sequence[tuple[int, ...]], nodes: Sequence[tuple[int, ...]], **more: int
) -> Path:
    """Write what the plugin would; a task is (user, kernel, root, flags), a node as it stands."""
    counted.begin(path)
    header = {"state": 2, "full": 0, "lost": 0, "magic": 0x31746E756F436B48} | more
    with path.open("r+b") as file:
        count = header.get("count", len(tasks))
        file.write(
            struct.pack(
                "<QIIIIIIQQ",
                header["magic"],
                1,
                header["state"],
                0,
                header["full"],
                count,
                len(nodes),
                0,
                header["lost"],
            )
        )
        for number, (user, kernel, root, flags) in enumerate(tasks):
            file.write(struct.pack("<QQQII", 64 * (number + 1), user, kernel, root, flags))
        file.seek(48 + 8192 * 32)
        for node in nodes:
            file.write(struct.pack("<QQII", *node))
    return path


def test_the_test_is_what_has_run_in_user_space_and_is_not_the_agent(tmp_path: Path) -> None:
    tasks = [(5, 50, 0, AGENT), (10, 100, 0, FIRST), (1, 2, 0, 0), (0, 7, 0, 0), (0, 3, 0, FIRST)]
    assert counted.read(write(tmp_path / "c", tasks, [])) == Counts(11, 105, 7)


def test_calls_are_those_of_the_tests_tasks_together(tmp_path: Path) -> None:
    nodes = [
        (0, 0, 0, 0),
        (4, 0, 0, USER),
        (6, 3, 1, 0),
        (9, 5, 2, 3),
        (1, 0, 0, USER),
        (2, 1, 4, 0),
        (8, 0, 0, USER),
        (0, 9, 6, 0),
    ]
    tasks = [(4, 15, 1, FIRST), (1, 2, 4, 0), (0, 8, 6, 0)]
    found = counted.read(write(tmp_path / "c", tasks, nodes), SYMBOLS.names)
    assert dict(found.stacks) == {(USER_SPACE,): 5, ("a",): 8, ("a", "b"): 9}
    assert sum(dict(found.stacks).values()) == found.user + found.kernel
    assert found.calls == {"a": 4, "b": 5}


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"magic": 0}, "did not count"),
        ({"state": 0}, "did not begin"),
        ({"state": 1}, "did not end"),
        ({"full": 1, "count": 8192}, "more than 8192 tasks"),
    ],
)
def test_what_is_not_whole_is_no_figure(tmp_path: Path, more: dict[str, int], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        counted.read(write(tmp_path / "c", [(1, 1, 0, FIRST)], [], **more))


def test_the_host_lets_the_guest_go_and_changes_nothing_else(tmp_path: Path) -> None:
    counted.begin(tmp_path / "c")
    counted.let_go(tmp_path / "c")
    data = (tmp_path / "c").read_bytes()
    assert len(data) == counted.SIZE
    assert data[8:12] == (1).to_bytes(4, "little")
    assert not any(data[:8] + data[12:])


def test_symbols_for_the_plugin_say_where_interrupts_begin() -> None:
    assert SYMBOLS.range("__switch_to_asm") == (0x200, 0x300)
    assert SYMBOLS.range("gone") is None
    assert list(struct.iter_unpack("=QQ", counted.encode(SYMBOLS))) == [
        (0x100, 0),
        (0x200, 0),
        (0x300, 1),
        (0x400, 0),
    ]


def test_figures_have_names_that_no_test_may_print() -> None:
    names = {each.name for each in figures(Counts(1, 2, 3))}
    assert names <= RESERVED
    assert {each.name: each.value for each in figures(Counts(1, 2, 3))}["instructions"] == 3


def test_a_function_that_calls_itself_counts_once() -> None:
    stacks = [(("a",), 1), (("a", "b"), 10), (("a", "b", "b"), 100), (("c",), 1000)]
    assert by_function(stacks, {"b": 7}) == (
        FunctionCost("c", 1000, 1000),
        FunctionCost("b", 110, 110, 7),
        FunctionCost("a", 1, 111),
    )


def test_stacks_are_folded_and_unfolded() -> None:
    stacks = {("a",): 1, ("a", "b c"): 10}
    assert fold(stacks.items()) == "a 1\na;b c 10\n"
    assert unfold(fold(stacks.items())) == stacks
