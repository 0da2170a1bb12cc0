# SPDX-License-Identifier: GPL-2.0-only
"""Intervals of figures that scatter, which need SciPy."""

from __future__ import annotations

import pytest

from harness.judge import interval
from tests.judge.test_variants import compared, figures, results, screen

pytestmark = pytest.mark.extra


def test_figures_that_scatter_have_an_interval_that_is_always_the_same() -> None:
    before = [100.0, 101, 99, 100, 102, 98, 100]
    after = [110.0, 111, 109, 110, 112, 108, 110]
    low, high = interval.interval(before, after) or (0, 0)
    assert 6 < low < 10 < high < 14
    assert interval.interval(before, after) == (low, high)
    _, figure = figures(compared(results(*before, exact=False), results(*after, exact=False)))
    assert figure is not None
    assert (figure.low, figure.high) == (low, high)
    assert f"{low:+.2f} to {high:+.2f}" in screen(
        compared(results(*before, exact=False), results(*after, exact=False))
    )
