# SPDX-License-Identifier: GPL-2.0-only
"""What every executor must do: the same attempts, here and in a worker at the end of a pipe."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from harness.context import Context
from harness.lab.executor import Attempt, Executor, HostLost, TemplateId
from harness.lab.fleet import Fleet
from harness.lab.local import Bench, LocalExecutor
from harness.lab.pipe import PipeLink
from harness.lab.remote import RemoteWorker
from harness.model.events import Accelerator
from harness.model.ids import HERE, ONLY
from harness.model.logfiles import LogFiles
from harness.model.plan import PlannedTest
from harness.model.records import GuestReady, TestStarted
from harness.progress import Quiet
from harness.run.prepare import Prepared
from harness.store import Store

pytestmark = [pytest.mark.kernel, pytest.mark.long(40)]

NAME = "elsewhere"


class Lab:
    """An executor, and what is tested with it."""

    def __init__(self, executor: Executor, host: str, prepared: Prepared, out: Path) -> None:
        self.executor, self.host, self.out = executor, host, out
        self.test = next(test for test in prepared.tests if test.runnable)
        self.worker: RemoteWorker | None = None

    @property
    def template(self) -> TemplateId:
        return TemplateId(ONLY, self.test.group, self.host)

    def attempt(self, number: int = 1, test: PlannedTest | None = None) -> Attempt:
        test = test or self.test
        started = TestStarted(
            name=test.name,
            attempt=number,
            time="2026-07-01T03:00:00.000Z",
            seed="5" * 64,
            limit_s=90.0,
            host=self.host,
        )
        return Attempt(test, started)


def bench_of(prepared: Prepared) -> Bench:
    return Bench(
        factory=prepared.factory,
        suites={suite.name: suite for suite in prepared.suites},
        logs=LogFiles(prepared.tests, repeated=False),
    )


def pipe_worker(cache: Path) -> Callable[[], Awaitable[RemoteWorker]]:
    argv = [sys.executable, "-m", "harness", "worker"]

    async def connect() -> RemoteWorker:
        link = PipeLink(argv, {"HARNESS_CACHE": str(cache)})
        return await RemoteWorker.greet(NAME, link)

    return connect


@asynccontextmanager
async def lab(kind: str, prepared: Prepared, store: Store, tmp: Path) -> AsyncIterator[Lab]:
    out = tmp / "out"
    bench = bench_of(prepared)
    if kind == "local":
        local = LocalExecutor(out, 1)
        local.benches[ONLY] = bench
        yield Lab(local, HERE, prepared, out)
        await local.close()
        return
    fleet = Fleet(out, Context(store, Quiet()))
    await fleet.join(NAME, pipe_worker(tmp / "cache"))
    made = Lab(fleet, NAME, prepared, out)
    worker = fleet.members[NAME].worker
    assert isinstance(worker, RemoteWorker)
    made.worker = worker
    try:
        await fleet.add(ONLY, bench.factory, list(bench.suites.values()))
        fleet.ready(ONLY, bench)
        yield made
    finally:
        await fleet.close()


KINDS = pytest.mark.parametrize("kind", ["local", "pipe"])


@KINDS
def test_an_attempt_ends_with_its_logs_here(
    kind: str, prepared: Prepared, user_store: Store, tmp_path: Path
) -> None:
    async def go() -> None:
        async with lab(kind, prepared, user_store, tmp_path) as it:
            slots = it.executor.slots(prepared.tests)
            assert list(slots) == [it.host]
            assert slots[it.host] >= 1
            assert it.executor.fits(it.host, ONLY, it.test)
            ready = await it.executor.prepare(it.template)
            assert isinstance(ready, GuestReady)
            assert ready.host == it.host
            assert ready.build_id == prepared.kernel.meta.build_id
            assert ready.machine.accelerator in set(Accelerator)
            assert ready.boot
            assert b"Linux version" in (it.out / ready.boot.log).read_bytes()
            ended = await it.executor.run(it.attempt())
            assert (ended.name, ended.ending.how) == (it.test.name, "exit")
            assert ended.report.leaves()
            # Under the names that a run here has, whoever ran it.
            assert ended.logs == LogFiles(prepared.tests, repeated=False).of(it.test, 1)
            assert b"ok 1" in (it.out / ended.logs.output).read_bytes()
            assert (it.out / ended.logs.kernel).is_file()
            await it.executor.check(it.template)
            kinds = {kind for kind, _ in it.executor.made_from(it.template)}
            assert {"kernel", "suite", "snapshot"} <= kinds
            await it.executor.close()
            await it.executor.close()

    asyncio.run(go())


def guests() -> set[int]:
    """Return the processes of QEMU that there are."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            if path.read_text().startswith("qemu-system"):
                found.add(int(path.parent.name))
        except OSError:
            continue
    return found


def descendants(pid: int) -> set[int]:
    """Return the processes below *pid*."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(path.parent.name)] = int(fields[1])
    found, new = set(), {pid}
    while new:
        found |= new
        new = {child for child, parent in parents.items() if parent in new} - found
    return found


def alive(pids: set[int]) -> set[int]:
    def runs(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    return {pid for pid in pids if runs(pid)}


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_fails_is_lost_with_its_guests_and_comes_back(
    sign: signal.Signals, prepared: Prepared, user_store: Store, tmp_path: Path
) -> None:
    async def go() -> None:
        async with lab("pipe", prepared, user_store, tmp_path) as it:
            assert it.worker
            await it.executor.prepare(it.template)
            running = asyncio.ensure_future(it.executor.run(it.attempt()))
            pid = it.worker.hello.pid
            while not alive(descendants(pid) & guests()):
                assert not running.done(), running
                await asyncio.sleep(0.02)
            family = descendants(pid)
            os.kill(pid, sign)
            begun = time.monotonic()
            with pytest.raises(HostLost):
                await running
            assert time.monotonic() - begun < 12
            while left := alive(family):
                assert time.monotonic() - begun < 15, left
                await asyncio.sleep(0.1)
            assert await it.executor.back(NAME)
            assert isinstance(await it.executor.prepare(it.template), GuestReady)
            ended = await it.executor.run(it.attempt())
            assert ended.ending.how == "exit"

    asyncio.run(go())
