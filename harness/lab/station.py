# SPDX-License-Identifier: GPL-2.0-only
"""The side of a Dask worker: runs jobs with one worker of the harness, connected by two pipes.

That serves all tasks of its process, of one run after the other, and dies with it.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import hashlib
import os
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from harness import __version__
from harness.digest import Sink
from harness.errors import MachineError
from harness.lab import ship, wire
from harness.lab.executor import Attempt, TemplateId
from harness.lab.pipe import PipeLink
from harness.lab.remote import RemoteWorker
from harness.model.ids import KernelName
from harness.model.plan import Group, PlannedTest
from harness.model.records import GuestFailed, GuestReady, TestEnded
from harness.model.results import Logs
from harness.model.spec import GuestTable

T = TypeVar("T")

_MOST_OVER = 1000
_FORGOTTEN_S = 3600.0
"""After how long without a job a run is taken for gone."""
_END_S = 5.0


class Parts(msgspec.Struct, frozen=True):
    """What a kernel's tests need, as it goes to the cluster."""

    run: str
    """Which run it is that asks; no other one has the same."""
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
    """The result of a task."""

    lacking: tuple[tuple[str, str], ...] = ()
    """Missing entries: nothing was done."""
    reasons: tuple[str, ...] = ()
    made: GuestReady | GuestFailed | None = None
    entries: tuple[tuple[str, str], ...] = ()
    ended: TestEnded | None = None
    logs: dict[str, bytes] = {}
    failed: wire.Failed | None = None


class _Names:
    """The names of logs in a station."""

    def of(self, test: PlannedTest, attempt: int) -> Logs:
        return Logs(output=f"{attempt}.output", kernel=f"{attempt}.kernel")

    def boot_of(self, test: PlannedTest, attempt: int) -> str:
        return f"{attempt}.boot"

    def boot(self, group: Group) -> str:
        return "template.boot"


@dataclass
class _Session:
    """What one run has on the worker of this process."""

    opened: set[KernelName] = field(default_factory=set)
    """Kernels, by the names that the worker has for them."""
    made: dict[TemplateId, asyncio.Future[GuestReady | GuestFailed]] = field(default_factory=dict)
    doing: set[asyncio.Future[Any]] = field(default_factory=set)
    used: float = 0.0


class _Station:
    """The worker of this process of the cluster, and the thread that talks to it.

    Several runs may use it, at a time and one after the other: each has its own names for kernels.
    """

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.sessions: dict[str, _Session] = {}
        self.over: deque[str] = deque(maxlen=_MOST_OVER)
        """Runs that have ended, of which a task may still come."""
        self.worker: RemoteWorker | None = None
        self.busy = asyncio.Lock()
        # Its workers die with it.
        threading.Thread(target=self.loop.run_forever, name="station", daemon=True).start()

    def do(self, doing: Coroutine[Any, Any, T], limit_s: float | None = None) -> T:
        return asyncio.run_coroutine_threadsafe(doing, self.loop).result(limit_s)

    async def ready(self) -> RemoteWorker:
        async with self.busy:
            if self.worker is None or self.worker.lost:
                for session in self.sessions.values():
                    session.made.clear()
                    session.opened.clear()
                link = PipeLink([sys.executable, "-m", "harness", "worker"], _cache())
                self.worker = await RemoteWorker.greet("dask", link)
            return self.worker

    async def answer(self, job: Job, packed: Mapping[str, tuple[bytes, str]]) -> Answer:
        run = job.parts.run
        if run in self.over:
            raise MachineError("the run has ended", where=run)
        session = self.sessions.setdefault(run, _Session())
        with _among(session):
            return await self._answer(session, job, packed)

    async def _answer(
        self, session: _Session, job: Job, packed: Mapping[str, tuple[bytes, str]]
    ) -> Answer:
        worker = await self.ready()
        parts = job.parts
        kernel = f"{parts.run}.{parts.kernel}"
        async with self.busy:
            if kernel not in session.opened:
                lacking = await worker.lacking(parts.entries)
                missing = tuple(each for each in lacking if "/".join(each) not in packed)
                if missing:
                    return Answer(lacking=missing)
                for entry in lacking:
                    data, sha256 = packed["/".join(entry)]
                    if hashlib.sha256(data).hexdigest() != sha256:
                        raise MachineError("an entry of the cache was corrupted in transfer")
                    await worker.take(entry, partial(_write, data))
                await worker.open_parts(kernel, parts.key, parts.boot_limit_s, parts.suites)
                session.opened.add(kernel)
        if job.needs:
            return Answer(reasons=await worker.lacks(kernel, job.needs))
        assert job.template is not None  # noqa: S101  all other jobs have one
        template = TemplateId(kernel, job.template)
        with tempfile.TemporaryDirectory(prefix="harness-logs-") as out:
            made = await self._template(session, worker, template, Path(out))
            entries = tuple(sorted(worker.made_from(template)))
            if job.attempt is None:
                if job.check:
                    await worker.check(template)
                return Answer(
                    made=msgspec.structs.replace(made, kernel=parts.kernel),
                    entries=entries,
                    logs=_logs(out, {"boot": "template.boot"}),
                )
            if isinstance(made, GuestFailed):
                raise MachineError("no guest boots on this worker", why=made.reason)
            started = msgspec.structs.replace(job.attempt.started, kernel=kernel)
            ended = await worker.run(Attempt(job.attempt.test, started), _Names(), Path(out))
            names = {each: f"{started.attempt}.{each}" for each in ("output", "kernel", "boot")}
            ended = msgspec.structs.replace(ended, kernel=parts.kernel)
            return Answer(ended=ended, logs=_logs(out, names))

    async def _template(
        self, session: _Session, worker: RemoteWorker, template: TemplateId, out: Path
    ) -> GuestReady | GuestFailed:
        if template not in session.made:
            making = asyncio.ensure_future(worker.prepare(template, _Names(), out))
            session.made[template] = making
            session.doing.add(making)

            def done(making: asyncio.Future[GuestReady | GuestFailed]) -> None:
                session.doing.discard(making)
                if making.cancelled() or making.exception():
                    session.made.pop(template, None)

            making.add_done_callback(done)
        return await asyncio.shield(session.made[template])

    async def leave(self, run: str) -> None:
        """End what *run* has here; a task of it that comes later begins anew."""
        session = self.sessions.pop(run, _Session())
        for doing in session.doing:
            doing.cancel()
        await asyncio.gather(*session.doing, return_exceptions=True)
        async with self.busy:
            # It may be there again: then the worker has its kernels under the same names.
            if self.worker is not None and not self.worker.lost and run not in self.sessions:
                for kernel in session.opened:
                    await self.worker.leave(kernel)

    async def end(self, run: str) -> None:
        """End what *run* has here; no task of it begins any more."""
        self.over.append(run)
        await self.leave(run)

    async def tidy(self) -> None:
        """End what runs have here that were killed: nothing has come from them for long."""
        old = time.monotonic() - _FORGOTTEN_S
        for run, session in [*self.sessions.items()]:
            if not session.doing and session.used < old:
                await self.leave(run)

    async def close(self) -> None:
        if self.worker is not None:
            await self.worker.close()


@contextlib.contextmanager
def _among(session: _Session) -> Iterator[None]:
    """Have the task that runs the block end with *session*."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  only tasks do jobs
    session.doing.add(task)
    try:
        yield
    finally:
        session.doing.discard(task)
        session.used = time.monotonic()


_STATION: list[_Station] = []
_LOCK = threading.Lock()


def _cache() -> dict[str, str]:
    return {"HARNESS_CACHE": os.environ["HARNESS_CACHE"]} if "HARNESS_CACHE" in os.environ else {}


def _write(data: bytes, sink: Sink) -> None:
    sink.write(data)


def _logs(out: str, names: Mapping[str, str]) -> dict[str, bytes]:
    paths = {kind: Path(out, name) for kind, name in names.items()}
    return {kind: path.read_bytes() for kind, path in paths.items() if path.is_file()}


def _station() -> _Station:
    """Return the station of this process."""
    with _LOCK:
        if not _STATION:
            _STATION.append(_Station())
            atexit.register(_close)
    return _STATION[0]


def version() -> str:
    """Return what tells this version of the harness from others, also from unreleased ones."""
    return f"{__version__} ({ship.sources()[:12]})"


def other_version(there: str, here: str, where: str = "") -> MachineError:
    """Return the error of a worker at *where* that has the version *there* in place of *here*."""
    return MachineError(
        "a Dask worker has another version of the harness",
        where=where,
        why=f"it has {there}, and this machine {here}",
        hint="install the same on the workers, and start them anew",
    )


def begin() -> str:
    """Start the worker of this process of the cluster, which takes a second, before a task comes.

    Does not wait for it: what is wrong with it, the first task tells.  Returns :func:`version`.
    """
    station = _station()
    for doing in (station.ready(), station.tidy()):
        asyncio.run_coroutine_threadsafe(doing, station.loop)
    return version()


def task(
    asks: str, job: bytes, names: Sequence[str], digests: Sequence[str], *packed: bytes
) -> bytes:
    """Do a job in this process of the cluster; return its answer, both in msgpack.

    *asks* is the version of the harness that asks: jobs of another one may mean something else.
    """
    if asks != version():
        return msgspec.msgpack.encode(
            Answer(failed=wire.failure(0, other_version(version(), asks)))
        )
    station = _station()
    entries = dict(zip(names, zip(packed, digests, strict=True), strict=True))
    try:
        answer = station.do(station.answer(msgspec.msgpack.decode(job, type=Job), entries))
    except Exception as error:
        # As data: an exception would need its class, and those of its parts, on the other side.
        answer = Answer(failed=wire.failure(0, error))
    return msgspec.msgpack.encode(answer)


def end(run: str) -> None:
    """End what *run* has in this process of the cluster: its tasks, and their guests."""
    for station in _STATION:
        with contextlib.suppress(Exception):
            station.do(station.end(run), _END_S)


def _close() -> None:
    """End the worker of this process of the cluster, and its guests."""
    for station in _STATION:
        with contextlib.suppress(Exception):
            station.do(station.close(), _END_S)
