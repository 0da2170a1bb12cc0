# SPDX-License-Identifier: GPL-2.0-only
"""What the scanner says: findings, as plain values that JSON can carry."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from harness.outcome import Outcome


class Severity(StrEnum):
    """How bad a finding is for the test whose guest printed it."""

    CRASH = "crash"
    """The kernel oopsed, hit a BUG() or panicked: nothing after it can be trusted."""
    SPLAT = "splat"
    """The kernel complained about itself and went on."""
    NOTE = "note"
    """Worth telling beside the result; no fault of the kernel by itself."""

    @property
    def rank(self) -> int:
        """Position in the order note, splat, crash; of several severities the highest counts."""
        return (Severity.NOTE, Severity.SPLAT, Severity.CRASH).index(self)

    @property
    def outcome(self) -> Outcome | None:
        """The outcome it forces on a test that says pass; a note forces none."""
        return {Severity.CRASH: Outcome.CRASH, Severity.SPLAT: Outcome.SPLAT}.get(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """One report of the kernel about itself, all of it, and how often it came.

    Repetitions (same fingerprint, same title up to numbers) are counted in ``count``; text, line
    and time stamp are those of the first.
    """

    kind: str
    """A kind of :data:`harness.klog.rules.KINDS`."""
    severity: Severity
    title: str
    """The line that names the fault, without printk prefix, as printed."""
    message: str
    """What WARN() or a check printed between the cut line and the title; often empty."""
    location: str
    """``file:line`` as the kernel printed it, else ``function+offset``, else empty."""
    function: str
    """The function that the title, RIP (x86) or pc (arm64) names, else empty."""
    tainted: str
    """Taint flags that the report shows (``G    B   W``), empty when it shows none."""
    report: str
    """Banner or title to the end, console lines as they came; the middle of a huge one is cut."""
    fingerprint: str
    """16 hex digits, the same for the same fault in another run, on another CPU or kernel build."""
    rule: str
    """Identifier of the rule that found it."""
    line: int
    """Line of the console, from 1, on which the title stands."""
    timestamp: float | None
    """printk time of that line in seconds since boot; None without PRINTK_TIME."""
    count: int = 1
    truncated: bool = False
    """The report's end never came: cut off, or lost in a flood."""
    interleaved: bool = False
    """Another report began before this one ended; the text may hold lines of both."""
