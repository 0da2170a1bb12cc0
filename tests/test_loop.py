# SPDX-License-Identifier: GPL-2.0-only
"""Signals end an event loop where it waits, and only after what must be finished."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator

import pytest

from harness import loop

pytestmark = pytest.mark.unit
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """pytest may itself run with SIGINT ignored, as a background job."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_result_comes_back_and_the_handlers_stay() -> None:
    async def main() -> int:
        return 7

    before = [signal.getsignal(number) for number in SIGNALS]
    assert loop.run(main()) == 7
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_cancels_where_the_task_waits_and_nowhere_else(number: signal.Signals) -> None:
    steps = []

    async def main() -> None:
        os.kill(os.getpid(), number)
        steps.append("not between two instructions")
        try:
            await asyncio.sleep(10)
        finally:
            os.kill(os.getpid(), number)
            await asyncio.sleep(0)
            steps.append("cleaned up, whatever else comes")

    before = [signal.getsignal(each) for each in SIGNALS]
    with pytest.raises(KeyboardInterrupt, match=number.name):
        loop.run(main())
    assert steps == ["not between two instructions", "cleaned up, whatever else comes"]
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_a_signal_that_comes_too_late_is_told_all_the_same() -> None:
    async def main() -> int:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            pass
        return 7

    with pytest.raises(KeyboardInterrupt):
        loop.run(main())


def test_an_ignored_signal_stays_ignored() -> None:
    async def main() -> int:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0.01)
        return 7

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert loop.run(main()) == 7


def test_work_to_the_end_is_done_before_the_cancellation_is_felt() -> None:
    steps = []

    async def work() -> None:
        await asyncio.sleep(0.02)
        steps.append("reaped")

    async def main() -> None:
        task = asyncio.create_task(loop.to_the_end(work()))
        await asyncio.sleep(0)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0.001)
        with pytest.raises(asyncio.CancelledError):
            await task
        steps.append("cancelled")

    loop.run(main())
    assert steps == ["reaped", "cancelled"]


def test_work_to_the_end_gives_its_result_or_its_error() -> None:
    async def good() -> int:
        return 7

    async def bad() -> int:
        raise ValueError("why")

    assert loop.run(loop.to_the_end(good())) == 7
    with pytest.raises(ValueError, match="why"):
        loop.run(loop.to_the_end(bad()))


def test_patience_ends() -> None:
    async def main() -> float:
        begin = time.monotonic()
        with pytest.raises(TimeoutError):
            await loop.Patience(0.3).wait(asyncio.sleep(60))
        return time.monotonic() - begin

    assert 0.2 < loop.run(main()) < 5


def test_patience_ends_also_with_much_to_hear() -> None:
    async def main() -> int:
        patience = loop.Patience(0.2)
        for heard in range(1_000_000):
            try:
                await patience.wait(asyncio.sleep(0))
            except TimeoutError:
                return heard
        return -1

    assert loop.run(main()) > 0


def test_a_loop_that_was_held_up_has_not_waited() -> None:
    async def main() -> bytes:
        reader = asyncio.StreamReader()
        ends = os.pipe()
        pipe = os.fdopen(ends[0], "rb")
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )

        # The answer comes while the loop cannot look; then the limit is long over as well.
        def hold_up() -> None:
            time.sleep(1.0)
            os.write(ends[1], b"answer\n")

        asyncio.get_running_loop().call_later(0.05, hold_up)
        try:
            return await loop.Patience(0.6).wait(reader.readline())
        finally:
            transport.close()
            os.close(ends[1])

    assert loop.run(main()) == b"answer\n"


@pytest.mark.parametrize("number", SIGNALS)
def test_signals_are_held_and_let_through_again(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    with loop.held() as caught:
        with pytest.raises(KeyboardInterrupt, match=number.name), loop.interruptible(caught):
            signal.raise_signal(number)
        os.kill(os.getpid(), number)
        time.sleep(0.01)
        assert caught == [number]
        # What came in between is not lost.
        with pytest.raises(KeyboardInterrupt, match=number.name), loop.interruptible(caught):
            raise AssertionError
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_a_loop_inside_is_cancelled_and_the_next_signal_held() -> None:
    async def main() -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(10)

    with loop.held() as caught:
        with pytest.raises(KeyboardInterrupt, match="SIGHUP"):
            loop.run(main())
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(0.01)
        assert caught == [signal.SIGHUP]
