# SPDX-License-Identifier: GPL-2.0-only
"""Convert a test's events into the journal's record of it, in constant memory."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Literal

from harness import klog, ktap
from harness.model.events import (
    Event,
    Exit,
    Final,
    GuestDied,
    Heartbeat,
    How,
    KernelLog,
    Left,
    NotStarted,
    Stderr,
    Stdout,
)
from harness.model.metrics import Metric, Reader
from harness.model.records import Ending

LOG_HEAD = 32 << 20
"""Bytes of a log that are kept from its beginning."""
LOG_TAIL = 1 << 20
"""Bytes that are kept from the end of a longer one."""
_OUTPUT_TAIL = 16 << 10
_SILENT_BEATS = 3
"""Heartbeats, one a second, for which a test may print nothing after its kernel has crashed.

A task killed by an oops keeps its locks, and others may block on them until the time limit.  A test
that still prints has its full time.
"""
_LAST_WORDS_S = 3.0
"""Seconds that a test gets to end by itself after its time limit, before it is cut off."""

_FAILED = b"FAULT_INJECTION: forcing a failure"
"""What the kernel says, in a line of its own, of a call that it makes fail, unless it is one that
fails in silence (__GFP_NOWARN)."""


class CappedLog:
    """A log file that keeps the beginning and the end of what may be gigabytes."""

    def __init__(self, path: Path, head: int = LOG_HEAD, tail: int = LOG_TAIL) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb")
        self._room = head
        self._limit = tail
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self._left_out = 0

    def write(self, data: bytes) -> None:
        """Append *data*; raises OSError when the disk is full."""
        head, rest = data[: self._room], data[self._room :]
        self._file.write(head)
        self._room -= len(head)
        if not rest:
            return
        self._tail.append(rest)
        self._tail_size += len(rest)
        while self._tail_size - len(self._tail[0]) >= self._limit:
            gone = len(self._tail.popleft())
            self._tail_size -= gone
            self._left_out += gone

    def close(self) -> None:
        """Write the end, after a line with the number of missing bytes."""
        end = b"".join(self._tail)
        # The first part of it may be longer than what is kept; other machines rely on the limit.
        surplus = max(0, len(end) - self._limit)
        left_out = self._left_out + surplus
        with self._file as file:
            if left_out:
                file.write(b"\n[harness: %d bytes left out here]\n" % left_out)
            file.write(end[surplus:])

    def __enter__(self) -> CappedLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Observer:
    """Listens to one test: its output as KTAP, the kernel log for complaints, and its end.

    *patient*: the test may crash its kernel on purpose, so a crash does not cut it short.  With
    *cut_off_s* it has ended when it has run for so many seconds of guest time, and
    :data:`_LAST_WORDS_S` more, whatever of it is left.
    """

    def __init__(
        self,
        output: CappedLog,
        kernel: CappedLog,
        *,
        patient: bool = False,
        cut_off_s: float | None = None,
    ) -> None:
        self._output_log = output
        self._kernel_log = kernel
        self._parser = ktap.Parser()
        self._scanner = klog.Scanner()
        self._metrics = Reader()
        self._usage: tuple[Metric, ...] = ()
        self._tail = b""
        self._patient = patient
        self._cut_off_s = cut_off_s
        self._first_beat: float | None = None
        self._silent_beats = 0
        self.ending: Ending | None = None
        self.guest_s: float | None = None
        self.fault_hit: bool | None = None
        """Whether the call that was selected to fail has failed; None if unknown."""
        self.left = b""
        """The agent's report of objects that the test has left in the kernel's memory."""

    def hear(self, event: Event) -> None:
        """Process one event of the guest."""
        match event:
            case Stdout(data) | Stderr(data):
                self._silent_beats = 0
                self._output_log.write(data)
                self._parser.feed(data)
                self._metrics.feed(data)
                self._tail = (self._tail + data)[-_OUTPUT_TAIL:]
            case KernelLog(data):
                self._kernel_log.write(data)
                self._scanner.feed(data)
                if _FAILED in data:
                    self.fault_hit = True
            case Left(data):
                self.left += data
            case Heartbeat(monotonic_s):
                self._beat()
                self._look_at_time(monotonic_s)
            case Exit() | NotStarted() | GuestDied():
                self.ending = ending_of(event)
                if isinstance(event, Exit):
                    self.guest_s = event.wall_s
                    self._usage = _usage(event)
                    if event.faults_left is not None:
                        self.fault_hit = not event.faults_left

    def _beat(self) -> None:
        """End the test, as far as this listener is concerned, if a crash has silenced it."""
        if self._patient or not self._crashed():
            return
        self._silent_beats += 1
        if self._silent_beats >= _SILENT_BEATS:
            why = f"its kernel had crashed, and it printed nothing more for {_SILENT_BEATS} s"
            self.ending = ending_of(GuestDied(How.CRASHED, why))

    def _look_at_time(self, monotonic_s: float) -> None:
        """End the test where it should have ended long ago; the first beat comes as it starts."""
        if self._first_beat is None:
            self._first_beat = monotonic_s
        passed = monotonic_s - self._first_beat
        limit_s = self._cut_off_s
        if self.ending is None and limit_s is not None and passed >= limit_s + _LAST_WORDS_S:
            why = f"its time was up after {limit_s:.1f} s in the guest, and it did not end"
            self.ending = Ending(how="timeout", detail=why)

    def _crashed(self) -> bool:
        return self._scanner.severity() is klog.Severity.CRASH

    def close(self) -> tuple[ktap.Report, tuple[klog.Finding, ...], str]:
        """Return the test's report, the kernel's complaints, and the end of the output."""
        text = self._tail.decode(errors="replace")
        return self._parser.close(), self._scanner.close(), text

    def metrics(self) -> tuple[tuple[Metric, ...], tuple[str, ...]]:
        """Return the test's figures, and those that could not be read, after its end."""
        printed, faults = self._metrics.close()
        return (*printed, *self._usage), faults


def _usage(end: Exit) -> tuple[Metric, ...]:
    """Return the kernel's figures for the program and the children that it waited for."""
    times = {"user_time": end.utime_s, "system_time": end.stime_s, "wall_time": end.wall_s}
    return (
        *(
            Metric(name=name, value=value, unit="s", better="less", by="agent")
            for name, value in times.items()
        ),
        Metric(name="peak_memory", value=end.maxrss_kib, unit="KiB", better="less", by="agent"),
    )


def ending_of(event: Final) -> Ending:
    """Return a test's last *event* as the journal has it."""
    match event:
        case NotStarted(detail=detail):
            return Ending(how="not-started", detail=detail)
        case GuestDied() as death:
            return Ending(
                how="died",
                death=death.how,
                detail=death.detail,
                stood_still_s=death.stood_still_s,
                starved_s=death.starved_s,
            )
        case Exit() as end:
            kind: Literal["timeout", "signal", "exit"] = "exit"
            status, detail = end.status, ""
            if end.timed_out:
                kind, detail = "timeout", f"its time was up after {end.wall_s:.1f} s in the guest"
            elif end.signal is not None:
                kind, status = "signal", end.signal
            return Ending(
                how=kind,
                status=status,
                detail=detail,
                log_complete=end.log_complete,
                taint=end.taint,
                restless=end.restless,
                stood_still_s=end.stood_still_s,
                starved_s=end.starved_s,
            )
