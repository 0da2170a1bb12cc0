# SPDX-License-Identifier: GPL-2.0-only
"""A process of a Dask cluster that serves several runs; its worker is played."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest

from harness import ktap
from harness.lab import station, wire
from harness.lab.executor import Attempt, TemplateId
from harness.lab.station import Answer, Job, Parts
from harness.model.ids import ONLY, KernelName
from harness.model.plan import PlannedTest
from harness.model.records import Ending, GuestReady, TestEnded, TestStarted
from harness.model.results import Machine
from harness.model.spec import GuestTable

pytestmark = pytest.mark.unit

TEST = PlannedTest(name="s:t", suite="s", program="t", path="t", timeout_s=1)
STARTED = TestStarted(name=TEST.name, time="", seed="", limit_s=1.0)


class Worker:
    """Says of each test and guest which kernel it is on."""

    def __init__(self) -> None:
        self.lost = ""
        self.opened: dict[KernelName, str] = {}
        self.running: set[KernelName] = set()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def lacking(self, entries: Sequence[object]) -> tuple[()]:
        return ()

    async def open_parts(
        self, kernel: KernelName, key: str, boot_limit_s: float, keys: Mapping[str, str]
    ) -> None:
        self.opened[kernel] = key

    async def prepare(self, template: TemplateId, names: object, out: Path) -> GuestReady:
        return GuestReady(
            kernel=template.kernel,
            suite="s",
            guest=GuestTable(),
            release="",
            build_id=self.opened[template.kernel],
            machine=Machine(),
            seconds=0,
        )

    async def run(self, attempt: Attempt, names: object, out: Path) -> TestEnded:
        kernel = attempt.started.kernel
        self.running.add(kernel)
        try:
            await self.go_on.wait()
        finally:
            self.running.discard(kernel)
        return TestEnded(
            kernel=kernel,
            name=attempt.started.name,
            ending=Ending(how="exit", status=0, detail=self.opened[kernel]),
            report=ktap.Parser().close(),
            total_s=0.0,
        )

    def made_from(self, template: TemplateId) -> frozenset[tuple[str, str]]:
        return frozenset()

    async def leave(self, kernel: KernelName) -> None:
        del self.opened[kernel]

    async def close(self) -> None:
        self.lost = "it was closed"


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    played = Worker()

    async def greet(_host: str, _link: object) -> Worker:
        return played

    monkeypatch.setattr(station, "_STATION", [])
    monkeypatch.setattr(station, "PipeLink", lambda *_: None)
    monkeypatch.setattr("harness.lab.station.RemoteWorker.greet", greet)
    yield played
    station._close()


def job(run: str, *, attempt: bool = True) -> Job:
    """Return what *run* asks for: its kernel has no name, and is its own."""
    return Job(
        Parts(run, ONLY, f"kernel of {run}", 1.0, {}, ()),
        template=("s", GuestTable()),
        attempt=wire.Run(0, TEST, STARTED) if attempt else None,
    )


def do(asked: Job) -> Answer:
    done = station.task(station.version(), msgspec.msgpack.encode(asked), (), ())
    return msgspec.msgpack.decode(done, type=Answer)


def begin(asked: Job) -> Callable[[], Answer]:
    """Begin a task in a thread, as Dask does; return what waits for its answer."""
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(1)
    doing = pool.submit(do, asked)

    def wait() -> Answer:
        with pool:
            return doing.result(10)

    return wait


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_each_run_has_its_own_kernel_though_both_call_it_the_same(worker: Worker) -> None:
    for run in ("a", "b", "a", "b"):
        ended = do(job(run)).ended
        assert ended is not None
        assert (ended.kernel, ended.ending.detail) == (ONLY, f"kernel of {run}")
        made = do(job(run, attempt=False)).made
        assert isinstance(made, GuestReady)
        assert (made.kernel, made.build_id) == (ONLY, f"kernel of {run}")
    assert len(worker.opened) == 2


def test_the_end_of_a_run_ends_its_attempts_and_those_of_no_other(worker: Worker) -> None:
    worker.go_on.clear()
    mine, others = begin(job("a")), begin(job("b"))
    until(lambda: len(worker.running) == 2)
    station.end("a")
    assert mine().failed is not None
    assert list(worker.opened.values()) == ["kernel of b"]
    (made,) = station._STATION
    made.loop.call_soon_threadsafe(worker.go_on.set)
    ended = others().ended
    assert ended is not None
    assert ended.ending.detail == "kernel of b"
    assert not worker.lost


def test_a_task_that_comes_after_the_end_of_its_run_does_nothing(worker: Worker) -> None:
    do(job("a"))
    station.end("a")
    failed = do(job("a")).failed
    assert failed is not None
    assert failed.what == "the run has ended"
    assert not worker.opened


def test_what_a_killed_run_has_left_is_put_away_by_a_later_one(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    do(job("a"))
    station.begin()
    do(job("b"))
    assert len(worker.opened) == 2
    monkeypatch.setattr(station, "_FORGOTTEN_S", 0.0)
    station.begin()
    until(lambda: not worker.opened)
    # It was only waiting, for a kernel that takes long.
    ended = do(job("a")).ended
    assert ended is not None
    assert ended.ending.detail == "kernel of a"


def test_a_worker_that_is_lost_is_opened_anew(worker: Worker) -> None:
    do(job("a"))
    worker.opened.clear()
    worker.lost = "killed"
    ended = do(job("a")).ended
    assert ended is not None
    assert ended.ending.detail == "kernel of a"
