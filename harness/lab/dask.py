# SPDX-License-Identifier: GPL-2.0-only
"""Attempts as tasks of a Dask cluster: its scheduler decides where each runs.

A process of the cluster has one worker of ours, at the other end of two pipes, for all tasks that
it gets; it dies with that process.  What of kernel and suites that worker lacks is scattered to it.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import sys
import tempfile
import threading
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from harness.context import Context
from harness.errors import HarnessError, MachineError
from harness.foreign import told
from harness.lab import wire
from harness.lab.archive import pack
from harness.lab.executor import Attempt, HostLost, TemplateId
from harness.lab.pipe import PipeLink
from harness.lab.remote import RemoteWorker
from harness.lab.templates import TemplateFactory
from harness.model.ids import HostName, KernelName
from harness.model.logfiles import LogNames
from harness.model.plan import Group, PlannedTest
from harness.model.records import GuestFailed, GuestReady, TestEnded
from harness.model.results import Logs
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


class Parts(msgspec.Struct, frozen=True):
    """What a kernel's tests need, as it goes to the cluster."""

    kernel: KernelName
    key: str
    boot_limit_s: float
    suites: dict[str, str]
    entries: tuple[tuple[str, str], ...]


class Job(msgspec.Struct, frozen=True):
    """What one task does: one of the orders, on a kernel."""

    parts: Parts
    needs: tuple[tuple[GuestTable, tuple[str, ...]], ...] = ()
    template: tuple[str, GuestTable] | None = None
    attempt: wire.Run | None = None
    check: bool = False


class Answer(msgspec.Struct, frozen=True):
    """What came of a task."""

    lacking: tuple[tuple[str, str], ...] = ()
    """Entries that are not there: nothing was done."""
    reasons: tuple[str, ...] = ()
    made: GuestReady | GuestFailed | None = None
    entries: tuple[tuple[str, str], ...] = ()
    ended: TestEnded | None = None
    logs: dict[str, bytes] = {}
    failed: wire.Failed | None = None


class _Names:
    """What logs are called in a station."""

    def of(self, test: PlannedTest, attempt: int) -> Logs:
        return Logs(output=f"{attempt}.output", kernel=f"{attempt}.kernel")

    def boot_of(self, test: PlannedTest, attempt: int) -> str:
        return f"{attempt}.boot"

    def boot(self, group: Group) -> str:
        return "template.boot"


class _Station:
    """The worker of this process of the cluster, and the thread that talks to it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.made: dict[TemplateId, asyncio.Future[GuestReady | GuestFailed]] = {}
        self.opened: set[tuple[KernelName, str]] = set()
        self.worker: RemoteWorker | None = None
        self.busy = asyncio.Lock()
        # Its workers die with it.
        threading.Thread(target=self.loop.run_forever, name="station", daemon=True).start()

    def do(self, doing: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(doing, self.loop).result()

    async def ready(self) -> RemoteWorker:
        async with self.busy:
            if self.worker is None or self.worker.lost:
                self.made.clear()
                self.opened.clear()
                link = PipeLink([sys.executable, "-m", "harness", "worker"], _cache())
                self.worker = await RemoteWorker.greet("dask", link)
            return self.worker

    async def answer(self, job: Job, packed: Mapping[str, tuple[bytes, str]]) -> Answer:
        worker = await self.ready()
        parts = job.parts
        async with self.busy:
            lacking = await worker.lacking(parts.entries)
            missing = tuple(each for each in lacking if "/".join(each) not in packed)
            if missing:
                return Answer(lacking=missing)
            for entry in lacking:
                data, sha256 = packed["/".join(entry)]
                with tempfile.NamedTemporaryFile(prefix="harness-entry-") as file:
                    await asyncio.to_thread(Path(file.name).write_bytes, data)
                    await worker.take(entry, Path(file.name), sha256)
            if (parts.kernel, parts.key) not in self.opened:
                await worker.open_parts(parts.kernel, parts.key, parts.boot_limit_s, parts.suites)
                self.opened.add((parts.kernel, parts.key))
        if job.needs:
            return Answer(reasons=await worker.lacks(parts.kernel, job.needs))
        assert job.template is not None  # noqa: S101  all other jobs have one
        template = TemplateId(parts.kernel, job.template)
        with tempfile.TemporaryDirectory(prefix="harness-logs-") as out:
            made = await self._template(worker, template, Path(out))
            entries = tuple(sorted(worker.made_from(template)))
            if job.attempt is None:
                if job.check:
                    await worker.check(template)
                return Answer(
                    made=made, entries=entries, logs=_logs(out, {"boot": "template.boot"})
                )
            if isinstance(made, GuestFailed):
                raise MachineError("no guest comes up on this worker", why=made.reason)
            attempt = Attempt(job.attempt.test, job.attempt.started)
            ended = await worker.run(attempt, _Names(), Path(out))
            number = attempt.started.attempt
            names = {each: f"{number}.{each}" for each in ("output", "kernel", "boot")}
            return Answer(ended=ended, logs=_logs(out, names))

    async def _template(
        self, worker: RemoteWorker, template: TemplateId, out: Path
    ) -> GuestReady | GuestFailed:
        if template not in self.made:
            making = asyncio.ensure_future(worker.prepare(template, _Names(), out))
            self.made[template] = making
            making.add_done_callback(
                lambda done: self.made.pop(template, None) if done.exception() else None
            )
        return await asyncio.shield(self.made[template])

    def end(self) -> None:
        if self.worker is not None:
            with contextlib.suppress(Exception):
                asyncio.run_coroutine_threadsafe(self.worker.close(), self.loop).result(5)
            self.worker = None


_STATION: list[_Station] = []
_LOCK = threading.Lock()


def _cache() -> dict[str, str]:
    import os

    return {"HARNESS_CACHE": os.environ["HARNESS_CACHE"]} if "HARNESS_CACHE" in os.environ else {}


def _logs(out: str, names: Mapping[str, str]) -> dict[str, bytes]:
    paths = {kind: Path(out, name) for kind, name in names.items()}
    return {kind: path.read_bytes() for kind, path in paths.items() if path.is_file()}


def task(job: bytes, names: Sequence[str], digests: Sequence[str], *packed: bytes) -> bytes:
    """Do a job in this process of the cluster; return its answer, both in msgpack."""
    with _LOCK:
        if not _STATION:
            _STATION.append(_Station())
            atexit.register(end)
    station = _STATION[0]
    entries = dict(zip(names, zip(packed, digests, strict=True), strict=True))
    try:
        answer = station.do(station.answer(msgspec.msgpack.decode(job, type=Job), entries))
    except Damaged as damage:
        found = tuple(sorted(damage.found.items()))
        answer = Answer(failed=wire.Failed(0, "damaged", damage.what, damaged=found))
    except HarnessError as error:
        failed = wire.Failed(0, "machine", error.what, error.where, error.why, error.hint)
        answer = Answer(failed=failed)
    return msgspec.msgpack.encode(answer)


def end() -> None:
    """End the worker of this process of the cluster, and its guests."""
    for station in _STATION:
        station.end()


@dataclass
class DaskWorker:
    """A cluster as one host of a fleet; made by :func:`connect`."""

    host: HostName
    context: Context
    client: Any
    cluster: Any
    declared: Mapping[str, float]
    """What all workers together declare."""
    lost: str = ""
    notes: list[str] = field(default_factory=list)
    _parts: dict[KernelName, Parts] = field(default_factory=dict)
    _made: dict[TemplateId, frozenset[Entry]] = field(default_factory=dict)
    _scattered: dict[str, asyncio.Task[tuple[Any, str]]] = field(default_factory=dict)

    @property
    def about(self) -> str:
        """What there is, in a few words."""
        return ", ".join(f"{name} {number:g}" for name, number in sorted(self.declared.items()))

    def slots(self, tests: tuple[PlannedTest, ...], most: int | None) -> int:
        """Return how many of *tests* are given to the cluster at a time."""
        return most or max(1, int(self.declared[GUESTS])) * _IN_LINE

    async def lacking(self, entries: Sequence[Entry]) -> tuple[Entry, ...]:
        """Return nothing: each worker says for itself what it lacks."""
        return ()

    async def take(self, entry: Entry, packed: Path, sha256: str) -> None:
        """Do nothing."""

    async def open(
        self, kernel: KernelName, factory: TemplateFactory, suites: Sequence[Suite]
    ) -> None:
        """Take note of what a kernel's tests need."""
        entries = await asyncio.to_thread(factory.travelling, suites)
        keys = {suite.name: suite.key for suite in suites if suite.key}
        self._parts[kernel] = Parts(kernel, factory.kernel.key, factory.boot_limit_s, keys, entries)

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

    async def close(self) -> None:
        """End what runs on the cluster for us."""
        self.lost = self.lost or "it was closed"
        with contextlib.suppress(Exception):
            async with asyncio.timeout(10):
                await self.client.run(end)
        for each in (self.client, self.cluster):
            if each is not None:
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(20):
                        await each.close()

    def _resources(self, needs: Sequence[str], guest: GuestTable | None = None) -> dict[str, float]:
        """Return what a task takes: a guest, and what workers may lack."""
        wanted: dict[str, float] = {GUESTS: 1}
        wanted |= {need: 1 for need in needs if need in _DECLARED}
        if guest is not None and MIB in self.declared:
            wanted[MIB] = guest.memory_mib
        return wanted

    async def _do(self, job: Job, resources: Mapping[str, float]) -> Answer:
        """Have a task done; one whose worker lacks entries is given them."""
        names: tuple[str, ...] = ()
        for _ in range(3):
            scattered = [await self._packed(name) for name in names]
            digests = [sha256 for _, sha256 in scattered]
            data = [future for future, _ in scattered]
            try:
                # Each task names what it takes: one that does not would run beside all others.
                future = self.client.submit(
                    task,
                    msgspec.msgpack.encode(job),
                    names,
                    digests,
                    *data,
                    resources=dict(resources),
                    pure=False,
                    retries=0,
                )
                said = await future
                answer = msgspec.msgpack.decode(said, type=Answer)
            except asyncio.CancelledError:
                if (task_ := asyncio.current_task()) is not None and task_.cancelling():
                    raise
                raise HostLost("the Dask scheduler has dropped a task", where=self.host) from None
            except Exception as error:
                raise HostLost(
                    "a Dask worker is lost", where=self.host, why=str(error)[:2000]
                ) from error
            if answer.failed is not None:
                self._raise(answer.failed)
            if not answer.lacking:
                return answer
            names = tuple("/".join(entry) for entry in answer.lacking)
        raise HostLost("Dask workers do not keep what they are given", where=self.host)

    def _raise(self, failed: wire.Failed) -> None:
        if failed.kind == "damaged":
            raise Damaged(dict(failed.damaged), Path("/"))
        raise HostLost(failed.what, where=self.host, why=failed.why, hint=failed.hint)

    async def _packed(self, name: str) -> tuple[Any, str]:
        async def scatter() -> tuple[Any, str]:
            kind, _, key = name.partition("/")
            with self.context.store.scratch("pack") as work:
                path = work / "entry.tar"
                sha256 = await asyncio.to_thread(pack, self.context.store, (kind, key), path)
                data = await asyncio.to_thread(path.read_bytes)
            return await self.client.scatter(data, direct=False), sha256

        if name not in self._scattered:
            self._scattered[name] = asyncio.create_task(scatter())
        return await self._scattered[name]


_DECLARED = frozenset({"kvm", "tdx", "sev", "sev-snp", "nested-kvm"})
"""Needs that a worker declares as resources."""


def _write(path: Path, data: bytes) -> None:
    with told("a log cannot be written", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


async def connect(where: str, context: Context) -> DaskWorker:
    """Return the cluster whose scheduler is at *where*, or one on this machine for ``auto``.

    Raises MachineError where there is no such package, no scheduler, or no worker that declares
    how many guests it carries.
    """
    try:
        import distributed
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
    except (OSError, ValueError, TimeoutError) as error:
        raise MachineError(
            "there is no Dask scheduler",
            where=f"--dask {where}",
            why=str(error),
            hint="start one: dask scheduler; name it as tcp://HOST:8786",
        ) from None
    declared: dict[str, float] = {}
    # What the client itself knows may leave workers out.
    for each in (await client.scheduler.identity())["workers"].values():
        for name, number in each["resources"].items():
            declared[name] = declared.get(name, 0) + number
    made = DaskWorker("dask", context, client, cluster, declared)
    if not declared.get(GUESTS):
        await made.close()
        raise MachineError(
            "no Dask worker says how many guests it carries",
            where=f"--dask {where}",
            hint='start workers with: dask worker SCHEDULER --nthreads 2 --resources "guests=2"',
        )
    return made
