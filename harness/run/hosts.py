# SPDX-License-Identifier: GPL-2.0-only
"""The machines of a run: the named ones, or this one and others by requirement."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from harness import project
from harness.context import Context
from harness.digest import digest
from harness.doctor.model import Diagnosis, encode
from harness.errors import HarnessError, MachineError, UserError
from harness.lab.executor import Executor
from harness.lab.fleet import Fleet, Need, Worker, supply
from harness.lab.local import Bench, LocalExecutor
from harness.model.ids import HERE, HostName
from harness.model.plan import PlannedTest
from harness.model.spec import GuestTable, HostTable
from harness.proc import signals
from harness.run.plan import Lacks
from harness.run.prepare import Built, Prepared, here, probe
from harness.run.request import Request
from harness.store import Store

if TYPE_CHECKING:
    from harness.lab import ssh

T = TypeVar("T")

_DIAGNOSES = "hosts"
"""The place in the cache with what hosts' doctors have said, one file for each."""


# What a machine needs to build kernels, and a host does not.
_NEEDED_THERE = frozenset({"python", "qemu", "setpriv", "memory", "cache", "disk"})


def ask_doctor(name: HostName, table: HostTable, context: Context, *, quick: bool) -> Diagnosis:
    """Return what the doctor of a host says, and keep it for runs; raises as ``ssh.connect``.

    What only a build needs is not required there.
    """
    from harness.lab import ssh

    if not quick:
        from harness.doctor import trial

        async def supplied() -> None:
            worker = await ssh.connect(name, table, context)
            try:
                await supply(worker, await asyncio.to_thread(trial.travelling, context), context)
            finally:
                await worker.close()

        signals.run(supplied())
    said = ssh.diagnose(name, table, context, quick=quick)
    try:
        found = msgspec.json.decode(said, type=Diagnosis)
    except msgspec.MsgspecError as error:
        raise MachineError(
            "the host's description of itself is not valid", where=name, why=str(error)
        ) from None
    checks = tuple(
        msgspec.structs.replace(each, required=each.required and each.name in _NEEDED_THERE)
        for each in found.checks
    )
    ready = not any(check.fatal for check in checks)
    found = msgspec.structs.replace(found, checks=checks, ready=ready)
    remember(context.store, table, found)
    return found


def remember(store: Store, table: HostTable, found: Diagnosis) -> None:
    """Store the result of the doctor on a host, for :func:`recall`."""
    file = _file(store, table)
    draft = file.with_suffix(f".{os.getpid()}")
    draft.write_bytes(encode(found))
    draft.rename(file)


def recall(store: Store, table: HostTable) -> Diagnosis | None:
    """Return the last result of the doctor on a host; None if there is none."""
    try:
        return msgspec.json.decode(_file(store, table).read_bytes(), type=Diagnosis)
    except (OSError, msgspec.MsgspecError):
        return None


def _file(store: Store, table: HostTable) -> Path:
    return store.place(_DIAGNOSES) / f"{digest(msgspec.json.encode(table))[:32]}.json"


class Hosts:
    """The machines of one run.  :attr:`executor` runs attempts on them."""

    def __init__(self, request: Request, out: Path, context: Context, jobs: int | None) -> None:
        self._request, self._out = request, out
        self._context, self._jobs = context, jobs
        self._named = tuple(dict.fromkeys(request.hosts))
        for name in self._named:
            if name != project.LOCAL:
                project.host(request.project, request.project_file, name)
        asked = {
            "--coverage": request.coverage,
            "--cost": request.cost,
            "harness replay": request.recording,
            "a schedule": request.race,
        }
        option = next((name for name, wanted in asked.items() if wanted), "")
        if (self._named or request.dask) and option:
            raise UserError(
                "tests are watched and recorded on this machine only",
                where=f"{option} with --host",
                hint="leave one of them out",
            )
        with_local = not (self._named or request.dask) or project.LOCAL in self._named
        self._local = LocalExecutor(out, jobs) if with_local else None
        self._fleet = Fleet(out, context, self._local)
        self._needed: set[HostName] = set()
        """Hosts that were added because of a requirement."""
        self._reasons: dict[Need, dict[HostName, str]] = {}
        self._by_need: dict[HostName, str] = {}
        """Hosts that were needed for a requirement and are not available, each with the reason."""
        self._begun: dict[HostName, ssh.Begun] = {}
        """Connections that were begun before anything asked for them."""

    @property
    def executor(self) -> Executor:
        """What runs attempts."""
        return self._fleet

    @contextmanager
    def ahead(self) -> Iterator[None]:
        """Begin to connect to the hosts that were named, while the block prepares the rest.

        That needs no event loop.  What :meth:`joining` has not used at the end is closed.
        """
        if self._request.dask:
            from harness.lab import dask

            threading.Thread(target=dask.ahead, args=[self._request.dask], daemon=True).start()
        for name in self._named:
            if name != project.LOCAL:
                from harness.lab import ssh

                table = self._request.project.hosts[name]
                self._begun[name] = ssh.begin(name, table, self._context)
        try:
            yield
        finally:
            for begun in self._begun.values():
                ssh.drop(begun)

    @asynccontextmanager
    async def joining(self) -> AsyncIterator[None]:
        """Connect to the hosts that were named, beside what the block does; close all at its end.

        The block is to use :meth:`meanwhile`, which raises what goes wrong here.
        """
        self._joining = asyncio.ensure_future(self._join_named())
        try:
            yield
        finally:
            await signals.to_the_end(_ended(self._joining))
            await signals.to_the_end(self._fleet.close())

    async def meanwhile(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what *work* returns, when the hosts that were named are there.

        Where one of them cannot be had, *work* is cancelled: nothing is built in vain.
        """
        doing = asyncio.ensure_future(work)
        try:
            await asyncio.wait({doing, self._joining}, return_when=asyncio.FIRST_EXCEPTION)
            if self._joining.done():
                self._joining.result()
            return await doing
        finally:
            await signals.to_the_end(_ended(doing))

    async def _join_named(self) -> None:
        joining = [self._join(name) for name in self._named if name != project.LOCAL]
        if self._request.dask:
            from harness.lab import dask

            connect = partial(dask.connect, self._request.dask, self._context)
            joining.append(self._fleet.join("dask", connect, self._jobs))
        # Each has limits of its own, and one that came later would not be closed.
        for failed in await asyncio.gather(*joining, return_exceptions=True):
            if failed is not None:
                raise failed

    async def add(self, built: Built) -> Lacks:
        """Let a kernel be tested on the machines; return what tells which guests none of them has.

        :meth:`planned` comes next.
        """
        name = built.selected.name
        needs = _needs(built)
        reasons: dict[HostName, Sequence[str]] = {}
        if self._local:
            tells = here(built, await probe(built))
            reasons[HERE] = [tells(*need) for need in needs]
            if not self._named and not self._request.dask:
                await self._join_by_need(needs, reasons[HERE])
        await self._fleet.add(name, built.factory, built.suites)
        reasons |= await self._fleet.lacks(name, needs)
        self._reasons = {
            need: {host: said[number] for host, said in reasons.items()}
            for number, need in enumerate(needs)
        }
        return self._lacks

    def planned(self, prepared: Prepared, bench: Bench) -> None:
        """Take note of where the tests of a kernel can run, and what their logs are called."""
        name, built = prepared.name, prepared.built
        self._fleet.ready(name, bench)
        needs = {test.name: _need_of(built, test) for test in prepared.tests}
        self._fleet.needs.update({test: need[1] for test, need in needs.items()})
        for host in (*([HERE] if self._local else []), *self._fleet.members):
            unfit = (each for each, need in needs.items() if self._unfit(need, host))
            self._fleet.bar(host, name, frozenset(unfit))

    def _unfit(self, need: Need, host: HostName) -> bool:
        said = self._reasons.get(need, {})
        if said.get(host):
            return True
        # A machine that was asked for a need only has the tests which this one cannot run.
        return host in self._needed and not said.get(HERE)

    def _lacks(self, guest: GuestTable, needs: Sequence[str]) -> str:
        said = self._reasons.get((guest, tuple(needs)), {})
        if not said or not all(said.values()):
            return ""
        if len(said) == 1 and not self._by_need:
            return next(iter(said.values()))
        parts = [f"{host or project.LOCAL}: {why}" for host, why in said.items()]
        parts += [f"{host}: {why}" for host, why in self._by_need.items()]
        return "; ".join(parts)

    async def _join(self, name: HostName) -> None:
        from harness.lab import ssh

        table = self._request.project.hosts[name]

        def connect() -> Awaitable[Worker]:
            # What was begun is for the first time.
            return ssh.connect(name, table, self._context, self._begun.pop(name, None))

        await self._fleet.join(name, connect, self._jobs or table.jobs)

    async def _join_by_need(self, needs: Sequence[Need], reasons: Sequence[str]) -> None:
        """Connect to hosts whose doctor has said that they have what this machine lacks."""
        lacking = {
            each for (_, wanted), why in zip(needs, reasons, strict=True) for each in wanted if why
        }
        for name, table in self._request.project.hosts.items() if lacking else ():
            if name in self._fleet.members or name in self._by_need:
                continue
            known = recall(self._context.store, table)
            has = {check.name for check in known.checks if check.state == "yes"} if known else set()
            if not lacking & has:
                continue
            try:
                await self._join(name)
                self._needed.add(name)
            except HarnessError as error:
                self._by_need[name] = f"it cannot be used: {error.what}"
                self._context.note(
                    f"host {name}, which has {', '.join(sorted(lacking & has))}, "
                    f"cannot be used: {error.what}: {error.why}"
                )


async def _ended(task: asyncio.Future[Any]) -> None:
    """Cancel *task* if it has not ended, and wait until it has; what it raises has been told."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()


def _needs(built: Built) -> list[Need]:
    """Return what the programs of the suites need, each need once."""
    found: dict[Need, None] = {}
    guest = built.selected.request.guest_table()
    for suite, source in zip(built.suites, built.selected.suites, strict=True):
        for program in suite.programs:
            mine, needs = source.settings.of(program.name, guest)
            found[mine, tuple(needs)] = None
    return list(found)


def _need_of(built: Built, test: PlannedTest) -> Need:
    guest = built.selected.request.guest_table()
    sources = {each.name: each for each in built.selected.suites}
    mine, needs = sources[test.suite].settings.of(test.program, guest)
    return mine, tuple(needs)
