# SPDX-License-Identifier: GPL-2.0-only
"""C selftests: finding, building against a kernel's own headers, packing."""

from harness.suites.build import build, build_all
from harness.suites.built import BrokenProgram, Program, Suite, barred, load
from harness.suites.find import SELFTESTS, SuiteSource, find, merge_duplicates, read_file

__all__ = [
    "SELFTESTS",
    "BrokenProgram",
    "Program",
    "Suite",
    "SuiteSource",
    "barred",
    "build",
    "build_all",
    "find",
    "load",
    "merge_duplicates",
    "read_file",
]
