# SPDX-License-Identifier: GPL-2.0-only
"""Schedules: how they are written, and what a seed stands for."""

from __future__ import annotations

import itertools

import pytest

from harness.errors import UserError
from harness.model.races import (
    MOST_POINTS,
    Preemption,
    Profile,
    RaceSpec,
    Schedule,
    Span,
    parse,
    parse_name,
    profiled,
    seeded,
    written,
)

pytestmark = pytest.mark.unit

SPANS = (Span(1_000, 2_000), Span(50_000, 51_000))
PROFILE = Profile(SPANS, (1_500,))


def test_a_schedule_is_read_as_it_is_written() -> None:
    points = (Preemption(0, 1), Preemption(1_204_512, 20_000))
    assert written(points) == "0+1,1204512+20000"
    assert parse(written(points)) == points
    assert parse("17") == 17


@pytest.mark.parametrize(
    "text",
    [
        "", "0", "-1", "017", "1.5", "seventeen", "1+", "+1", "1+2,", ",1+2", "1+2 3+4", "5+1,4+1",
        "1+0", "1+-2", "1e3+4", f"{2**51}+1", f"1+{2**51}", str(2**63), "1+2;3+4", "٣", "1+٣",
        ",".join(f"{at}+1" for at in range(MOST_POINTS + 1)),
    ],
)  # fmt: skip
def test_what_is_no_schedule_is_refused_with_what_one_is(text: str) -> None:
    with pytest.raises(UserError, match="schedule"):
        parse(text)


@pytest.mark.parametrize("seed", range(1, 200))
def test_the_points_of_a_seed_are_where_a_thread_can_be_preempted(seed: int) -> None:
    points = seeded(seed, PROFILE)
    assert points == seeded(seed, PROFILE)
    assert points == parse(written(points))
    for each in points:
        inside = any(span.start <= each.at < span.end for span in SPANS)
        assert inside or 1_500 < each.at <= 1_500 + 512
        assert 1024 <= each.length <= 2048


def test_seeds_differ_and_reach_every_part() -> None:
    schedules = [seeded(seed, PROFILE) for seed in range(1, 201)]
    assert len(set(schedules)) == 200
    assert {len(each) for each in schedules} >= {1, 2}
    every = [each.at for points in schedules for each in points]
    assert min(every) < 1_100
    assert max(every) > 50_900
    behind = [at for at in every if 1_500 < at <= 1_512]
    assert len(behind) > len(every) / 10


def test_half_of_the_threads_that_begin_stand_back_at_once() -> None:
    late = 0
    for seed in range(1, 201):
        points = seeded(seed, Profile(SPANS, (), (70_000,)))
        late += any(70_000 < each.at <= 70_064 for each in points)
    assert 70 < late < 130


def test_the_first_points_of_seeds_in_a_row_are_everywhere() -> None:
    profile = Profile((Span(0, 100_000),))
    single = [points[0].at for seed in range(1, 400) if len(points := seeded(seed, profile)) == 1]
    assert len(single) > 30
    assert {at // 20_000 for at in single} == set(range(5))


def test_a_seed_means_the_same_in_each_version() -> None:
    # What a person has written down has to show the failure again.
    profile = Profile((Span(1_000, 2_000), Span(50_000, 90_000)), (1_500,), (1_300,))
    expected = "1360+8078,1506+1430,56571+10463,81733+8944,82195+1195"
    assert written(seeded(11, profile)) == expected


def test_before_there_are_two_threads_and_behind_the_last_but_one_nothing_races() -> None:
    ran = [(0, 100, 1), (100, 200, 2), (250, 300, 1), (300, 310, 2), (400, 900, 1)]
    found = profiled(ran, [50, 205, 305, 500])
    assert found == Profile((Span(0, 200), Span(250, 310)), (50, 305), (100,))
    assert found.length == 260
    alone = profiled([(0, 10, 1), (20, 30, 1)], [])
    assert alone == Profile((Span(0, 10), Span(20, 30)))
    assert profiled([], [5]) == Profile()


def test_many_parts_become_one_that_are_close_together() -> None:
    ran = [(at * 10, at * 10 + 5, at % 2) for at in range(10_000)]
    found = profiled(ran, []).spans
    assert len(found) <= 1000
    assert found[0].start == 0
    assert all(a.end < b.start for a, b in itertools.pairwise(found))


def test_of_times_those_within_the_parts_are_kept() -> None:
    many = profiled([(0, 1_000_000, 1)], range(2_000_000)).unlocks
    assert 4_000 <= len(many) <= 8_000
    assert many[-1] > 990_000


def test_each_schedule_has_a_name_of_its_own() -> None:
    names = [
        Schedule(test="s:p").name,
        Schedule(test="s:p", seed=17, points=(Preemption(1, 2),)).name,
        Schedule(test="s:p", points=(Preemption(1, 2), Preemption(3, 4))).name,
    ]
    assert names == ["s:p@control", "s:p@seed#17", "s:p@1+2,3+4"]
    found = [parse_name(each) for each in names]
    assert found == [("s:p", ""), ("s:p", "17"), ("s:p", "1+2,3+4")]
    assert parse_name("s:p") is None
    assert parse_name("s@seed:p") is None


def test_seeds_count_from_the_first() -> None:
    assert list(RaceSpec(count=3).seeds) == [1, 2, 3]
    assert list(RaceSpec(count=2, first=7).seeds) == [7, 8]
    assert not RaceSpec(points=(Preemption(1, 2),)).seeds
