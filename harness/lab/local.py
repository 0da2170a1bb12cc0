# SPDX-License-Identifier: GPL-2.0-only
"""Attempts on this machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from harness.errors import MachineError
from harness.foreign import of_os
from harness.guest.qemu import GuestNotBooted
from harness.lab import capacity
from harness.lab.attempt import Place, run_attempt
from harness.lab.boot import observe_boot
from harness.lab.executor import Attempt, TemplateId, ThisMachine
from harness.lab.probes import Probe
from harness.lab.recordings import Recordings
from harness.lab.templates import Template, TemplateFactory
from harness.model.events import How
from harness.model.ids import HERE, HostName, KernelName
from harness.model.logfiles import LogNames
from harness.model.plan import PlannedTest
from harness.model.records import GuestFailed, GuestReady, TestEnded
from harness.store import Damaged, Entry
from harness.suites import Suite

_HOST_FAILURES = frozenset({How.QEMU_DIED, How.QEMU_STUCK})
Editions = Mapping[Entry, tuple[int, int] | None]


class Bench(msgspec.Struct, frozen=True):
    """A kernel on which tests can run."""

    factory: TemplateFactory
    suites: Mapping[str, Suite]
    logs: LogNames
    watch: Probe | Recordings | None = None
    """Measures something of each attempt, or records it, if that is wanted."""


@dataclass
class LocalExecutor(ThisMachine):
    """Runs attempts in guests of this machine, on the kernels in *benches*."""

    out: Path
    """The run's directory."""
    jobs: int | None = None
    """The number of guests at a time; None is as many as the machine can run."""
    benches: dict[KernelName, Bench] = field(default_factory=dict)
    _templates: dict[TemplateId, Template] = field(default_factory=dict)
    _editions: dict[TemplateId, Editions] = field(default_factory=dict)
    """The editions of each template's inputs: another run may rebuild them."""
    _checks: dict[TemplateId, asyncio.Future[None]] = field(default_factory=dict)
    """Of what templates are made from, begun by the first test of each that failed."""

    def slots(self, tests: tuple[PlannedTest, ...]) -> Mapping[HostName, int]:
        """Return how many of *tests* this machine runs at a time."""
        carried = capacity.jobs([test.guest for test in tests if test.runnable])
        return {HERE: self.jobs or carried}

    async def prepare(self, template: TemplateId) -> GuestReady | GuestFailed:
        """Make a template, or record why its kernel does not boot."""
        begun = time.monotonic()
        bench = self.benches[template.kernel]
        factory = bench.factory
        name, guest = template.group
        place = Place(self.out, bench.logs)
        try:
            made = await factory.template(bench.suites[name], guest)
        except Damaged:
            raise
        except MachineError as error:
            # A kernel or an initramfs that has lost a bit does not boot either.
            entries = factory.entries(bench.suites[name], guest)
            # What had not been made yet when it failed is not there.
            there = [entry for entry in entries if factory.context.store.path(*entry).exists()]
            self._editions[template] = {
                entry: factory.context.store.edition(entry) for entry in there
            }
            await self.check(template)
            if not isinstance(error, GuestNotBooted) or error.died.how in _HOST_FAILURES:
                raise
            log = bench.logs.boot(template.group)
            place.keep(log, error.log)
            return GuestFailed(
                kernel=template.kernel,
                suite=name,
                guest=guest,
                reason=error.what,
                kernel_log=error.why,
                log=log,
            )
        log = bench.logs.boot(template.group)
        place.keep(log, made.boot_log)
        self._templates[template] = made
        self._editions[template] = {
            each: factory.context.store.edition(each) for each in made.entries
        }
        return GuestReady(
            kernel=template.kernel,
            suite=name,
            guest=guest,
            release=made.hello.release,
            build_id=made.hello.build_id.hex(),
            machine=made.machine,
            seconds=time.monotonic() - begun,
            boot=observe_boot(made.boot_log, made.hello, log),
            identity=made.identity,
        )

    async def run(self, attempt: Attempt) -> TestEnded:
        """Run one attempt in its own guest; its template exists."""
        bench = self.benches[attempt.template.kernel]
        template = self._templates[attempt.template]
        try:
            place = Place(self.out, bench.logs)
            return await run_attempt(attempt, template, place, bench.watch)
        except OSError as error:
            # Nothing of the test's own: its logs cannot be written, or no process be made.  Or
            # another run has found the snapshot damaged and removed it.
            editions = self._editions[attempt.template]
            await asyncio.to_thread(bench.factory.context.store.check_editions, editions)
            raise of_os(error, f"the test {attempt.test.name} cannot be run") from error

    async def check(self, template: TemplateId) -> None:
        """Compare what the guests of *template* are made from with what was written; once."""
        if template not in self._checks:
            check = self.benches[template.kernel].factory.context.store.check_editions
            comparing = asyncio.to_thread(check, self._editions[template])
            self._checks[template] = asyncio.ensure_future(comparing)
        await asyncio.shield(self._checks[template])

    def made_from(self, template: TemplateId) -> frozenset[Entry]:
        """Return what of the cache the guests of *template* come from; nothing if there is none."""
        made = self._templates.get(template)
        return frozenset(made.entries if made else ())

    def leave(self, kernel: KernelName) -> None:
        """Forget a kernel, on which nothing runs any more."""
        self.benches.pop(kernel, None)
        known: tuple[dict[TemplateId, Any], ...] = (self._templates, self._editions, self._checks)
        for each in known:
            for template in [key for key in each if key.kernel == kernel]:
                del each[template]

    async def close(self) -> None:
        """Do nothing: guests end with their attempts."""
