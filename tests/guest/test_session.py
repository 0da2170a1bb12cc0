# SPDX-License-Identifier: GPL-2.0-only
"""A session with an agent that the test plays itself."""

from __future__ import annotations

import asyncio
import os
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.guest import frames
from harness.guest.process import QemuProcess
from harness.guest.session import Session
from harness.guest.starved import TICK_S, GuestTime
from harness.model.events import Command, GuestDied
from harness.proc.signals import LoopTimeout

pytestmark = [pytest.mark.unit, pytest.mark.slow]


class Writer:
    """The host's end of the channel to the agent: notes what is sent, and when."""

    def __init__(self) -> None:
        self.decoder = frames.Decoder()
        self.sent: list[tuple[float, frames.Frame]] = []
        self.time_is_up = asyncio.Event()

    def write(self, data: bytes) -> None:
        for frame in self.decoder.feed(data):
            self.sent.append((time.monotonic(), frame))
            if isinstance(frame, frames.TimeIsUp):
                self.time_is_up.set()

    def is_closing(self) -> bool:
        return False


def machine(agent: asyncio.StreamReader, writer: Writer, stood_still_s: float = 0.0) -> QemuProcess:
    """Return what a session needs of a QEMU, which is this process."""

    console = asyncio.StreamReader()

    async def never() -> Any:
        await asyncio.get_running_loop().create_future()

    async def mute(command: str, limit_s: float, **arguments: str) -> Any:
        raise TimeoutError

    async def kill() -> None:
        agent.feed_eof()
        console.feed_eof()

    def clock() -> GuestTime:
        counted = GuestTime(os.getpid())
        counted.stood_still_s = stood_still_s
        return counted

    parts = SimpleNamespace(
        agent=agent,
        agent_writer=writer,
        console=console,
        death=never,
        time=clock,
        execute=mute,
        kill=kill,
        errors=str,
        patience=LoopTimeout,
    )
    return cast(QemuProcess, parts)


@pytest.mark.parametrize("before_s", [0.0, TICK_S * 0.6, TICK_S * 0.9, TICK_S * 1.8])
def test_the_limit_begins_with_the_program(before_s: float) -> None:
    """Whatever the time between the order to run it and its start is."""
    limit_s = TICK_S * 2

    async def work() -> tuple[float, frames.Frame]:
        agent, writer = asyncio.StreamReader(), Writer()
        command = Command(("/bin/true",), limit_s, bytes(frames.SEED_SIZE), 0)
        session = Session(machine(agent, writer), command, heartbeat_limit_s=60)

        async def follow() -> None:
            async for _ in session.events():
                pass

        following = asyncio.create_task(follow())
        await asyncio.sleep(before_s)
        started = time.monotonic()
        agent.feed_data(frames.encode(frames.Beat(0)))
        await asyncio.wait_for(writer.time_is_up.wait(), 30)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        at, frame = writer.sent[-1]
        return at - started, frame

    took, frame = asyncio.run(work())
    assert took >= limit_s
    assert frame == frames.TimeIsUp(round(limit_s * 1e9))


def test_after_a_stop_the_agent_may_be_silent_for_as_long() -> None:
    """Its kernel can have taken the stop for the agent's own processor time."""
    limit_s, stopped_s = TICK_S * 2, 1.0

    async def work() -> tuple[float, object]:
        agent = asyncio.StreamReader()
        command = Command(("/bin/true",), 60, bytes(frames.SEED_SIZE), 0)
        session = Session(machine(agent, Writer(), stopped_s), command, limit_s)
        agent.feed_data(frames.encode(frames.Beat(0)))
        started = time.monotonic()
        events = [event async for event in session.events()]
        return time.monotonic() - started, events[-1]

    took, last = asyncio.run(asyncio.wait_for(work(), 60))
    assert isinstance(last, GuestDied)
    assert "no heartbeat" in last.detail
    assert took >= limit_s + stopped_s
