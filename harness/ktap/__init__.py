# SPDX-License-Identifier: GPL-2.0-only
"""Read KTAP and TAP: no result is lost, and nothing malformed becomes a pass."""

from harness.ktap.builder import Finished
from harness.ktap.model import Case, Collection, Diagnostic, Kind, Report
from harness.ktap.parser import Parser, parse

__all__ = [
    "Case",
    "Collection",
    "Diagnostic",
    "Finished",
    "Kind",
    "Parser",
    "Report",
    "parse",
]
