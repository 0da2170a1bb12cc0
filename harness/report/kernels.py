# SPDX-License-Identifier: GPL-2.0-only
"""The results of a run, taken apart by kernel, for formats that show kernels side by side."""

from __future__ import annotations

from msgspec.structs import replace

from harness.model.ids import ONLY, KernelName
from harness.model.results import BootReport, Results, Test


def by_kernel(results: Results) -> dict[str, Results]:
    """Return the results over each kernel, by its name; of the only one by that of its series.

    In each, tests have the names that they would have in a run with that kernel alone.
    """
    if not results.kernels:
        kernel = results.kernel
        return {kernel.series_name or kernel.series or kernel.release: results}
    return {
        name: replace(
            results,
            kernel=kernel,
            kernels={},
            tests=tuple(_alone(test) for test in results.tests if test.kernel == name),
            at_boot=tuple(
                replace(boot, suites=mine)
                for boot in results.at_boot
                if (mine := _suites(boot, name))
            ),
        )
        for name, kernel in results.kernels.items()
    }


def _alone(test: Test) -> Test:
    def without(text: str) -> str:
        return _without(text, test.kernel)

    return replace(
        test,
        kernel=ONLY,
        name=without(test.name),
        suite=without(test.suite),
        cases=tuple(replace(case, name=without(case.name)) for case in test.cases),
    )


def _suites(boot: BootReport, kernel: KernelName) -> tuple[str, ...]:
    """Return the suites of *kernel* whose guests booted so."""
    head = f"{kernel}@"
    return tuple(_without(suite, kernel) for suite in boot.suites if suite.startswith(head))


def _without(text: str, kernel: KernelName) -> str:
    return text.removeprefix(f"{kernel}@")
