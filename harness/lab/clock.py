# SPDX-License-Identifier: GPL-2.0-only
"""Whether the clock of another machine can be right: times in records and of files need that."""

from __future__ import annotations

import time

from harness.errors import MachineError

_MOST_S = 24 * 3600.0
"""How far the clock of a host may be off."""


def check_clock(there: float, where: str) -> None:
    """Raise MachineError if *there*, seconds since the epoch on the host *where*, is days off."""
    off = there - time.time()
    if abs(off) > _MOST_S:
        raise MachineError(
            "the clock of the host is wrong",
            where=where,
            why=f"it is {abs(off) / _MOST_S:.0f} days {'ahead' if off > 0 else 'behind'}",
            hint="set it there, such as with timedatectl set-ntp true",
        )
