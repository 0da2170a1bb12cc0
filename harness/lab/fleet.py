# SPDX-License-Identifier: GPL-2.0-only
"""Several machines as one executor: this one, and workers elsewhere.

A host may fail at any time.  It is asked again, from the beginning, and given up when it has failed
three times in a row.  What has failed on it is the schedule's to run again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from harness import project
from harness.context import Context
from harness.digest import Write
from harness.errors import HarnessError, MachineError, UserError
from harness.lab import capacity
from harness.lab.archive import pack
from harness.lab.executor import Attempt, HostLost, PartLost, TemplateId
from harness.lab.local import Bench, LocalExecutor
from harness.lab.templates import TemplateFactory
from harness.model.ids import HERE, HostName, KernelName
from harness.model.logfiles import LogNames
from harness.model.plan import PlannedTest
from harness.model.records import GuestFailed, GuestReady, TestEnded
from harness.model.spec import GuestTable
from harness.store import Entry
from harness.suites import Suite

T = TypeVar("T")

MOST_FAILURES = 3
"""The number of failures in a row after which a host is given up."""
_AGAIN_S = (0.5, 45.0)
"""How long to wait before a host is asked again, by how often it has failed: a machine that starts
anew needs a minute."""

_NOT_SEALED = "a guest with the files of this machine cannot be on another: leave out --host"


class Worker(Protocol):
    """The worker on a host; each method raises HostLost if that has failed."""

    @property
    def host(self) -> HostName: ...
    @property
    def about(self) -> str: ...
    @property
    def machine(self) -> str: ...
    @property
    def notes(self) -> Sequence[str]: ...
    @property
    def lost(self) -> str: ...
    def slots(self, tests: tuple[PlannedTest, ...], most: int | None) -> int: ...
    async def lacking(self, entries: Sequence[Entry]) -> tuple[Entry, ...]: ...
    async def take(self, entry: Entry, write: Write) -> int: ...
    async def open(
        self, kernel: KernelName, factory: TemplateFactory, suites: Sequence[Suite]
    ) -> None: ...
    async def lacks(self, kernel: KernelName, needs: Sequence[Need]) -> tuple[str, ...]: ...
    async def prepare(
        self, template: TemplateId, names: LogNames, out: Path
    ) -> GuestReady | GuestFailed: ...
    async def run(
        self, attempt: Attempt, names: LogNames, out: Path, needs: Sequence[str] = ()
    ) -> TestEnded: ...
    async def check(self, template: TemplateId) -> None: ...
    def made_from(self, template: TemplateId) -> frozenset[Entry]: ...
    async def close(self) -> None: ...


Connect = Callable[[], Awaitable[Worker]]
"""Starts a worker on a host; raises HarnessError where that cannot be."""
Need = tuple[GuestTable, tuple[str, ...]]
"""A guest, and what a test requires of it."""
Unfit = frozenset[str]
"""The names of tests that cannot run on some host."""


@dataclass
class Member:
    """A host of the fleet."""

    name: HostName
    connect: Connect
    jobs: int | None = None
    """The number of guests at a time; None is as many as it can run."""
    worker: Worker | None = None
    failures: int = 0
    """How often it has failed since an attempt ended there."""
    parts_lost: list[str] = field(default_factory=list)
    """Which of its parts have failed since then."""
    left: str = ""
    """Why it is given up; empty where it is not."""
    why: str = ""
    """Why it failed last."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass
class Fleet:
    """Runs attempts on the hosts that have joined, and here if it has a *local* executor."""

    out: Path
    """The run's directory."""
    context: Context
    local: LocalExecutor | None = None
    needs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """What tests require, by name."""
    members: dict[HostName, Member] = field(default_factory=dict)
    _parts: dict[KernelName, tuple[TemplateFactory, Sequence[Suite]]] = field(default_factory=dict)
    _benches: dict[KernelName, Bench] = field(default_factory=dict)
    _unfit: dict[tuple[HostName, KernelName], Unfit] = field(default_factory=dict)

    async def join(self, name: HostName, connect: Connect, jobs: int | None = None) -> None:
        """Add a host; raises HarnessError if no worker can be started there."""
        member = Member(name, connect, jobs)
        await self._connect(member)
        self.members[name] = member
        if others := self._sharing(name) - {name}:
            also = ", ".join(each or project.LOCAL for each in sorted(others))
            self.context.note(f"hosts {name} and {also} are one machine, and share its guests")

    async def add(
        self, kernel: KernelName, factory: TemplateFactory, suites: Sequence[Suite]
    ) -> None:
        """Give every host what it needs for tests on a kernel, and has not.

        Raises MachineError where a host fails so often that it is given up.
        """
        self._parts[kernel] = factory, suites
        await asyncio.gather(*(self._open(member, kernel) for member in self.members.values()))

    def ready(self, kernel: KernelName, bench: Bench) -> None:
        """Take note of all else that tests on a kernel need: what their logs are called."""
        self._benches[kernel] = bench
        if self.local:
            self.local.benches[kernel] = bench

    async def lacks(
        self, kernel: KernelName, needs: Sequence[Need]
    ) -> dict[HostName, Sequence[str]]:
        """Return for each of the other hosts why its guests do not meet each of *needs*.

        The reason is empty where they do.
        """
        # A guest with the files of a host has those of that host, which are none of the user's.
        wanted = [need for need in needs if need[0].type == "sealed"]

        async def ask(member: Member) -> Sequence[str]:
            reasons = await self._steady(member, lambda worker: worker.lacks(kernel, wanted))
            known = dict(zip(wanted, reasons, strict=True))
            return [known.get(need, _NOT_SEALED) for need in needs]

        said = await asyncio.gather(*(ask(member) for member in self.members.values()))
        return dict(zip(self.members, said, strict=True))

    def bar(self, host: HostName, kernel: KernelName, tests: Unfit) -> None:
        """Record the *tests* that cannot run on *host*."""
        self._unfit[host, kernel] = tests

    def slots(self, tests: tuple[PlannedTest, ...]) -> Mapping[HostName, int]:
        """Return the hosts, and how many of *tests* each can run at a time.

        Hosts that are one machine share what that carries, unless the user says how many.
        """
        found: dict[HostName, int] = dict(self.local.slots(tests)) if self.local else {}
        for name, member in self.members.items():
            found[name] = member.worker.slots(tests, member.jobs) if member.worker else 1
        return {
            name: count if self._asked(name) else max(1, count // len(self._sharing(name)))
            for name, count in found.items()
        }

    def fits(self, host: HostName, kernel: KernelName, test: PlannedTest) -> bool:
        """Whether *test* can run on *host*."""
        return test.name not in self._unfit.get((host, kernel), frozenset())

    def why_left(self, host: HostName) -> str:
        """Return why *host* is given up; empty where it is not."""
        return self.members[host].left if host in self.members else ""

    async def prepare(self, template: TemplateId) -> GuestReady | GuestFailed:
        """Make a template on its host, or record why its kernel does not boot."""
        if template.host == HERE:
            return await self._here.prepare(template)
        member, names = self.members[template.host], self._benches[template.kernel].logs
        return await self._with(member, lambda worker: worker.prepare(template, names, self.out))

    async def run(self, attempt: Attempt) -> TestEnded:
        """Run one attempt on the host of its template."""
        host = attempt.template.host
        if host == HERE:
            return await self._here.run(attempt)
        names = self._benches[attempt.template.kernel].logs
        needs = self.needs.get(attempt.test.name, ())
        ended = await self._with(
            self.members[host], lambda worker: worker.run(attempt, names, self.out, needs)
        )
        self.members[host].failures = 0
        self.members[host].parts_lost.clear()
        return ended

    async def check(self, template: TemplateId) -> None:
        """Compare what the guests of *template* are made from with what was written; once."""
        if template.host == HERE:
            await self._here.check(template)
        else:
            member = self.members[template.host]
            await self._with(member, lambda worker: worker.check(template))

    def made_from(self, template: TemplateId) -> frozenset[Entry]:
        """Return what of its host's cache the guests of *template* come from."""
        if template.host == HERE:
            return self._here.made_from(template)
        worker = self.members[template.host].worker
        return worker.made_from(template) if worker else frozenset()

    async def back(self, host: HostName) -> bool:
        """Wait until *host* is connected again; False if it is given up."""
        if host == HERE:
            return True
        member = self.members[host]
        if member.worker is not None and member.worker.lost:
            await self._drop(member, member.worker, member.worker.lost)
        async with member.lock:
            while member.worker is None and not member.left:
                if member.failures >= MOST_FAILURES:
                    member.left = f"it failed {member.failures} times in a row, last: {member.why}"
                    self.context.note(f"host {host} is given up: {member.left}")
                    break
                await asyncio.sleep(_AGAIN_S[min(member.failures, len(_AGAIN_S)) - 1])
                await self._again(member)
        return not member.left

    async def close(self) -> None:
        """End all workers and their guests."""
        workers = [each.worker for each in self.members.values() if each.worker]
        for member in self.members.values():
            member.worker = None
        await asyncio.gather(*(worker.close() for worker in workers), return_exceptions=True)

    def _asked(self, host: HostName) -> bool:
        """Whether the user has said how many guests *host* is to run at a time."""
        jobs = self._here.jobs if host == HERE else self.members[host].jobs
        return jobs is not None

    def _sharing(self, host: HostName) -> set[HostName]:
        """Return the hosts that are the same machine as *host*, itself included."""
        machines = {name: each.worker.machine for name, each in self.members.items() if each.worker}
        if self.local:
            machines[HERE] = capacity.machine()
        same = {name for name, each in machines.items() if each and each == machines.get(host)}
        return same | {host}

    @property
    def _here(self) -> LocalExecutor:
        assert self.local is not None  # noqa: S101  nothing else gives out that host
        return self.local

    async def _with(self, member: Member, do: Callable[[Worker], Awaitable[T]]) -> T:
        """Do something with a member's worker; one that fails is not asked a second time."""
        worker = member.worker
        if worker is None:
            raise HostLost(f"host {member.name} is lost", where=member.name, why=member.why)
        try:
            return await do(worker)
        except HostLost as lost:
            why = f"{lost.what}: {lost.why}".removesuffix(": ")
            if not lost.where or lost.where not in member.parts_lost:
                member.parts_lost.append(lost.where)
            if isinstance(lost, PartLost) and len(member.parts_lost) < MOST_FAILURES:
                member.why = why
                self.context.note(f"host {member.name}: {why}")
            else:
                await self._drop(member, worker, why)
            raise

    async def _drop(self, member: Member, worker: Worker, why: str) -> None:
        """Record, once, that a worker has failed, and end it."""
        if member.worker is worker:
            member.worker = None
            member.failures += 1
            member.parts_lost.clear()
            member.why = why
            self.context.note(f"host {member.name}: {why}")
            await worker.close()

    async def _again(self, member: Member) -> None:
        """Restart a worker, with all kernels; record a failure."""
        try:
            await self._connect(member)
            worker = member.worker
            assert worker is not None  # noqa: S101  it is connected
            member.worker = None
            try:
                for kernel in self._parts:
                    await self._supply(worker, kernel)
            except BaseException:
                await worker.close()
                raise
            member.worker = worker
        except UserError as error:
            # Such as another host key: that is not tried again.
            member.failures = MOST_FAILURES
            member.why = f"{error.what}: {error.why}".removesuffix(": ")
        except HarnessError as error:
            member.failures += 1
            member.why = f"{error.what}: {error.why}".removesuffix(": ")

    async def _connect(self, member: Member) -> None:
        with self.context.step(f"Connecting to {member.name}") as step:
            worker = await member.connect()
            step.result(worker.about)
        for note in worker.notes:
            self.context.note(note)
        member.worker = worker

    async def _open(self, member: Member, kernel: KernelName) -> None:
        await self._steady(member, lambda worker: self._supply(worker, kernel))

    async def _steady(self, member: Member, do: Callable[[Worker], Awaitable[T]]) -> T:
        """Do something with a member's worker, and again where that fails.

        Raises MachineError where the host is given up.
        """
        while True:
            try:
                return await self._with(member, do)
            except HostLost as lost:
                if not await self.back(member.name):
                    raise MachineError(
                        lost.what, where=lost.where, why=lost.why, hint=lost.hint
                    ) from lost

    async def _supply(self, worker: Worker, kernel: KernelName) -> None:
        """Give a worker what it lacks of a kernel, and make it ready for tests on that."""
        factory, suites = self._parts[kernel]
        await supply(worker, await asyncio.to_thread(factory.travelling, suites), self.context)
        await worker.open(kernel, factory, suites)


async def supply(worker: Worker, entries: Sequence[Entry], context: Context) -> None:
    """Give a worker those of *entries* that it lacks."""
    for entry in await worker.lacking(entries):
        title = f"Copying {entry[0]} {entry[1][:12]} to {worker.host}"
        with context.step(title) as step:
            size = await worker.take(entry, partial(pack, context.store, entry))
            step.result(f"{size / 1e6:.1f} MB")
