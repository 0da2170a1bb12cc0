# SPDX-License-Identifier: GPL-2.0-only
"""From what was reached to which lines of which patch were run by which tests."""

from __future__ import annotations

import pytest

from harness.model.coverage import (
    CodeLine,
    CodeMap,
    FileLines,
    PatchLines,
    as_files,
    as_spans,
    count,
    evaluate,
    show,
)

pytestmark = pytest.mark.unit

CODE = CodeMap(
    points=((0, 4), (4, 8), (8, 12), (20, 21)),
    lines=(
        CodeLine(path="a.c", line=3, code=(0,)),
        CodeLine(path="a.c", line=4, code=(1, 3)),
        CodeLine(path="a.c", line=9, code=(2,)),
        CodeLine(path="b.h", line=3, code=(1,)),
    ),
    patches=(
        PatchLines(number=1, subject="one", changed=as_files({"a.c": range(1, 5), "t.rst": [7]})),
        PatchLines(number=2, subject="two", changed=as_files({"a.c": [9], "b.h": [3]})),
        PatchLines(number=3, subject="three", changed=()),
    ),
    notes=("a note",),
)


def test_lines_are_classified_per_patch() -> None:
    found = evaluate(CODE, {"s:a": b"\1\0\0\0", "s:b": b"\0\0\0\1"}, ["s:b", "s:a", "s:c"])
    one, two, three = found.patches
    assert [count(x) for x in (one.changed, one.instrumented, one.covered)] == [5, 2, 2]
    assert one.uncovered == ()
    assert one.tests == ("s:b", "s:a")
    assert [count(x) for x in (two.changed, two.instrumented, two.covered)] == [2, 2, 0]
    assert two.uncovered == (
        FileLines(path="a.c", lines=((9, 9),)),
        FileLines(path="b.h", lines=((3, 3),)),
    )
    assert two.tests == ()
    assert (three.changed, three.uncovered, three.tests) == ((), (), ())
    assert found.tests_of("a.c", 4) == ("s:b",)
    assert found.tests_of("b.h", 4) == found.tests_of("c.c", 4) == ()
    assert found.unmeasured == ("s:c",)
    assert found.notes == ("a note",)
    assert found.patch(2) is two
    assert found.patch(4) is None


def test_one_address_of_two_lines() -> None:
    found = evaluate(CODE, {"s:a": b"\0\1\0\0"}, ["s:a"])
    assert found.tests_of("a.c", 4) == found.tests_of("b.h", 3) == ("s:a",)
    assert found.patches[1].uncovered == (FileLines(path="a.c", lines=((9, 9),)),)
    assert found.patches[0].tests == found.patches[1].tests == ("s:a",)


@pytest.mark.parametrize(
    ("hits", "ran"),
    [(b"\0\0", False), (b"\1\0", False), (b"\0\1", False), (b"\1\1", True)],
)
def test_a_line_has_run_where_a_statement_began_and_its_code_was_reached(
    hits: bytes, ran: bool
) -> None:
    """Its code alone may have been computed ahead, its statement begin where other code does."""
    assert CodeLine(path="a.c", line=1, code=(0,), statements=(1,)).ran(hits) is ran


def test_without_a_test_nothing_is_covered() -> None:
    found = evaluate(CODE, {}, [])
    assert [count(patch.uncovered) for patch in found.patches] == [2, 2, 0]


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ([], ""),
        ([4], "4"),
        ([7, 3, 8, 9, 8], "3, 7-9"),
        ([1, 2, 4, 5, 6, 10], "1-2, 4-6, 10"),
    ],
)
def test_ranges(lines: list[int], text: str) -> None:
    spans = as_spans(lines)
    assert show(spans) == text
    each = FileLines(path="a", lines=spans)
    assert each.count == len(set(lines))
    assert [n for n in range(12) if each.has(n)] == sorted(set(lines))
