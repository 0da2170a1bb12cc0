# SPDX-License-Identifier: GPL-2.0-only
"""Sources of a kernel tree, and the work trees for it."""

from harness.source.model import FORMS, Source
from harness.source.resolve import resolve, resolve_first

__all__ = ["FORMS", "Source", "resolve", "resolve_first"]
