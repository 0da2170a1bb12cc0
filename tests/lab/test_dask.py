# SPDX-License-Identifier: GPL-2.0-only
"""Attempts as tasks of a Dask cluster of two processes on this machine."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from harness.context import Context
from harness.errors import MachineError
from harness.lab import dask
from harness.lab.executor import HostLost, TemplateId
from harness.lab.fleet import Fleet
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
