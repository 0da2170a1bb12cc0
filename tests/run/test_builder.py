# SPDX-License-Identifier: GPL-2.0-only
"""The thread that builds: it is stopped where it waits, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.proc.process import capture, run
from harness.progress import Progress, Quiet
from harness.run.builder import Builder
from harness.store import Store

pytestmark = [pytest.mark.unit, pytest.mark.slow]


def test_work_is_done_in_one_thread_one_thing_after_the_other() -> None:
    async def go(builder: Builder) -> list[int]:
        found = [builder.do(threading.get_native_id) for _ in range(3)]
        return list(await asyncio.gather(*found))

    with Builder() as builder:
        threads = asyncio.run(go(builder))
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_native_id()


def test_what_it_starts_is_nice_and_nothing_else_is() -> None:
    async def go(builder: Builder) -> str:
        return (await builder.do(lambda: run(["nice"]))).output.strip()

    mine = os.nice(0)
    with Builder(nice=7) as builder:
        assert int(asyncio.run(go(builder))) == mine + 7
    assert os.nice(0) == mine


def test_errors_come_back() -> None:
    def fail() -> None:
        raise ValueError("why")

    with Builder() as builder, pytest.raises(ValueError, match="why"):
        asyncio.run(builder.do(fail))


def _sleep(mark: Path) -> Callable[[], object]:
    return lambda: run(["sh", "-c", f"echo $$ >{mark}; sleep 600"])


def _captured(mark: Path) -> Callable[[], object]:
    return lambda: capture(["sh", "-c", f"echo $$ >{mark}; sleep 600"], stdin=b"x")


@pytest.mark.parametrize("work", [_sleep, _captured])
def test_a_build_that_is_cancelled_ends_with_its_programs(
    tmp_path: Path, work: Callable[[Path], Callable[[], object]]
) -> None:
    mark = tmp_path / "pid"

    async def go(builder: Builder) -> None:
        building = asyncio.ensure_future(builder.do(work(mark)))
        while not (mark.exists() and mark.read_text().strip()):
            await asyncio.sleep(0.01)
        building.cancel()
        with pytest.raises(asyncio.CancelledError):
            await building
        # It is gone when that returns, and the thread is free.
        with pytest.raises(ProcessLookupError):
            os.kill(int(mark.read_text()), 0)
        assert await builder.do(lambda: 7) == 7

    with Builder() as builder:
        asyncio.run(asyncio.wait_for(go(builder), 60))


class Told(Quiet):
    """Notes that a step was opened."""

    def __init__(self) -> None:
        self.waiting = threading.Event()

    def step(self, title: str):  # type: ignore[no-untyped-def]
        self.waiting.set()
        return super().step(title)


def test_a_build_that_waits_for_a_lock_is_stopped(tmp_path: Path) -> None:
    store, told = Store(tmp_path / "cache"), Told()
    quiet: Progress = Quiet()

    def wait() -> None:
        with Store(tmp_path / "cache").lock("x", told):
            pass

    async def go(builder: Builder) -> None:
        building = asyncio.ensure_future(builder.do(wait))
        await asyncio.to_thread(told.waiting.wait)
        building.cancel()
        with pytest.raises(asyncio.CancelledError):
            await building

    begun = time.monotonic()
    with store.lock("x", quiet), Builder() as builder:
        asyncio.run(asyncio.wait_for(go(builder), 60))
    assert time.monotonic() - begun < 60
