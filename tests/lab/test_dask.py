# SPDX-License-Identifier: GPL-2.0-only
"""Attempts as tasks of a Dask cluster of two processes on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

import harness
from harness.context import Context
from harness.errors import MachineError
from harness.lab import dask, station
from harness.lab.executor import HostLost, PartLost, TemplateId
from harness.lab.fleet import Fleet
from harness.lab.station import Answer, Job, Parts
from harness.model.ids import ONLY
from harness.model.logfiles import LogFiles
from harness.model.records import GuestReady, TestEnded
from harness.model.spec import GuestTable
from harness.progress import Quiet
from harness.run.prepare import Prepared
from harness.store import Store
from tests.lab.test_executors import Lab, alive, bench_of, descendants, guests

pytestmark = pytest.mark.extra


def cluster(**options: Any) -> Any:
    import distributed

    make: Any = distributed.LocalCluster
    options = {"n_workers": 2} | options
    return make(threads_per_worker=1, dashboard_address=None, asynchronous=True, **options)


def test_what_dask_logs_does_not_reach_the_terminal(tmp_path: Path) -> None:
    kept = tmp_path / "log"
    code = f"""
import logging
logging.getLogger("distributed.client").addHandler(logging.FileHandler({str(kept)!r}))
from harness.lab import dask
dask.ahead(dask.AUTO)
import distributed
for name in ("distributed", "distributed.client", "distributed.comm", "tornado.application"):
    logging.getLogger(name).error("lost %s", name)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout + done.stderr == ""
    assert "lost distributed.client" in kept.read_text()


def test_a_cluster_that_declares_no_guests_is_refused(tmp_path: Path) -> None:
    async def go() -> None:
        async with cluster() as made:
            with pytest.raises(MachineError, match="how many guests") as caught:
                await dask.connect(made.scheduler_address, Context(Store(tmp_path / "s"), Quiet()))
            assert "--resources" in caught.value.hint

    asyncio.run(go())


def test_a_cluster_without_workers_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = Context(Store(tmp_path / "s"), Quiet())

    async def go() -> None:
        async with cluster(n_workers=0, resources={"guests": 1}) as made:
            monkeypatch.setattr(dask, "_WORKERS_S", 0.5)
            with pytest.raises(MachineError, match="has no worker") as caught:
                await dask.connect(made.scheduler_address, context)
            assert "dask worker" in caught.value.hint
            monkeypatch.setattr(dask, "_WORKERS_S", 60.0)
            connecting = asyncio.ensure_future(dask.connect(made.scheduler_address, context))
            await asyncio.sleep(1)
            assert not connecting.done()
            made.scale(1)
            worker = await connecting
            assert worker.declared == {"guests": 1}
            await worker.close()

    asyncio.run(go())


def test_no_scheduler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask, "_CONNECT_S", 1.0)
    context = Context(Store(tmp_path / "s"), Quiet())
    with pytest.raises(MachineError, match="no Dask scheduler"):
        asyncio.run(dask.connect("tcp://127.0.0.1:9", context))


def changed(root: Path) -> None:
    """Copy the harness to *root* with one file that differs."""
    shutil.copytree(Path(harness.__file__).parent, root / "harness")
    with (root / "harness" / "outcome.py").open("a") as file:
        file.write("# another version\n")


def hollow(root: Path) -> None:
    """Make a package at *root* that has only the name of the harness."""
    (root / "harness").mkdir()
    (root / "harness" / "__init__.py").touch()


@pytest.mark.parametrize(
    ("make", "what", "why"),
    [
        (changed, "another version of the harness", station.version()),
        (hollow, "cannot run tests", "harness"),
    ],
)
def test_a_worker_that_has_not_this_harness_is_refused(
    make: Callable[[Path], None], what: str, why: str, tmp_path: Path
) -> None:
    make(tmp_path)
    words = ("--nthreads", "1", "--resources", "guests=1", "--no-nanny", "--no-dashboard")
    env = os.environ | {"HARNESS_CACHE": str(tmp_path / "cache")}

    async def go() -> None:
        async with cluster(n_workers=0) as made:
            address = made.scheduler_address
            # Python looks for modules in its working directory first.
            argv = [sys.executable, "-m", "distributed.cli.dask_worker", address, *words]
            worker = subprocess.Popen(argv, cwd=tmp_path, env=env, stderr=subprocess.DEVNULL)
            try:
                with pytest.raises(MachineError, match=what) as caught:
                    await dask.connect(address, Context(Store(tmp_path / "s"), Quiet()))
                assert why in caught.value.why
                assert caught.value.where.startswith("tcp://")
                assert caught.value.hint
            finally:
                worker.kill()
                worker.wait()

    asyncio.run(go())


ENTRY = ("suite", "0" * 64)


def fill(out: Path) -> None:
    (out / "program").write_bytes(bytes(1 << 20))


# What a process of the cluster does in place of a task, by reference.


def take(
    _asks: str, _job: bytes, names: Sequence[str], _digests: Sequence[str], *packed: bytes
) -> bytes:
    """Lack an entry until it is sent."""
    assert len(names) == len(packed)
    return msgspec.msgpack.encode(Answer(lacking=() if names else (ENTRY,)))


def dwell(*_: object) -> bytes:
    time.sleep(6)
    return msgspec.msgpack.encode(Answer())


def die(*_: object) -> bytes:
    os._exit(1)


def fail(*_: object) -> bytes:
    raise OSError(errno.ENOSPC, "No space left on device", "/tmp")


def babble(*_: object) -> bytes:
    return b"an answer of another version"


class Played:
    """A cluster of two processes, as one host of a fleet."""

    def __init__(self, made: Any, worker: dask.DaskWorker, replace: pytest.MonkeyPatch) -> None:
        self.made, self.worker, self._replace = made, worker, replace
        parts = Parts("r", ONLY, "k", 1.0, {}, ())
        self.job = Job(parts)

    def running(self, task: Callable[..., bytes]) -> asyncio.Future[Answer]:
        """Have a process of the cluster do *task*."""
        self._replace.setattr(dask, "task", task)
        return asyncio.ensure_future(self.worker._do(self.job, {"guests": 1}))

    async def lost(self, doing: asyncio.Future[Answer]) -> HostLost:
        """Return what *doing* ends in."""
        with pytest.raises(HostLost) as caught:
            await asyncio.wait_for(doing, 60)
        return caught.value

    async def busy(self, count: int) -> None:
        """Wait until *count* tasks run."""
        while sum(len(each) for each in (await self.worker.client.processing()).values()) < count:
            await asyncio.sleep(0.05)


def play(
    tmp_path: Path,
    replace: pytest.MonkeyPatch,
    go: Callable[[Played], Coroutine[Any, Any, None]],
    **options: Any,
) -> None:
    # Not by name: types are also checked where the extra is not installed.
    library = importlib.import_module("dask")
    # Its defaults, too, would be undone with the setting below.
    importlib.import_module("distributed")

    async def whole() -> None:
        store = Store(tmp_path / "s")
        store.obtain(*ENTRY, fill, Quiet())
        with library.config.set({"distributed.scheduler.allowed-failures": 0}):
            async with cluster(resources={"guests": 1}, **options) as made:
                context = Context(store, Quiet())
                worker = await dask.connect(made.scheduler_address, context)
                try:
                    await go(Played(made, worker, replace))
                finally:
                    await worker.close()

    asyncio.run(whole())


def test_an_entry_that_was_lost_with_its_worker_is_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def go(it: Played) -> None:
        await it.running(take)
        assert len(it.worker._sent) == 1
        client = it.worker.client

        async def workers() -> set[str]:
            """Return where they are; those that are just ending cannot be asked."""
            return set(await client.run(os.getpid, on_error="ignore"))

        before = await workers()
        with contextlib.suppress(Exception):
            await client.run(os._exit, 1)
        while len(now := await workers()) < 2 or now & before:
            await asyncio.sleep(0.1)
        loss = await it.lost(it.running(take))
        assert isinstance(loss, PartLost)
        assert "lost dependencies" in loss.why
        assert loss.where
        await it.running(take)

    play(tmp_path, monkeypatch, go)


def test_tasks_that_are_dropped_are_lost_and_the_cluster_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def go(it: Played) -> None:
        import distributed

        running = [it.running(dwell) for _ in range(4)]
        await it.busy(2)
        make: Any = distributed.Client
        async with make(it.made.scheduler_address, asynchronous=True) as other:
            await other.restart()
        losses = [await it.lost(each) for each in running]
        assert {type(each) for each in losses} == {PartLost}
        # One event, however many attempts it met.
        assert len({each.where for each in losses}) == 1
        assert losses[0].where
        await it.running(take)

    play(tmp_path, monkeypatch, go)


@pytest.mark.parametrize(
    ("task", "why"),
    [(die, "workers died"), (fail, "No space left"), (babble, "")],
)
def test_a_task_that_fails_is_lost_and_the_cluster_is_not(
    task: Callable[..., bytes], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def go(it: Played) -> None:
        loss = await it.lost(it.running(task))
        assert isinstance(loss, PartLost)
        assert why in loss.why
        await it.running(take)

    play(tmp_path, monkeypatch, go)


def test_a_worker_of_another_version_that_comes_later_gets_no_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def go(it: Played) -> None:
        monkeypatch.setattr(dask, "version", lambda: "0.0 (of a later commit)")
        loss = await it.lost(it.running(station.task))
        assert isinstance(loss, PartLost)
        assert "another version of the harness" in loss.what
        assert "of a later commit" in loss.why

    play(tmp_path, monkeypatch, go)


def test_a_cancelled_task_is_lost_and_the_cluster_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def go(it: Played) -> None:
        running = it.running(dwell)
        await it.busy(1)
        (key,) = it.worker.client.futures
        import distributed

        await it.worker.client.cancel([distributed.Future(key, it.worker.client)])
        assert isinstance(await it.lost(running), PartLost)
        await it.running(take)

    play(tmp_path, monkeypatch, go)


@pytest.mark.parametrize("dropped", [False, True])
def test_an_entry_that_cannot_be_sent_is_a_loss_of_those_that_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dropped: bool
) -> None:
    async def go(it: Played) -> None:
        client, scatter = it.worker.client, it.worker.client.scatter

        async def broken(*_: object, **__: object) -> None:
            from distributed.comm.core import CommClosedError

            await asyncio.sleep(1)
            error = CommClosedError("in <TCP>: Stream is closed")
            # So does Dask where its client has dropped what is awaited.
            raise asyncio.CancelledError(str(error)) if dropped else error

        monkeypatch.setattr(client, "scatter", broken)
        losses = [await it.lost(each) for each in [it.running(take), it.running(take)]]
        assert {type(each) for each in losses} == {PartLost}
        assert len({each.where for each in losses}) == 1
        assert "Stream is closed" in losses[0].why
        monkeypatch.setattr(client, "scatter", scatter)
        await it.running(take)

    play(tmp_path, monkeypatch, go)


def test_one_that_is_cancelled_does_not_take_the_entry_of_others_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def go(it: Played) -> None:
        client, scatter = it.worker.client, it.worker.client.scatter
        sending = asyncio.Event()

        async def slow(*data: object, **options: object) -> object:
            sending.set()
            await asyncio.sleep(1)
            return await scatter(*data, **options)

        monkeypatch.setattr(client, "scatter", slow)
        first, second = it.running(take), it.running(take)
        await sending.wait()
        first.cancel()
        await second
        with pytest.raises(asyncio.CancelledError):
            await first

    play(tmp_path, monkeypatch, go)


def test_without_its_scheduler_a_cluster_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def go(it: Played) -> None:
        running = [it.running(dwell), it.running(dwell)]
        await it.busy(2)
        await it.made.scheduler.close()
        for each in running:
            assert not isinstance(await it.lost(each), PartLost)

    play(tmp_path, monkeypatch, go)


def test_attempts_are_tasks(
    prepared: Prepared, user_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))

    async def go() -> None:
        context = Context(user_store, Quiet())
        async with cluster(resources={"guests": 1}) as made:
            fleet = Fleet(tmp_path / "out", context)
            await fleet.join("dask", lambda: dask.connect(made.scheduler_address, context))
            assert fleet.slots(()) == {"dask": 8}
            bench = bench_of(prepared)
            try:
                await fleet.add(ONLY, bench.factory, list(bench.suites.values()))
                fleet.ready(ONLY, bench)
                said = await fleet.lacks(
                    ONLY, [(GuestTable(), ()), (GuestTable(), ("tdx",)), (GuestTable(), ("numa",))]
                )
                assert said["dask"][0] == ""
                assert "declares the resource tdx" in said["dask"][1]
                assert "numa_nodes" in said["dask"][2]
                it = Lab(fleet, "dask", prepared, tmp_path / "out")
                template = TemplateId(ONLY, it.test.group, "dask")
                ready = await fleet.prepare(template)
                assert isinstance(ready, GuestReady)
                assert ready.host == "dask"
                both = await asyncio.gather(*(fleet.run(it.attempt()) for _ in range(4)))
                assert {each.ending.how for each in both} == {"exit"}
                logs = LogFiles(prepared.tests, repeated=False).of(it.test, 1)
                assert both[0].logs == logs
                assert b"ok 1" in (tmp_path / "out" / logs.output).read_bytes()
                await fleet.check(template)
                await _survives(it, fleet)
            finally:
                await fleet.close()

    asyncio.run(go())


async def _survives(it: Lab, fleet: Fleet) -> None:
    """Kill the process of the cluster under an attempt: it is lost, and all that belongs to it."""
    worker = fleet.members["dask"].worker
    assert isinstance(worker, dask.DaskWorker)
    running = [asyncio.ensure_future(fleet.run(it.attempt())) for _ in range(2)]
    processes = list((await worker.client.run(os.getpid)).values())
    while not alive(set().union(*map(descendants, processes)) & guests()):
        assert not all(each.done() for each in running)
        await asyncio.sleep(0.02)
    family = set().union(*map(descendants, processes))
    for process in processes:
        os.kill(process, signal.SIGKILL)
    ended = await asyncio.gather(*running, return_exceptions=True)
    # Dask repeats by itself what it may; what it does not is lost, and the schedule's to repeat.
    for each in ended:
        assert isinstance(each, HostLost | TestEnded), each
        assert isinstance(each, HostLost) or each.ending.how == "exit"
    end = time.monotonic() + 15
    while left := alive(family):
        assert time.monotonic() < end, left
        await asyncio.sleep(0.1)
