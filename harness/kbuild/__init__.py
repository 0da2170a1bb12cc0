# SPDX-License-Identifier: GPL-2.0-only
"""From a tree and configuration fragments to a kernel with its headers."""

from harness.kbuild.fragments import Fragments, load, with_companion, with_suite
from harness.kbuild.kernel import Kernel, Slot, are_built, build, find, move, slot
from harness.kbuild.kernel import load as load_kernel
from harness.kbuild.toolchain import jobs

__all__ = [
    "Fragments",
    "Kernel",
    "Slot",
    "are_built",
    "build",
    "find",
    "jobs",
    "load",
    "load_kernel",
    "move",
    "slot",
    "with_companion",
    "with_suite",
]
