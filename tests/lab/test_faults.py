# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel is told to make fail, and what the agent says that a test has left."""

from __future__ import annotations

import errno

import pytest

from harness.lab.faults import parse_left, settings_of
from harness.model.faults import Fault, Survivor

pytestmark = pytest.mark.unit

LEFT = b"""cache kmalloc-64 3
      1 planted_open+0x20/0x80 age=12 pid=71 cpus=0
        __kmem_cache_alloc_node+0x1/0x2
        planted_open+0x20/0x80
      2 planted_open+0x20/0x80 age=9/10/11 pid=70-71 cpus=0-1
        __kmem_cache_alloc_node+0x1/0x2
        planted_open+0x20/0x80
cache filp 1
whole
"""


def test_the_number_is_the_interval_and_one_call_fails() -> None:
    faults = settings_of(Fault(test="s:p", sweep="slab", nth=17))
    settings = dict(faults.settings)
    assert settings["failslab/interval"] == "17"
    assert settings["failslab/times"] == "1"
    assert settings["failslab/task-filter"] == "Y"
    assert settings["failslab/ignore-gfp-wait"] == "N"
    assert faults.counter == "failslab/times"


def test_a_function_fails_with_the_error_that_is_asked_for() -> None:
    faults = settings_of(Fault(test="s:p", sweep="open_it=ENOSPC", nth=2))
    assert faults.settings[:2] == (
        ("fail_function/inject", "open_it"),
        ("fail_function/open_it/retval", f"{2**64 - errno.ENOSPC:#x}"),
    )
    assert faults.counter == "fail_function/times"


def test_the_control_is_set_up_alike_and_fails_nothing() -> None:
    control = dict(settings_of(Fault(test="s:p")).settings)
    point = dict(settings_of(Fault(test="s:p", sweep="slab", nth=1)).settings)
    differs = {name for name in point if point[name] != control[name]}
    assert differs == {"failslab/interval"}
    assert int(control["failslab/interval"]) > 10**9


@pytest.mark.parametrize("sweep", ["slab", "page", "open_it", "open_it=ENOSPC"])
def test_no_point_opens_more_files_of_debugfs_than_the_control(sweep: str) -> None:
    """The kernel keeps an object for each, which would be taken for a leak of the test."""
    control = settings_of(Fault(test="s:p")).settings
    point = settings_of(Fault(test="s:p", sweep=sweep, nth=1)).settings
    assert len(dict(point)) <= len(dict(control))


def test_objects_are_counted_by_cache_and_stack() -> None:
    where = "__kmem_cache_alloc_node+0x1/0x2\nplanted_open+0x20/0x80"
    assert parse_left(LEFT) == (Survivor(cache="kmalloc-64", count=3, where=where),)


def test_no_word_is_not_nothing_left() -> None:
    assert parse_left(b"") is None
    assert parse_left(b"whole\n") == ()
    # Cut off, or a file of the kernel could not be read.
    assert parse_left(LEFT.removesuffix(b"whole\n")) is None
