# SPDX-License-Identifier: GPL-2.0-only
"""A replay that is let go: it may run for long, but one that stands still for ever is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, cast

import pytest

from harness.guest import replay
from harness.guest.replay import Replay
from harness.guest.stub import StubError
from harness.proc.signals import LoopTimeout

pytestmark = pytest.mark.unit


class Qemu:
    """Says how far it has come each time it is asked, from a list whose last is repeated."""

    def __init__(self, *counts: int) -> None:
        self.counts = list(counts)
        self.asked = 0

    def patience(self, limit_s: float) -> LoopTimeout:
        return LoopTimeout(limit_s)

    async def execute(self, command: str) -> dict[str, int]:
        assert command == "query-replay"
        self.asked += 1
        return {"icount": self.counts.pop(0) if len(self.counts) > 1 else self.counts[0]}


class Stub:
    """Answers after some seconds, None for never."""

    def __init__(self, after_s: float | None, trouble: str = "") -> None:
        self.after_s, self.trouble = after_s, trouble

    async def answer(self, limit_s: float | None) -> bytes:
        await asyncio.sleep(1000 if self.after_s is None else self.after_s)
        if self.trouble:
            raise StubError(self.trouble)
        return b"T05"


def stopped(qemu: Qemu, stub: Stub) -> bytes:
    none: Any = None

    async def wait() -> bytes:
        made: Awaitable[bytes] = Replay(
            none, none, cast(Any, qemu), cast(Any, stub), None
        ).stopped()
        return await asyncio.wait_for(made, 20)

    return asyncio.run(wait())


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "_STUCK_S", 0.3)


def test_one_that_runs_is_waited_for() -> None:
    qemu = Qemu(1, 2, 3, 4, 5, 6)
    assert stopped(qemu, Stub(1.2)) == b"T05"
    assert qemu.asked >= 2


def test_one_that_stands_still_without_a_word_is_told() -> None:
    with pytest.raises(StubError, match="waits for something after 7 instructions"):
        stopped(Qemu(5, 6, 7), Stub(None))


def test_the_end_of_qemu_is_told_at_once() -> None:
    with pytest.raises(StubError, match="the connection ended"):
        stopped(Qemu(1, 2), Stub(0.0, "the connection ended"))
