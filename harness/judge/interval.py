# SPDX-License-Identifier: GPL-2.0-only
"""Confidence intervals for figures with scatter."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any

FEWEST = 5
"""The number of attempts that each side needs for an interval."""
_CONFIDENCE = 0.95
_RESAMPLES = 4999


def available() -> bool:
    """Whether SciPy is installed, which intervals need: it is as large as all else together."""
    return importlib.util.find_spec("scipy") is not None


def interval(before: Sequence[float], after: Sequence[float]) -> tuple[float, float] | None:
    """Return between which values the median has changed, in per cent, with 95 % confidence.

    None where there are fewer than :data:`FEWEST` figures on a side, or no SciPy.  The same figures
    always give the same interval.
    """
    if min(len(before), len(after)) < FEWEST or not available():
        return None
    # They take as long to import as all of the harness.
    numpy, stats = (importlib.import_module(name) for name in ("numpy", "scipy.stats"))

    def change(first: Any, second: Any, axis: int = -1) -> Any:
        old, new = numpy.median(first, axis=axis), numpy.median(second, axis=axis)
        return 100 * (new - old) / old

    found = stats.bootstrap(
        (numpy.asarray(before), numpy.asarray(after)),
        change,
        method="percentile",
        confidence_level=_CONFIDENCE,
        n_resamples=_RESAMPLES,
        random_state=1,
    )
    low, high = found.confidence_interval
    return float(low), float(high)
