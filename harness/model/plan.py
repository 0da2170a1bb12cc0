# SPDX-License-Identifier: GPL-2.0-only
"""What is planned: the tests, each with the guest that it needs."""

from __future__ import annotations

import msgspec

from harness.klog.allow import Allowance
from harness.model.expectations import Expectation
from harness.model.faults import Fault
from harness.model.ids import ONLY, KernelName
from harness.model.races import Schedule
from harness.model.spec import GuestTable

ENDLESS = 0
"""Stands for "as often as it takes" where a number of attempts is asked for."""

ALL = "*"
"""Stands for the program in a cell whose tests are not known."""


class PlannedTest(msgspec.Struct, frozen=True, kw_only=True):
    """One test that will be reported, whatever happens."""

    name: str
    suite: str
    program: str
    path: str = ""
    """Relative to the suite's directory in the guest."""
    suite_key: str = ""
    """The digest of what the suite was built from."""
    timeout_s: float = 0.0
    """Time limit in seconds as the suite says it, for a machine with real processors."""
    guest: GuestTable = GuestTable()
    """What it runs in."""
    broken: str = ""
    """Why it is an error before it can run: it does not build, or there is no guest for it."""
    unfit: str = ""
    """Why it cannot run in its guest, such as a script in a sealed one."""
    build_log: str = ""
    rerun: str = ""
    expect: tuple[Expectation, ...] = ()
    """What is known to go wrong with it under this series."""
    allow: tuple[Allowance, ...] = ()
    """Kernel messages that are known under it."""
    fault: Fault | None = None
    """Which of its calls fails, where it is a point of a sweep."""
    schedule: Schedule | None = None
    """Where it is preempted, if it is one of a test's schedules."""

    @property
    def runnable(self) -> bool:
        """Whether there is anything to run."""
        return not (self.broken or self.unfit)

    @property
    def swept(self) -> bool:
        """Whether it is one of many variations of a test, which a budget may cut short."""
        return self.fault is not None or self.schedule is not None

    @property
    def group(self) -> Group:
        """Tests with the same come from the same template."""
        return self.suite, self.guest


Group = tuple[str, GuestTable]
"""A suite, and the guest that some of its programs run in."""


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """A suite on a kernel: what is planned before it is known which tests the suite has."""

    kernel: KernelName = ONLY
    suite: str
