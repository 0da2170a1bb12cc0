# SPDX-License-Identifier: GPL-2.0-only
"""The kernels of a run: results by kernel for formats that show them side by side, and names."""

from __future__ import annotations

from harness.judge.merge import split
from harness.model.results import Kernel, Results
from harness.report.text import one_line


def by_kernel(results: Results) -> dict[str, Results]:
    """Return the results over each kernel, by its name; of the only one by that of its series.

    In each, tests have the names that they would have in a run with that kernel alone.
    """
    if results.kernels:
        return split(results)
    kernel = results.kernel
    return {kernel.series_name or kernel.series or kernel.release: results}


def subject(kernel: Kernel) -> list[tuple[str, str]]:
    """Return what was tested, in pairs of a word and a name: ``kernel``, ``with`` a series.

    The base of a series is without it, and of a series that was only checked there is no kernel.
    """
    found = [("kernel", one_line(kernel.release))] if kernel.release else []
    if kernel.series and (kernel.patches or not kernel.release):
        found.append(("with" if found else "series", one_line(kernel.series)))
    return found or [("source", one_line(kernel.source))]
