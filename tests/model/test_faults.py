# SPDX-License-Identifier: GPL-2.0-only
"""Points have names that can be read back, and what is left is held against what is usual."""

from __future__ import annotations

import pytest

from harness.model.faults import Fault, Survivor, beyond, most, parse_point

pytestmark = pytest.mark.unit

A = Survivor(cache="kmalloc-64", count=1, where="a+0x1/0x2")
B = Survivor(cache="kmalloc-64", count=2, where="b+0x1/0x2")


@pytest.mark.parametrize(
    "fault",
    [
        Fault(test="memfd:memfd_test", sweep="slab", nth=17),
        Fault(test="kernel%3Akvm:x86_64/a@b", sweep="page", nth=1),
        Fault(test="s:p", sweep="__filemap_add_folio=ENOSPC", nth=3),
        Fault(test="s:p@slab#1", sweep="slab", nth=2),
        Fault(test="s:p"),
    ],
)
def test_a_name_is_read_back(fault: Fault) -> None:
    assert parse_point(fault.name) == fault


@pytest.mark.parametrize(
    "name", ["s:p", "s:p@slab", "s:p@slab#0", "s:p@slab#x", "@slab#1", "s:p@#1"]
)
def test_other_names_are_no_points(name: str) -> None:
    assert parse_point(name) is None


def test_only_what_goes_beyond_the_usual_counts() -> None:
    more = Survivor(cache="kmalloc-64", count=5, where=B.where)
    assert beyond((A, more), (B,)) == (A, Survivor(cache=B.cache, count=3, where=B.where))
    assert beyond((A,), (A,)) == ()


def test_the_most_of_several_runs_is_usual() -> None:
    fewer = Survivor(cache=B.cache, count=1, where=B.where)
    assert set(most([(A, fewer), (B,)])) == {A, B}
