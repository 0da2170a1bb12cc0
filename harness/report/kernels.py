# SPDX-License-Identifier: GPL-2.0-only
"""The results of a run, taken apart by kernel, for formats that show kernels side by side."""

from __future__ import annotations

from harness.judge.merge import split
from harness.model.results import Results


def by_kernel(results: Results) -> dict[str, Results]:
    """Return the results over each kernel, by its name; of the only one by that of its series.

    In each, tests have the names that they would have in a run with that kernel alone.
    """
    if results.kernels:
        return split(results)
    kernel = results.kernel
    return {kernel.series_name or kernel.series or kernel.release: results}
