# SPDX-License-Identifier: GPL-2.0-only
"""The number of guests that a machine can run at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from harness.model.spec import GuestTable

_QEMU_MIB = 100
"""Memory of QEMU besides the guest's, measured with its translated code under TCG."""
_RESERVE_MIB = 512
"""Memory that is left for other programs."""
_CGROUP = Path("/sys/fs/cgroup")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def jobs(guests: Iterable[GuestTable], free_mib: int | None = None, cpus: int | None = None) -> int:
    """Return how many of *guests* can run at a time; at least 1.

    As many as there are processors for this process, if the memory suffices for the largest.  A
    restored guest shares what it does not write with others, but it may write all of it.
    *free_mib* and *cpus* are those of another machine.
    """
    largest = max((guest.memory_mib for guest in guests), default=0) + _QEMU_MIB
    free = available_mib() if free_mib is None else free_mib
    count = len(os.sched_getaffinity(0)) if cpus is None else cpus
    return max(1, min(count, (free - _RESERVE_MIB) // largest))


def machine() -> str:
    """Return what this machine has in common with no other one, until it boots again.

    Containers of one machine have it in common.  Empty where the machine does not say.
    """
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def available_mib(proc: Path = Path("/proc"), cgroup: Path = _CGROUP) -> int:
    """Return the memory in MiB that new processes can have without swapping.

    That is MemAvailable of proc_meminfo(5), or what the control group leaves if that is less.
    """
    fields = dict(
        line.split(":", 1) for line in (proc / "meminfo").read_text().splitlines() if ":" in line
    )
    free = int(fields["MemAvailable"].split()[0]) // 1024
    try:
        limit = (cgroup / "memory.max").read_text().strip()
        used = int((cgroup / "memory.current").read_text())
        return free if limit == "max" else min(free, (int(limit) - used) >> 20)
    except (OSError, ValueError):
        return free
