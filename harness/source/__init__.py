# SPDX-License-Identifier: GPL-2.0-only
"""Where a kernel tree comes from, and the work trees that hold one."""

from harness.source.model import FORMS, Source
from harness.source.resolve import resolve, resolve_first

__all__ = ["FORMS", "Source", "resolve", "resolve_first"]
