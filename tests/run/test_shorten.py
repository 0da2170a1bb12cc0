# SPDX-License-Identifier: GPL-2.0-only
"""What is left of a schedule that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.model.races import Points, Preemption
from harness.run.shorten import shortest

pytestmark = pytest.mark.unit


def points(count: int) -> Points:
    return tuple(Preemption(at, 1) for at in range(count))


def shorten(count: int, needed: Collection[int]) -> tuple[list[int], int]:
    """Return what is left of *count* points of which those *needed* fail, and the tries."""
    tries = 0

    async def fails(tried: Points) -> bool:
        nonlocal tries
        tries += 1
        return set(needed) <= {each.at for each in tried}

    left = asyncio.run(shortest(points(count), fails))
    return [each.at for each in left], tries


@pytest.mark.parametrize("count", [1, 2, 3, 16])
def test_the_only_point_that_matters_is_left(count: int) -> None:
    for matters in range(count):
        left, tries = shorten(count, {matters})
        assert left == [matters]
        assert tries <= 6


@given(st.sets(st.integers(0, 15), min_size=1, max_size=16))
def test_no_point_is_left_that_is_not_needed(needed: set[int]) -> None:
    left, _ = shorten(16, needed)
    assert left == sorted(needed)


def test_where_the_prefix_rule_does_not_hold_it_still_fails() -> None:
    # A later point can undo what an earlier one has done.
    async def fails(tried: Points) -> bool:
        at = {each.at for each in tried}
        return {2, 6} <= at or at == {2, 3}

    left = asyncio.run(shortest(points(8), fails))
    assert asyncio.run(fails(left))
