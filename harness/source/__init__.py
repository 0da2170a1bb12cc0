# SPDX-License-Identifier: GPL-2.0-only
"""Where a kernel tree comes from, and the work trees that hold one."""

from harness.source.model import FORMS, Source
from harness.source.resolve import resolve

__all__ = ["FORMS", "Source", "resolve"]
