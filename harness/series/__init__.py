# SPDX-License-Identifier: GPL-2.0-only
"""A patch series: reading it, judging that it is whole, and applying it to a kernel tree."""

from harness.series.apply import apply
from harness.series.model import AppliedPatch, Patch, Series, Tree
from harness.series.read import read

__all__ = ["AppliedPatch", "Patch", "Series", "Tree", "apply", "read"]
