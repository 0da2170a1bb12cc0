# SPDX-License-Identifier: GPL-2.0-only
"""The results of the scanner: findings, as plain values that JSON can represent."""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec

from harness.outcome import Outcome


class Severity(StrEnum):
    """How bad a finding is for the test whose guest printed it."""

    CRASH = "crash"
    """The kernel oopsed, hit a BUG() or panicked: nothing after it can be trusted."""
    SPLAT = "splat"
    """The kernel reported a fault of its own and continued."""
    NOTE = "note"
    """Information for the report; by itself no fault of the kernel."""

    @property
    def rank(self) -> int:
        """Position in the order note, splat, crash; of several severities the highest counts."""
        return (Severity.NOTE, Severity.SPLAT, Severity.CRASH).index(self)

    @property
    def outcome(self) -> Outcome | None:
        """The outcome of a test that reports pass; None for a note."""
        return {Severity.CRASH: Outcome.CRASH, Severity.SPLAT: Outcome.SPLAT}.get(self)


_OF_TIME = frozenset({"rcu-stall", "soft-lockup", "hard-lockup", "hung-task", "workqueue-lockup"})
_PANIC_OF_TIME = re.compile(r"(?i)softlockup|hard lockup|hung_task|RCU Stall")


class Finding(msgspec.Struct, frozen=True):
    """One complete report of the kernel, and how often it appeared.

    Repetitions (same fingerprint, same title up to numbers) are counted in ``count``; text, line
    and time stamp are those of the first one.
    """

    kind: str
    """A kind of :data:`harness.klog.rules.KINDS`."""
    severity: Severity
    title: str
    """The line that names the fault, without printk prefix, as printed."""
    message: str
    """The text that WARN() or a check printed between the cut line and the title; often empty."""
    location: str
    """``file:line`` as the kernel printed it, else ``function+offset``, else empty."""
    function: str
    """The function that the title, RIP (x86) or pc (arm64) names, else empty."""
    tainted: str
    """Taint flags in the report (``G    B   W``); empty if it has none."""
    report: str
    """Console lines from banner or title to the end; the middle of a very long one is cut."""
    fingerprint: str
    """16 hex digits, the same for the same fault in another run, on another CPU or kernel build."""
    rule: str
    """Identifier of the rule that found it."""
    line: int
    """Console line of the title, from 1."""
    timestamp: float | None
    """printk time of that line in seconds since boot; None without PRINTK_TIME."""
    count: int = 1
    truncated: bool = False
    """The end of the report is missing: cut off, or lost in a flood."""
    interleaved: bool = False
    """Another report began before this one ended; the text may contain lines of both."""

    @property
    def of_time(self) -> bool:
        """Whether it says only that something took too long: a guest that could not run does so."""
        return self.kind in _OF_TIME or (
            self.kind == "panic" and _PANIC_OF_TIME.search(self.title) is not None
        )
