# SPDX-License-Identifier: GPL-2.0-only
"""Counting instructions as part of a run."""

from __future__ import annotations

from pathlib import Path

from harness.context import Context
from harness.kbuild.symbols import functions
from harness.lab import cost
from harness.lab.cost import CostProbe
from harness.run.prepare import Built


def watch(built: Built, directory: Path, context: Context) -> CostProbe:
    """Return the counter of instructions of tests on the kernel that is *built*.

    What is seen goes into the run's *directory*.  Raises MachineError where a tool fails.
    """
    selected = built.selected
    vmlinux = built.kernel.vmlinux
    return cost.start(
        directory,
        selected.name,
        functions(vmlinux, selected.place.sandbox(readable=(vmlinux,))),
        context,
        functions=selected.request.functions,
    )
