# SPDX-License-Identifier: GPL-2.0-only
"""What runs attempts, wherever that is: the schedule knows of it no more than this.

What goes in and comes out are plain values, and records as the journal has them; logs are files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from harness.model.ids import KernelName
from harness.model.plan import Group, PlannedTest
from harness.model.records import GuestFailed, GuestReady, TestEnded, TestStarted
from harness.store import Entry


@dataclass(frozen=True)
class TemplateId:
    """A kind of guest: tests with the same come from the same template."""

    kernel: KernelName
    group: Group


@dataclass(frozen=True)
class Attempt:
    """One attempt at a test."""

    test: PlannedTest
    started: TestStarted

    @property
    def template(self) -> TemplateId:
        """What its guest comes from."""
        return TemplateId(self.started.kernel, self.test.group)


class Executor(Protocol):
    """Makes templates and runs attempts in guests that come from them; from one event loop.

    Each method raises MachineError when the machine fails (no QEMU, a full disk), and
    :class:`harness.store.Damaged` where something that guests are made from has lost bits: then
    no failure in such a guest tells of the kernel.
    """

    def slots(self, tests: tuple[PlannedTest, ...]) -> int:
        """Return how many of *tests* may run at a time."""
        ...

    async def prepare(self, template: TemplateId) -> GuestReady | GuestFailed:
        """Make a template, or tell why its kernel does not come up."""
        ...

    async def run(self, attempt: Attempt) -> TestEnded:
        """Run one attempt in a guest of its own; its template is there."""
        ...

    async def check(self, template: TemplateId) -> None:
        """Compare what the guests of *template* are made from with what was written; once."""
        ...

    def made_from(self, template: TemplateId) -> frozenset[Entry]:
        """Return what of the cache the guests of *template* come from; nothing if there is none."""
        ...

    async def close(self) -> None:
        """Let go of everything; harmless when that was done."""
        ...
