# SPDX-License-Identifier: GPL-2.0-only
"""The time in which a guest could run; all time limits on guests are counted in it.

A guest that is not let run says nothing, and looks as if it hung.  That is so while the host's
processors do something else, while QEMU or the whole host is stopped, and while the laptop that all
this runs on is asleep.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from harness.model.events import STARVED_WITHIN_S

TICK_S = 0.25
"""Seconds between checks whether a guest could run."""
MUTE_LIMIT_S = 60.0
"""How long QEMU may be stopped, or not answer its monitor, before that is its end."""
_LEAST = 0.05
"""What always counts of the time, so that each limit comes to an end on the busiest host."""
_RUNS = 1e-3
"""A process that had less of its time than that did not run; an idle guest has three times that."""
_LONG_STOP_S = 15.0
_RECOVERY_S = 45.0
"""How long a guest may be silent after a long stop.  Where its clock is the HPET (32 bits, 10 ns),
it takes more than half of the counter's range, 21 s, for no time at all, and stands still with it
until the counter has come round, 43 s after the stop began."""
_REPAID = 1.1
_MOST_REPAID_S = 600.0
"""How long a guest may be silent for each second of a stop, and in all.  The agent is a real-time
process; where a stop finds it at work, its kernel takes the stop for processor time of the agent,
says "sched: RT throttling activated", and lets no such process run there until that is repaid with
950 ms of each second (``sched_rt_runtime_us``, ``Documentation/scheduler/sched-rt-group.rst``)."""
_PROC = Path("/proc")


class _Thread(NamedTuple):
    """What is known of a thread, in ns."""

    ran: int
    waited: int
    """How long it waited for a processor, up to when it last got one."""
    waiting: int = 0
    """How long it has been seen to wait since then."""
    ready: bool = False
    """Whether it waits now."""


class Starvation:
    """Watches the threads of the process *pid*, and the machine below them.

    The kernel counts for each thread how long it ran, and how long it was ready and waited for a
    processor (the first and second field of /proc/PID/task/TID/schedstat, in ns;
    ``Documentation/scheduler/sched-stats.rst``).  It adds a wait when that is over: one that goes
    on is seen by a thread that is ready and does not run.  Where the machine is a guest itself, its
    hypervisor may have run others meanwhile: ``steal`` in proc_stat(5), in clock ticks over all
    processors.
    """

    def __init__(self, pid: int, proc: Path = _PROC) -> None:
        self._tasks = proc / str(pid) / "task"
        self._stat = proc / "stat"
        self._then = time.monotonic()
        self._threads = self._count({}, 0)
        self._stolen = self._steal_s()
        self.ran_s = 0.0
        """Seconds on a processor, of all threads, between the last two calls."""
        self.lost_s = 0.0
        """Seconds that were not the process's, which were noticed between the last two calls."""

    def fraction(self) -> float:
        """Return the part of the time since the last call, 0 to 1, that was not the process's.

        It is that of the thread that waited most: the one that the others wait for.
        """
        now, stolen = time.monotonic(), self._steal_s()
        passed = max(now - self._then, 1e-6)
        before, threads = self._threads, self._count(self._threads, round(passed * 1e9))
        longest = max(
            (
                each.waited + each.waiting - before[name].waited - before[name].waiting
                for name, each in threads.items()
                if name in before
            ),
            default=0,
        )
        new = _Thread(0, 0)
        self.ran_s = sum(each.ran - before.get(name, new).ran for name, each in threads.items())
        self.ran_s /= 1e9
        self.lost_s = max(0.0, longest / 1e9 + (stolen - self._stolen))
        self._then, self._threads, self._stolen = now, threads, stolen
        return min(1.0, self.lost_s / passed)

    def _count(self, before: dict[str, _Thread], passed_ns: int) -> dict[str, _Thread]:
        """Return the threads by their numbers; *before* is what they were *passed_ns* ago."""
        found = {}
        try:
            for path in self._tasks.iterdir():
                ran, waited, *_ = map(int, (path / "schedstat").read_text().split())
                then, waiting, ready = before.get(path.name), 0, False
                if then and (ran, waited) == then[:2]:
                    ready = _state(path) == "R"
                    # One that was not ready before may have been woken just now.
                    waiting = then.waiting + passed_ns * (ready and then.ready)
                found[path.name] = _Thread(ran, waited, waiting, ready)
        except (OSError, ValueError):
            pass  # A thread that ended meanwhile, or a kernel that does not count.
        return found

    def _steal_s(self) -> float:
        """Seconds that the hypervisor gave to others, of each processor on average."""
        try:
            fields = self._stat.read_text().split("\n", 1)[0].split()
            return int(fields[8]) / os.sysconf("SC_CLK_TCK") / (os.cpu_count() or 1)
        except (OSError, ValueError, IndexError):
            return 0.0


def _state(path: Path) -> str:
    """Return the state of the process or thread of *path*, as proc_pid_stat(5) has it."""
    try:
        return (path / "stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def boottime_s() -> float:
    """Return the seconds since the host's boot, those in which it was suspended included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class GuestTime:
    """Counts the time in which the guest of the QEMU process *pid* could run.

    *answer* asks QEMU's monitor for a sign of life.
    """

    def __init__(
        self,
        pid: int,
        answer: Callable[[], Awaitable[object]] | None = None,
        clock: Callable[[], float] = boottime_s,
        proc: Path = _PROC,
    ) -> None:
        self._pid = pid
        self._proc = proc
        self._answer = answer
        self._asked: asyncio.Future[object] | None = None
        self._clock = clock
        self._then = clock()
        self._starvation: Starvation | None = None
        self.stood_still_s = 0.0
        """Seconds in which the guest did not run at all, and its clock may have run on."""
        self.unseen_s = 0.0
        """Seconds in which the caller did not run either, so that it is not known."""
        self.mute_s = 0.0
        """Seconds since QEMU was last seen to run; 0 while it runs."""
        self.starved_s = 0.0
        """The most seconds of any ``STARVED_WITHIN_S`` in which the guest waited for the host."""
        self._lost: deque[tuple[float, float]] = deque()

    def passed(self) -> float:
        """Return for how many of the seconds since the last call the guest could run.

        To be called every :data:`TICK_S`: a longer time is one in which the caller was stopped, and
        counts as two ticks.
        """
        now = self._clock()
        elapsed, self._then = max(0.0, now - self._then), now
        counted = min(elapsed, 2 * TICK_S)
        fraction, ran = 0.0, True
        mute = self._stopped() or bool(self._asked and not self._asked.done())
        # Most waits are shorter than a tick and need no check.
        if self._starvation is None:
            self._starvation = Starvation(self._pid, self._proc)
        else:
            fraction = self._starvation.fraction()
            ran = self._starvation.ran_s > elapsed * _RUNS
            self._lose(self._starvation.lost_s)
        if not ran:
            self.stood_still_s += elapsed if mute else elapsed - counted
        elif elapsed > counted:
            self.unseen_s += elapsed - counted
        if mute:
            self.mute_s += counted
            return counted if self.mute_s >= MUTE_LIMIT_S else 0.0
        self.mute_s = 0.0
        return counted * max(_LEAST, 1.0 - fraction)

    @property
    def recovery_s(self) -> float:
        """How long, in seconds, the guest may be silent after its stops, above its usual limit.

        A stop that the caller has slept through may have been one of the guest, too.
        """
        stopped_s = self.stood_still_s + self.unseen_s
        repaid_s = min(_REPAID * stopped_s, _MOST_REPAID_S)
        return repaid_s + (_RECOVERY_S if stopped_s >= _LONG_STOP_S else 0.0)

    @property
    def stuck(self) -> str:
        """The error of a QEMU that no longer runs; empty while it may run."""
        if self.mute_s < MUTE_LIMIT_S:
            return ""
        return f"QEMU neither runs nor answers its monitor, for {MUTE_LIMIT_S:g} s"

    async def tick(self, wait_s: float = TICK_S, *, in_doubt: bool = False) -> float:
        """Wait, and return for how many seconds meanwhile the guest could run.

        *in_doubt*: it gives no sign of life, so QEMU is asked for one.
        """
        if self._asked and self._asked.done():
            self._asked.exception()  # other code detects the end of QEMU
            self._asked = None
        if in_doubt and self._answer and not self._asked:
            self._asked = asyncio.ensure_future(self._answer())
        await asyncio.sleep(min(wait_s, TICK_S))
        return self.passed()

    async def close(self) -> None:
        """Stop waiting for an answer."""
        if self._asked:
            self._asked.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._asked

    def _lose(self, seconds: float) -> None:
        """Add what was lost since the last call to what was lost shortly before that."""
        self._lost.append((self._then, seconds))
        while self._lost[0][0] <= self._then - STARVED_WITHIN_S:
            self._lost.popleft()
        lost = min(STARVED_WITHIN_S, sum(each for _, each in self._lost))
        self.starved_s = max(self.starved_s, lost)

    def _stopped(self) -> bool:
        """Whether the process was stopped, with SIGSTOP or by its debugger."""
        return _state(self._proc / str(self._pid)) in ("T", "t")
