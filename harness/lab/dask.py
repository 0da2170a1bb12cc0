# SPDX-License-Identifier: GPL-2.0-only
"""Attempts as tasks of a Dask cluster: its scheduler decides where each runs.

What a process of the cluster does with a task is :mod:`harness.lab.station`.  What it lacks of
kernel and suites is scattered to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import io
import logging
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from harness.context import Context
from harness.digest import DigestingSink, Write
from harness.errors import MachineError
from harness.foreign import told
from harness.lab import wire
from harness.lab.archive import pack
from harness.lab.executor import Attempt, HostLost, PartLost, TemplateId
from harness.lab.station import Answer, Job, Parts, begin, end, other_version, task, version
from harness.lab.templates import TemplateFactory
from harness.model.ids import HostName, KernelName
from harness.model.logfiles import LogNames
from harness.model.plan import PlannedTest
from harness.model.records import GuestFailed, TestEnded
from harness.model.spec import GuestTable
from harness.store import Damaged, Entry
from harness.suites import Suite

T = TypeVar("T")

GUESTS = "guests"
"""The resource of which each attempt takes one: a worker declares how many guests it carries."""
MIB = "mib"
"""The resource of which an attempt takes its guest's memory, where workers declare it."""
AUTO = "auto"
_IN_LINE = 4
"""Attempts for each guest that the cluster carries: those in line keep it busy, and workers that
come later have something to do."""
_CONNECT_S = 30.0
_WORKERS_S = 60.0
"""How long a cluster may be without a worker: one that has just been started, or was restarted."""
_LOOK_S = 0.5
_ANSWER_S = 5.0
"""How long a scheduler may take to say that it is there."""
_SCHEDULER_LOST = "scheduler-connection-lost"
_RESTART = "scheduler-restart"
"""Why Dask's client has dropped a task, in its own words."""
_CLOSE_S = 20.0
_WORDS = 2000


class _Sent(msgspec.Struct, frozen=True):
    """An entry that the cluster holds."""

    name: str
    future: Any
    sha256: str


@dataclass
class DaskWorker:
    """A cluster as one host of a fleet; made by :func:`connect`."""

    host: HostName
    context: Context
    client: Any
    cluster: Any
    declared: Mapping[str, float]
    """The number of guests that all workers together declare."""
    lost: str = ""
    notes: list[str] = field(default_factory=list)
    _run: str = field(default_factory=lambda: secrets.token_hex(16))
    """By which workers tell this run from others."""
    _parts: dict[KernelName, Parts] = field(default_factory=dict)
    _made: dict[TemplateId, frozenset[Entry]] = field(default_factory=dict)
    _sent: dict[str, asyncio.Task[_Sent]] = field(default_factory=dict)

    @property
    def about(self) -> str:
        """A short description of the cluster."""
        return ", ".join(f"{name} {number:g}" for name, number in sorted(self.declared.items()))

    @property
    def machine(self) -> str:
        """Nothing: a cluster is many machines, and its scheduler knows what each carries."""
        return ""

    def slots(self, tests: tuple[PlannedTest, ...], most: int | None) -> int:
        """Return how many of *tests* are given to the cluster at a time."""
        return most or max(1, int(self.declared[GUESTS])) * _IN_LINE

    async def lacking(self, entries: Sequence[Entry]) -> tuple[Entry, ...]:
        """Return nothing: each worker says for itself what it lacks."""
        return ()

    async def take(self, entry: Entry, write: Write) -> int:
        """Do nothing."""
        return 0

    async def open(
        self, kernel: KernelName, factory: TemplateFactory, suites: Sequence[Suite]
    ) -> None:
        """Record the entries that a kernel's tests need."""
        entries = await asyncio.to_thread(factory.travelling, suites)
        keys = {suite.name: suite.key for suite in suites if suite.key}
        self._parts[kernel] = Parts(
            self._run, kernel, factory.kernel.key, factory.boot_limit_s, keys, entries
        )

    async def lacks(
        self, kernel: KernelName, needs: Sequence[tuple[GuestTable, tuple[str, ...]]]
    ) -> tuple[str, ...]:
        """Return for each of *needs* why no worker meets it, empty where one does."""

        async def ask(need: tuple[GuestTable, tuple[str, ...]]) -> str:
            wanted = self._resources(need[1])
            missing = [name for name in wanted if name not in self.declared]
            if missing:
                return f"no Dask worker declares the resource {missing[0]}"
            job = Job(self._parts[kernel], needs=(need,))
            return (await self._do(job, wanted)).reasons[0]

        return tuple(await asyncio.gather(*(ask(need) for need in needs)))

    async def prepare(self, template: TemplateId, names: LogNames, out: Path) -> Any:
        """Make a template on one of the workers; others make theirs when they need it."""
        job = Job(self._parts[template.kernel], template=template.group)
        answer = await self._do(job, {GUESTS: 1})
        self._made[template] = frozenset(answer.entries)
        log = names.boot(template.group)
        _write(out / log, answer.logs.get("boot", b""))
        made = answer.made
        if isinstance(made, GuestFailed):
            return msgspec.structs.replace(made, host=self.host, log=log)
        assert made is not None  # noqa: S101  a job with a template makes one
        boot = made.boot and msgspec.structs.replace(made.boot, log=log)
        return msgspec.structs.replace(made, host=self.host, boot=boot)

    async def run(
        self, attempt: Attempt, names: LogNames, out: Path, needs: Sequence[str] = ()
    ) -> TestEnded:
        """Run one attempt as one task."""
        test, started = attempt.test, attempt.started
        order = wire.Run(0, test, msgspec.structs.replace(started, host=""))
        job = Job(self._parts[started.kernel], template=test.group, attempt=order)
        wanted = self._resources(needs, test.guest)
        answer = await self._do(job, wanted)
        ended = answer.ended
        if ended is None or (ended.kernel, ended.name, ended.attempt) != (
            started.kernel,
            started.name,
            started.attempt,
        ):
            raise HostLost("a worker has answered another question", where=self.host)
        logs, boot_log = names.of(test, started.attempt), names.boot_of(test, started.attempt)
        paths = {"output": logs.output, "kernel": logs.kernel}
        boot = ended.boot
        if boot and boot.log:
            boot, paths["boot"] = msgspec.structs.replace(boot, log=boot_log), boot_log
        for kind, path in paths.items():
            _write(out / path, answer.logs.get(kind, b""))
        return msgspec.structs.replace(ended, logs=logs, boot=boot)

    async def check(self, template: TemplateId) -> None:
        """Have one of the workers compare what its guests are made from."""
        job = Job(self._parts[template.kernel], template=template.group, check=True)
        await self._do(job, {GUESTS: 1})

    def made_from(self, template: TemplateId) -> frozenset[Entry]:
        """Return what of the workers' caches the guests of *template* come from."""
        return self._made.get(template, frozenset())

    async def begin(self) -> None:
        """Have the processes of the cluster prepare for tasks, while kernels are built.

        Raises MachineError where one cannot run tests, or has another version of the harness.
        """
        said: dict[str, object] = {}
        # One that does not answer is the scheduler's to give up; one that does so later has its
        # version looked at with each task.
        try:
            async with asyncio.timeout(_ANSWER_S):
                said = await self.client.run(begin, on_error="return")
        except TimeoutError:
            pass
        except OSError as error:
            raise _gone(self.host, error) from error
        for address, answer in sorted(said.items()):
            if isinstance(answer, OSError):
                continue  # it has died meanwhile
            if isinstance(answer, Exception):
                raise MachineError(
                    "a Dask worker cannot run tests",
                    where=address,
                    why=str(answer)[:_WORDS] or type(answer).__name__,
                    hint="pip install 'kernel-selftest-harness[dask]' there, the version of here",
                )
            if answer != version():
                raise other_version(str(answer)[:_WORDS], version(), address)

    async def close(self) -> None:
        """End the tasks of this run on the cluster."""
        self.lost = self.lost or "it was closed"
        with contextlib.suppress(Exception):
            async with asyncio.timeout(10):
                await self.client.run(end, self._run)
        await _closed(self.client, self.cluster)

    def _resources(self, needs: Sequence[str], guest: GuestTable | None = None) -> dict[str, float]:
        """Return what a task takes: a guest, and what workers may lack."""
        wanted: dict[str, float] = {GUESTS: 1}
        wanted |= {need: 1 for need in needs if need in _DECLARED}
        if guest is not None and MIB in self.declared:
            wanted[MIB] = guest.memory_mib
        return wanted

    async def _do(self, job: Job, resources: Mapping[str, float]) -> Answer:
        """Run a task; if its worker lacks entries, send them.

        Raises HostLost where the cluster is lost, and PartLost where the task is.
        """
        names: tuple[str, ...] = ()
        for _ in range(3):
            sent = [await self._packed(name) for name in names]
            try:
                # Each task names what it takes: one that does not would run beside all others.
                future = self.client.submit(
                    task,
                    version(),
                    msgspec.msgpack.encode(job),
                    names,
                    [each.sha256 for each in sent],
                    *(each.future for each in sent),
                    resources=dict(resources),
                    pure=False,
                    retries=0,
                )
                answer = msgspec.msgpack.decode(await future, type=Answer)
            except (Exception, asyncio.CancelledError) as error:
                if (task_ := asyncio.current_task()) is not None and task_.cancelling():
                    raise
                raise await self._loss(error, sent) from error
            if answer.failed is not None:
                self._raise(answer.failed)
            if not answer.lacking:
                return answer
            names = tuple("/".join(entry) for entry in answer.lacking)
        raise HostLost("Dask workers do not keep what they are given", where=self.host)

    def _raise(self, failed: wire.Failed) -> None:
        if failed.kind == "damaged":
            raise Damaged(dict(failed.damaged), Path("/"))
        raise PartLost(failed.what, why=failed.why, hint=failed.hint)

    async def _loss(self, error: BaseException, sent: Sequence[_Sent] = ()) -> HostLost:
        """Return what an error of Dask means: the loss of the cluster, or of a part of it.

        The cluster is lost where its scheduler is.  All else concerns a task, or what it was to be
        given: then the next attempt is given that anew.
        """
        from distributed.scheduler import KilledWorker

        why = str(error)[:_WORDS] or type(error).__name__
        # That of a task which the scheduler, or this client, has dropped.
        reason = str(getattr(error, "reason", ""))
        if reason == _SCHEDULER_LOST or not await self._answers():
            return HostLost("a Dask cluster is lost", where=self.host, why=why)
        for each in sent:
            self._forget(each)
        if isinstance(error, KilledWorker):
            which = str(getattr(error.last_worker, "address", ""))
            return PartLost("a Dask worker is lost", where=which, why=why)
        if reason == _RESTART:
            which = f"restart {self.client.generation}"
            return PartLost("the workers of the Dask cluster were restarted", where=which, why=why)
        if isinstance(error, asyncio.CancelledError) or reason:
            which = sent[0].future.key if sent else ""
            return PartLost("the Dask scheduler has dropped a task", where=which, why=why)
        return PartLost("a task of Dask has failed", why=why)

    async def _answers(self) -> bool:
        """Whether the scheduler is there, and this client connected to it."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_ANSWER_S):
                await self.client.scheduler.identity()
                return bool(self.client.status == "running")
        return False

    async def _packed(self, name: str) -> _Sent:
        """Return an entry that the cluster holds; it is sent if need be."""

        async def scatter() -> _Sent:
            kind, _, key = name.partition("/")
            packed = io.BytesIO()
            sink = DigestingSink(packed)
            await asyncio.to_thread(pack, self.context.store, (kind, key), sink)
            try:
                future = await self.client.scatter(packed.getvalue(), direct=False, hash=False)
            except (Exception, asyncio.CancelledError) as error:
                if (task_ := asyncio.current_task()) is not None and task_.cancelling():
                    raise
                lost = await self._loss(error)
                # One loss, of which all are told that wait for it.
                lost.where = lost.where or f"{name} at {time.monotonic():.3f}"
                raise lost from error
            return _Sent(name, future, sink.sha256)

        if name not in self._sent:
            self._sent[name] = asyncio.create_task(scatter())
        sending = self._sent[name]
        try:
            # Several attempts wait for it; one that is cancelled does not take it along.
            return await asyncio.shield(sending)
        except Exception:
            if self._sent.get(name) is sending:
                del self._sent[name]
            raise

    def _forget(self, sent: _Sent) -> None:
        """Have an entry sent anew, unless that has happened."""
        sending = self._sent.get(sent.name)
        with contextlib.suppress(Exception):  # it is under way, or has failed
            if sending is not None and sending.result() is sent:
                del self._sent[sent.name]


_DECLARED = frozenset({"kvm", "tdx", "sev", "sev-snp", "nested-kvm"})
"""Needs that a worker declares as resources."""


def _write(path: Path, data: bytes) -> None:
    with told("a log cannot be written", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def ahead(where: str) -> None:
    """Load Dask and have the processes of the cluster at *where* prepare for tasks; may block.

    Together that takes a second, in which a run can do something else.  What is wrong,
    :func:`connect` tells.
    """

    async def ask(make: Any) -> None:
        async with make(where, asynchronous=True, timeout=_CONNECT_S) as client:
            await client.run(begin, on_error="ignore")

    with contextlib.suppress(Exception):
        distributed = _distributed()
        if where != AUTO:
            asyncio.run(ask(distributed.Client))


def _distributed() -> Any:
    """Return Dask's module; ImportError where it is not installed.

    It writes to standard error when it is loaded to do so, tracebacks of lost connections included:
    the run says in its own words what was lost.  Handlers for files, which a user has configured,
    stay.
    """
    module = importlib.import_module("distributed")
    for name in [*logging.root.manager.loggerDict]:
        if name.partition(".")[0] in ("distributed", "tornado"):
            logger = logging.getLogger(name)
            for handler in logger.handlers[:]:
                if type(handler) is logging.StreamHandler:
                    logger.removeHandler(handler)
                    # Without any handler, Python writes warnings to standard error itself.
                    logger.addHandler(logging.NullHandler())
    return module


async def connect(where: str, context: Context) -> DaskWorker:
    """Return the cluster whose scheduler is at *where*, or one on this machine for ``auto``.

    Raises MachineError where there is no such package, no scheduler, or no worker that declares
    how many guests it carries.
    """
    try:
        # Beside what else is done: it takes half a second.
        distributed = await asyncio.to_thread(_distributed)
    except ImportError as error:
        raise MachineError(
            "Dask is not installed",
            where=f"--dask {where}",
            why=str(error),
            hint="pip install 'kernel-selftest-harness[dask]', here and on the workers",
        ) from None
    cluster = None
    try:
        if where == AUTO:
            from harness.lab import capacity

            local: Any = distributed.LocalCluster
            cluster = await local(
                n_workers=capacity.jobs([GuestTable()]),
                threads_per_worker=1,
                resources={GUESTS: 1},
                dashboard_address=None,
                asynchronous=True,
            )
        make: Any = distributed.Client
        client = await make(cluster or where, asynchronous=True, timeout=_CONNECT_S)
    except (OSError, ValueError, TimeoutError, RuntimeError) as error:
        await _closed(cluster)
        if where == AUTO:
            raise MachineError(
                "no Dask cluster can be started on this machine",
                where="--dask auto",
                why=str(error),
                hint="is there room for one more Python process for each guest?",
            ) from None
        raise MachineError(
            "there is no Dask scheduler",
            where=f"--dask {where}",
            why=str(error),
            hint="start one: dask scheduler; name it as tcp://HOST:8786",
        ) from None
    made = DaskWorker("dask", context, client, cluster, {})
    try:
        made.declared = await _declared(client, where)
        await made.begin()
    except BaseException:
        await made.close()
        raise
    return made


async def _declared(client: Any, where: str) -> dict[str, float]:
    """Return what the workers of a cluster declare together.

    Waits for the first worker; raises MachineError where none comes, or none declares guests.
    """
    how = 'dask worker SCHEDULER --nthreads 2 --resources "guests=2"'
    end = time.monotonic() + _WORKERS_S
    try:
        # What the client itself knows may leave workers out.
        while not (workers := (await client.scheduler.identity())["workers"]):
            if time.monotonic() > end:
                raise MachineError(
                    "the Dask cluster has no worker",
                    where=f"--dask {where}",
                    why=f"none has joined it within {_WORKERS_S:.0f} s",
                    hint=f"start some: {how}",
                )
            await asyncio.sleep(_LOOK_S)
    except OSError as error:
        raise _gone(where, error) from error
    declared: dict[str, float] = {}
    for each in workers.values():
        for name, number in each["resources"].items():
            declared[name] = declared.get(name, 0) + number
    if not declared.get(GUESTS):
        raise MachineError(
            "no Dask worker says how many guests it carries",
            where=f"--dask {where}",
            hint=f"start workers with: {how}",
        )
    return declared


def _gone(where: str, error: Exception) -> HostLost:
    return HostLost("the Dask scheduler is gone", where=where, why=str(error))


async def _closed(*parts: Any) -> None:
    """Close clients and clusters, as far as they are there and answer."""
    for each in parts:
        if each is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_CLOSE_S):
                    await each.close()
