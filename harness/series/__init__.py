# SPDX-License-Identifier: GPL-2.0-only
"""Patch series: reads them, checks that they are complete, and applies them to a kernel tree."""

from harness.series.apply import apply
from harness.series.model import AppliedPatch, OneMail, Patch, Series, Stack, Trailer, Tree
from harness.series.read import exists, name_of, read, read_mail
from harness.series.stack import read_stack
from harness.series.wanted import resolve

__all__ = [
    "AppliedPatch",
    "OneMail",
    "Patch",
    "Series",
    "Stack",
    "Trailer",
    "Tree",
    "apply",
    "exists",
    "name_of",
    "read",
    "read_mail",
    "read_stack",
    "resolve",
]
