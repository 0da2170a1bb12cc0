# SPDX-License-Identifier: GPL-2.0-only
"""Signals end an event loop where it waits, and only after what must be finished."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from harness.proc import signals

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
    assert signals.run(main()) == 7
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
        signals.run(main())
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
        signals.run(main())


def test_an_ignored_signal_stays_ignored() -> None:
    async def main() -> int:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0.01)
        return 7

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert signals.run(main()) == 7


def test_work_to_the_end_is_done_before_the_cancellation_is_felt() -> None:
    steps = []

    async def work() -> None:
        await asyncio.sleep(0.02)
        steps.append("reaped")

    async def main() -> None:
        task = asyncio.create_task(signals.to_the_end(work()))
        await asyncio.sleep(0)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0.001)
        with pytest.raises(asyncio.CancelledError):
            await task
        steps.append("cancelled")

    signals.run(main())
    assert steps == ["reaped", "cancelled"]


def test_work_to_the_end_gives_its_result_or_its_error() -> None:
    async def good() -> int:
        return 7

    async def bad() -> int:
        raise ValueError("why")

    assert signals.run(signals.to_the_end(good())) == 7
    with pytest.raises(ValueError, match="why"):
        signals.run(signals.to_the_end(bad()))


def test_patience_ends() -> None:
    async def main() -> float:
        begin = time.monotonic()
        with pytest.raises(TimeoutError):
            await signals.LoopTimeout(0.3).wait(asyncio.sleep(60))
        return time.monotonic() - begin

    assert 0.2 < signals.run(main()) < 5


def test_the_limit_holds_in_a_busy_loop() -> None:
    async def main() -> int:
        patience = signals.LoopTimeout(0.2)
        for heard in range(1_000_000):
            try:
                await patience.wait(asyncio.sleep(0))
            except TimeoutError:
                return heard
        return -1

    assert signals.run(main()) > 0


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
            return await signals.LoopTimeout(0.6).wait(reader.readline())
        finally:
            transport.close()
            os.close(ends[1])

    assert signals.run(main()) == b"answer\n"


@pytest.mark.parametrize("number", SIGNALS)
def test_signals_are_held_and_let_through_again(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    with signals.held() as held:
        with held.let_through():
            pass
        signal.raise_signal(number)
        # What came in between is not lost.
        with pytest.raises(KeyboardInterrupt, match=number.name), held.let_through():
            raise AssertionError
    assert [signal.getsignal(each) for each in SIGNALS] == before
    with signals.held() as held:
        with pytest.raises(KeyboardInterrupt, match=number.name), held.let_through():
            signal.raise_signal(number)
        signal.raise_signal(number)


def test_of_many_signals_one_is_let_through() -> None:
    """The others come while that one is dealt with, and must not cut that short."""
    steps = []
    with signals.held() as held:
        try:
            with held.let_through():
                try:
                    signal.raise_signal(signal.SIGINT)
                finally:
                    for number in SIGNALS:
                        signal.raise_signal(number)
                    steps.append("cleaned up")
        except KeyboardInterrupt:
            for number in SIGNALS:
                signal.raise_signal(number)
            steps.append("reported")
    assert steps == ["cleaned up", "reported"]


def test_a_loop_inside_is_cancelled_and_the_next_signal_held() -> None:
    async def main() -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(10)

    with signals.held() as held:
        with pytest.raises(KeyboardInterrupt, match="SIGHUP"), held.let_through():
            signals.run(main())
        signal.raise_signal(signal.SIGHUP)


def test_at_no_moment_a_signal_ends_the_process() -> None:
    """Also not while the loop is closed: hundreds of signals, over as many loops."""
    script = (
        "import asyncio, os, signal, sys, threading\n"
        "from harness.proc import signals\n"
        "numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]\n"
        "over = threading.Event()\n"
        "def send():\n"
        "    while not over.wait(0.0005):\n"
        "        os.kill(os.getpid(), numbers[os.urandom(1)[0] % 3])\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with signals.held() as held:\n"
        "    thread = threading.Thread(target=send)\n"
        "    thread.start()\n"
        "    for _ in range(100):\n"
        "        try:\n"
        "            signals.run(asyncio.sleep(0.002))\n"
        "        except KeyboardInterrupt:\n"
        "            pass\n"
        "    over.set()\n"
        "    thread.join()\n"
        "print('alive')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr
    # Nor is one lost in a place where Python ignores exceptions.
    assert done.stderr == ""
