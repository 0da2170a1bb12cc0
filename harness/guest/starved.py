# SPDX-License-Identifier: GPL-2.0-only
"""How much of the time a process could not run, because the host's processors did something else.

A guest that is not let run says nothing, and looks as if it hung.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

_PROC = Path("/proc")


class Starvation:
    """Watches the threads of the process *pid*, and the machine below them.

    The kernel counts for each thread how long it was ready and waited for a processor (the second
    field of /proc/PID/task/TID/schedstat, in ns; ``Documentation/scheduler/sched-stats.rst``).
    Where the machine is a guest itself, its hypervisor may have run others meanwhile: ``steal`` in
    proc_stat(5), in clock ticks over all processors.
    """

    def __init__(self, pid: int, proc: Path = _PROC) -> None:
        self._tasks = proc / str(pid) / "task"
        self._stat = proc / "stat"
        self._then = time.monotonic()
        self._waited = self._waits()
        self._stolen = self._steal_s()

    def fraction(self) -> float:
        """Return the part of the time since the last call, 0 to 1, that was not the process's.

        It is that of the thread that waited most: the one that the others wait for.
        """
        now, waited, stolen = time.monotonic(), self._waits(), self._steal_s()
        passed = max(now - self._then, 1e-6)
        longest = max(
            (ns - self._waited[thread] for thread, ns in waited.items() if thread in self._waited),
            default=0,
        )
        lost = longest / 1e9 + (stolen - self._stolen)
        self._then, self._waited, self._stolen = now, waited, stolen
        return min(1.0, max(0.0, lost / passed))

    def _waits(self) -> dict[str, int]:
        waits = {}
        try:
            for thread in self._tasks.iterdir():
                waits[thread.name] = int((thread / "schedstat").read_text().split()[1])
        except (OSError, ValueError, IndexError):
            pass  # A thread that ended meanwhile, or a kernel that does not count.
        return waits

    def _steal_s(self) -> float:
        """Seconds that the hypervisor gave to others, of each processor on average."""
        try:
            fields = self._stat.read_text().split("\n", 1)[0].split()
            return int(fields[8]) / os.sysconf("SC_CLK_TCK") / (os.cpu_count() or 1)
        except (OSError, ValueError, IndexError):
            return 0.0
