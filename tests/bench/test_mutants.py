# SPDX-License-Identifier: GPL-2.0-only
"""The part of ``make bench`` about planted faults: what is held against what."""

from __future__ import annotations

import pytest

from harness.model.mutants import MutantResult, Mutants, Status
from tools.bench import mutants
from tools.bench.figures import Figure

pytestmark = pytest.mark.unit


def found(seconds: float, *statuses: Status, build_s: float | None = None) -> Mutants:
    """Return faults that ended so, and what their tests took in all."""
    made = tuple(
        MutantResult(
            name=f"a.c:f: {number}",
            patch=1,
            path="a.c",
            line=number,
            last_line=number,
            operator="constant",
            before="0",
            after="1",
            status=status,
        )
        for number, status in enumerate(statuses, 1)
    )
    return Mutants(mutants=made, build_s=build_s, tests_s=seconds)


def held(together: Mutants, alone: Mutants) -> tuple[Figure, Figure, Figure]:
    rate, gain, other = mutants.compare(together, alone)
    return rate, gain, other


def test_all_that_a_way_takes_counts_but_faults_without_a_test() -> None:
    ends = (Status.KILLED, Status.SURVIVED, Status.UNCOVERED, Status.EQUIVALENT)
    rate, gain, other = held(found(4.0, *ends, build_s=6.0), found(50.0, *ends))
    assert (rate.value, rate.reached) == (30.0, True)
    assert (gain.value, gain.reached) == (5.0, True)
    assert (other.value, other.reached) == (0, True)
    rate, gain, _ = held(found(4.1, *ends, build_s=6.0), found(50.0, *ends))
    assert (rate.reached, gain.reached) == (False, False)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (Status.KILLED, Status.TIMEOUT, True),
        (Status.KILLED, Status.SURVIVED, False),
        (Status.SURVIVED, Status.KILLED, False),
        (Status.ERROR, Status.ERROR, False),
        (Status.KILLED, Status.UNCOVERED, False),
    ],
)
def test_a_fault_that_ends_otherwise_is_named(first: Status, second: Status, same: bool) -> None:
    """One that is noticed by a limit of time in one way is noticed in both."""
    *_, other = held(found(1.0, first), found(9.0, second))
    assert (other.value == 0) is same
    assert ("a.c:f: 1" in other.note) is not same


def test_nothing_tried_is_no_agreement() -> None:
    *_, other = held(found(1.0, Status.UNCOVERED), found(9.0, Status.UNCOVERED))
    assert not other.reached


def test_what_only_a_kernel_of_its_own_can_have_is_not_compared() -> None:
    """Neither its verdict nor its time: the other way leaves it out."""
    together = found(4.0, Status.KILLED, Status.SURVIVED, build_s=1.0)
    alone = found(60.0, Status.KILLED, Status.SURVIVED, Status.KILLED, Status.SURVIVED)
    _, gain, other = held(together, alone)
    assert (other.value, other.reached) == (0, True)
    assert other.note == "2 that need a kernel each left out"
    assert gain.value == 30.0 / 5.0


def test_what_only_the_first_way_has_tried_is_named() -> None:
    *_, other = held(found(1.0, Status.KILLED, Status.KILLED), found(9.0, Status.KILLED))
    assert (other.value, other.reached) == (1, False)
    assert "a.c:f: 2" in other.note
