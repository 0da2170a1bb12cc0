# SPDX-License-Identifier: GPL-2.0-only
"""Which faults are asked for, and what is said where that is none."""

from __future__ import annotations

import pytest

from harness.errors import UserError
from harness.model.mutants import Mutant
from harness.run.mutant_kernels import named
from harness.run.mutant_plan import Place
from tests.judge.test_mutants import fault

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "has", "has_not"),
    [
        ("mm/a.c", [("mm/a.c", 1, 1), ("mm/a.c", 9, 20)], [("mm/b.c", 1, 1)]),
        ("mm/*.c", [("mm/a.c", 1, 1)], [("kernel/a.c", 1, 1)]),
        ("mm/a.c:7", [("mm/a.c", 7, 7), ("mm/a.c", 5, 9)], [("mm/a.c", 8, 9), ("mm/a.c", 1, 6)]),
        ("mm/a.c:7-9", [("mm/a.c", 9, 12), ("mm/a.c", 1, 7)], [("mm/a.c", 10, 12)]),
    ],
)
def test_a_place_has_the_faults_that_touch_it(
    text: str, has: list[tuple[str, int, int]], has_not: list[tuple[str, int, int]]
) -> None:
    place = Place.parse(text)
    assert all(place.has(*each) for each in has)
    assert not any(place.has(*each) for each in has_not)


@pytest.mark.parametrize("text", ["", "mm/a.c:9-7"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="not a position"):
        Place.parse(text)


LEFT: dict[int, Mutant] = {number: fault(number) for number in (3, 17)}
PATH = "mm/a.c"


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        (
            [f"harness_mutant-17/{PATH}:50:9: error: 'x' undeclared"],
            {17: "'x' undeclared"},
        ),
        (
            [
                "include/linux/x.h:5:2: error: invalid use of void expression",
                f"harness_mutant-3/{PATH}:50:9: note: in expansion of macro 'X'",
                f"harness_mutant-17/{PATH}:51:9: error: no such member",
            ],
            {3: "invalid use of void expression", 17: "no such member"},
        ),
        # One that is left out already, and what is no fault's.
        ([f"harness_mutant-5/{PATH}:1:1: error: gone", f"{PATH}:9:1: error: own"], {}),
    ],
)
def test_the_compiler_names_what_it_refuses(lines: list[str], wanted: dict[int, str]) -> None:
    assert named(lines, LEFT) == wanted
