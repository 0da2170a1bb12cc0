# SPDX-License-Identifier: GPL-2.0-only
"""Names of the kernel's reports that are the same in every boot."""

from __future__ import annotations

from harness.klog.lines import bare, normalise
from harness.klog.model import Finding


def name_of(finding: Finding) -> str:
    """Return ``KIND: TITLE`` or ``KIND: TITLE in FUNCTION``, with N for each number and address.

    The function is left out if the title names it.  Offsets, CPUs, process IDs and source lines
    are not part of the name.
    """
    title = f"{finding.kind}: {normalise(finding.title)}"
    function = bare(finding.function)
    return title if not function or function in title else f"{title} in {function}"
