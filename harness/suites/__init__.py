# SPDX-License-Identifier: GPL-2.0-only
"""C selftests: finding, building against a kernel's own headers, packing."""

from harness.suites.build import BrokenProgram, Program, Suite, build, load
from harness.suites.find import SuiteSource, find

__all__ = ["BrokenProgram", "Program", "Suite", "SuiteSource", "build", "find", "load"]
