# SPDX-License-Identifier: GPL-2.0-only
"""The protocol between the schedule and whatever runs attempts.

What goes in and comes out are plain values, and records as the journal has them; logs are files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from harness.errors import MachineError
from harness.model.ids import HERE, HostName, KernelName
from harness.model.plan import Group, PlannedTest
from harness.model.records import GuestFailed, GuestReady, TestEnded, TestStarted
from harness.store import Entry


class TemplateId(msgspec.Struct, frozen=True):
    """A kind of guest: tests with the same come from the same template."""

    kernel: KernelName
    group: Group
    host: HostName = HERE
    """Where it is: templates do not travel."""


class Attempt(msgspec.Struct, frozen=True):
    """One attempt at a test."""

    test: PlannedTest
    started: TestStarted
    files: tuple[tuple[str, str], ...] = ()
    """Files of the guest that are written before the test starts, with their content."""
    hasty: bool = False
    """Whether a test whose time is up is cut off, and not waited for until all of it is gone."""

    @property
    def template(self) -> TemplateId:
        """What its guest comes from."""
        return TemplateId(self.started.kernel, self.test.group, self.started.host)


class HostLost(MachineError):
    """A host, or the connection to it, has failed; another host may do the work."""


class PartLost(HostLost):
    """One of the machines that stand behind a host has failed; the host itself is there.

    ``where`` is which, or empty: several attempts may be lost with one.
    """


class Executor(Protocol):
    """Makes templates and runs attempts in guests that come from them; from one event loop.

    Each method raises MachineError when the machine fails (no QEMU, a full disk), and
    :class:`harness.store.Damaged` where something that guests are made from has lost bits: then
    no failure in such a guest tells of the kernel.  Those that take a template, or an attempt,
    raise :class:`HostLost` where its host has failed, and :meth:`back` can be asked.
    """

    def slots(self, tests: tuple[PlannedTest, ...]) -> Mapping[HostName, int]:
        """Return on which hosts tests run, and how many of *tests* may run on each at a time."""
        ...

    def fits(self, host: HostName, kernel: KernelName, test: PlannedTest) -> bool:
        """Whether *test* can run on *host*, if that is not given up."""
        ...

    async def back(self, host: HostName) -> bool:
        """Wait until *host* is connected again; False if it is given up for good."""
        ...

    def why_left(self, host: HostName) -> str:
        """Return why *host* is given up; empty where it is not."""
        ...

    async def prepare(self, template: TemplateId) -> GuestReady | GuestFailed:
        """Make a template, or record why its kernel does not boot."""
        ...

    async def run(self, attempt: Attempt) -> TestEnded:
        """Run one attempt in its own guest; its template exists."""
        ...

    async def check(self, template: TemplateId) -> None:
        """Compare what the guests of *template* are made from with what was written; once."""
        ...

    def made_from(self, template: TemplateId) -> frozenset[Entry]:
        """Return what of the cache the guests of *template* come from; nothing if there is none."""
        ...

    async def close(self) -> None:
        """Release all resources; may be called again."""
        ...


class ThisMachine:
    """The answers about hosts of an executor that only uses this machine."""

    def fits(self, host: HostName, kernel: KernelName, test: PlannedTest) -> bool:
        """Return True: what does not run here is planned as such."""
        return True

    async def back(self, host: HostName) -> bool:
        """Return True: this machine is always there."""
        return True

    def why_left(self, host: HostName) -> str:
        """Return nothing: this machine is not given up."""
        return ""
