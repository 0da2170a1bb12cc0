# SPDX-License-Identifier: GPL-2.0-only
"""What a journal holds: facts in the order in which they became known.

A record says what was observed, never what it means; ``harness.judge.verdict`` decides that, so a
better verdict can be had later from an old journal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from harness.klog import Finding
from harness.ktap import Report
from harness.model.events import How
from harness.model.plan import PlannedTest
from harness.model.results import Kernel, Logs, Machine
from harness.model.spec import GuestTable, Trust


class Requested(msgspec.Struct, frozen=True, kw_only=True, tag="requested"):
    """What the user asked for; the first record, so that the run can be taken up again."""

    command: tuple[str, ...]
    time: str = ""
    """When that was; journals before this field do not say."""
    working_dir: str
    project_file: str
    source: str | None = None
    series: tuple[str, ...] = ()
    upto: int | None = None
    series_version: int | None = None
    config: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()
    expression: str = ""
    guest: str = ""
    trust: Trust | None = None
    repeat: int = 1
    until_fail: bool = False


class RunStarted(msgspec.Struct, frozen=True, kw_only=True, tag="started"):
    """The plan: what is tested, and everything that will be reported."""

    run: str
    time: str
    harness: str
    """Version of the harness."""
    command: tuple[str, ...]
    kernel: Kernel
    tests: tuple[PlannedTest, ...]
    notes: tuple[str, ...] = ()
    repeat: int = 1
    """How often each test runs; 0 is until it fails or the run is interrupted."""
    until_fail: bool = False
    """Whether a test that did not end as expected is not run again."""


class RunResumed(msgspec.Struct, frozen=True, kw_only=True, tag="resumed"):
    """The run was taken up again after it was cut off."""

    time: str
    notes: tuple[str, ...] = ()


class Boot(msgspec.Struct, frozen=True, kw_only=True):
    """What a guest's kernel has shown from its first line on the console until it was ready."""

    findings: tuple[Finding, ...] = ()
    taint: int = 0
    """Taint flags that the kernel had then."""
    lockdep_off: bool = False
    """The kernel has lockdep, and it is off, so it can complain of nothing any more."""
    once_reset: bool = False
    """The kernel was told to forget which of its WARN_ONCE() have come."""
    unquiet: bool = False
    """The kernel was still busy."""
    log: str = ""
    """Where the console's log is, relative to the run's directory."""


class GuestReady(msgspec.Struct, frozen=True, kw_only=True, tag="guest"):
    """A guest of a suite is up and showed which kernel it runs."""

    suite: str
    guest: GuestTable = GuestTable()
    release: str
    build_id: str
    machine: Machine
    seconds: float
    boot: Boot | None = None
    """Of the guest that tests are restored from; None in the journals of old versions."""


class GuestFailed(msgspec.Struct, frozen=True, kw_only=True, tag="guest-failed"):
    """No guest of this kind for a suite: the kernel does not come up."""

    suite: str
    guest: GuestTable = GuestTable()
    reason: str
    kernel_log: str = ""
    log: str = ""


class CacheDamaged(msgspec.Struct, frozen=True, kw_only=True, tag="cache-damaged"):
    """Cache entries had lost bits, so what was observed of some tests so far does not count."""

    time: str
    tests: tuple[str, ...]
    """Whose guests were made from such an entry."""
    why: str
    """Each entry with what was wrong, one a line."""


class TestStarted(msgspec.Struct, frozen=True, kw_only=True, tag="test"):
    """A test was begun."""

    name: str
    attempt: int = 1
    time: str
    seed: str
    limit_s: float = 0.0
    """The time limit in seconds of guest time, scaled by how fast the accelerator is."""


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How the program or its guest ended."""

    how: Literal["exit", "signal", "timeout", "not-started", "died", "harness"]
    """``died``: the guest went away under it; ``harness``: our side failed."""
    status: int | None = None
    """Exit status for ``exit``, signal number for ``signal``."""
    death: How | None = None
    """For ``died``."""
    detail: str = ""
    """Text for people."""
    log_complete: bool = True
    """Whether the kernel log is there up to the end of the test."""
    taint: int = 0
    """Taint flags that the kernel got during the test."""
    restless: tuple[str, ...] = ()
    """What of the kernel was still busy with the test when its log ended: ``busy`` (threads),
    ``rcu`` (a grace period)."""
    stood_still_s: float = 0.0
    """How long, in seconds, the guest did not run while its clock did, as its host was stopped."""


class TestEnded(msgspec.Struct, frozen=True, kw_only=True, tag="test-ended"):
    """Everything that was observed of one test."""

    name: str
    attempt: int = 1
    ending: Ending
    report: Report
    """What its standard output says in KTAP."""
    findings: tuple[Finding, ...] = ()
    """What the kernel log says."""
    output: str = ""
    """The end of its output."""
    guest_s: float | None = None
    total_s: float
    logs: Logs = Logs()
    boot: Boot | None = None
    """Of its own guest, where each test has one that is booted for it."""


class Decoded(msgspec.Struct, frozen=True, kw_only=True, tag="decoded"):
    """A kernel's report with file and line behind its addresses."""

    name: str
    attempt: int = 1
    reports: tuple[str, ...]
    """One for each finding of the test, in their order; empty where nothing could be added."""


class RunEnded(msgspec.Struct, frozen=True, kw_only=True, tag="ended"):
    """The run came to an end of its own or was interrupted."""

    time: str
    seconds: float
    prepare_s: float | None = None
    """How many of the seconds passed before the tests began."""
    interrupted: bool = False
    error: str = ""
    """What stopped it: the machine, or a fault of the harness."""


Record = (
    Requested
    | RunStarted
    | RunResumed
    | GuestReady
    | GuestFailed
    | CacheDamaged
    | TestStarted
    | TestEnded
    | Decoded
    | RunEnded
)


def standing(records: Sequence[Record]) -> list[Record]:
    """Return *records* without what was observed of tests before it turned out not to count."""
    kept: list[Record] = []
    void: set[str] = set()
    for record in reversed(records):
        if isinstance(record, CacheDamaged):
            void |= set(record.tests)
        elif isinstance(record, TestStarted | TestEnded | Decoded) and record.name in void:
            continue
        kept.append(record)
    return kept[::-1]
