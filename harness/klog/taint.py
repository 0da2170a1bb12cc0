# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's taint flags for complaints, and which report explains which flag.

The kernel sets a flag where it prints a report (Documentation/admin-guide/tainted-kernels.rst), so
a flag without its report in the log stands for an unknown complaint.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from harness.klog.model import Finding, Severity
from harness.klog.rules import FLOOD, LONELY_CUT

COMPLAINTS = {
    4: "M, machine check",
    5: "B, bad page",
    7: "D, oops",
    9: "W, warning",
    14: "L, soft lockup",
}
"""By bit number, the flags that the kernel sets together with a report."""

_KINDS = {
    4: frozenset({"mce"}),
    # mm/page_alloc.c, mm/memory.c, mm/slub.c, mm/kasan, mm/kfence, mm/kmsan: every check that finds
    # memory in an impossible state.
    5: frozenset({"bad-page", "slab", "kasan", "kfence", "kmsan"}),
    14: frozenset({"soft-lockup"}),
}
# kernel/panic.c: warn_slowpath_fmt(); kernel/sched/core.c: __schedule_bug(), __might_resched().
# Lockdep's "WARNING: possible ..." and similar lines are no WARN() and set no flag.
_WARN = re.compile(
    r"WARNING: (CPU: \d+ PID: \d+ at |[^\s:]+:\d+ at \S+, CPU#\d+: )"
    r"|BUG: (scheduling while atomic|sleeping function called from invalid context)"
)


def complaints(taint: int) -> tuple[str, ...]:
    """Return the names of the flags in *taint* that stand for a complaint."""
    return tuple(name for bit, name in COMPLAINTS.items() if taint >> bit & 1)


def unaccounted(taint: int, findings: Iterable[Finding]) -> tuple[str, ...]:
    """Return the names of the complaint flags of *taint* that no finding explains."""
    found = tuple(findings)
    return tuple(
        name
        for bit, name in COMPLAINTS.items()
        if taint >> bit & 1 and not any(_accounts(each, bit) for each in found)
    )


def _accounts(finding: Finding, bit: int) -> bool:
    """Return whether the kernel sets the flag *bit* with that report."""
    if finding.kind == FLOOD.kind:
        return True  # Reports beyond the limit can be of any kind, and no entry can allow them.
    if bit == 7:
        # die() sets it, also for BUG(); panic() alone does not.
        return finding.severity is Severity.CRASH and finding.kind != "panic"
    if bit == 9:
        return finding.kind == LONELY_CUT.kind or _WARN.match(finding.title) is not None
    return finding.kind in _KINDS[bit]
