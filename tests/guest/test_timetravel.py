# SPDX-License-Identifier: GPL-2.0-only
"""The way back, on a machine that is a list of instructions, by the packets that gdb sends."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any, Self, cast

import pytest

from harness.errors import MachineError
from harness.guest import timetravel
from harness.guest.record import Recording
from harness.guest.snapshot import Snapshot
from harness.guest.stub import packet, receive
from harness.guest.timetravel import TimeTravel

pytestmark = pytest.mark.unit
START = 1000
LENGTH = 40_000
WRITER = 0x77
"""The address of the instruction that writes; each is as far as the rest of its number."""
SPAN = 0x100


def recording(end: int) -> Recording:
    return Recording(START, end, halted=False, console="", agent="", qemu="")


class FakeTape:
    directory = Path("/recording")
    guest: Snapshot
    letter = b""

    def __init__(self, end: int, writes: frozenset[int], checkpoints: tuple[int, ...] = ()) -> None:
        self.recording = recording(end)
        self.writes = writes
        self.checkpoints = checkpoints
        self.made = 0
        self.executed = 0
        """Instructions of all replays."""
        self.open = 0

    def begin(self, count: int) -> int:
        return max((each for each in self.checkpoints if each <= count), default=START)


class FakeQemu:
    def __init__(self, machine: FakeReplay) -> None:
        self._machine = machine

    async def execute(self, command: str, *, icount: int = 0) -> None:
        assert command in ("replay-break", "replay-delete-break")
        self._machine.limit = icount if command == "replay-break" else 0


class FakeReplay:
    """A replay whose instruction number N is at address N % SPAN, and its own gdbstub."""

    def __init__(self, tape: FakeTape, count: int) -> None:
        self.tape, self.at_count, self.limit = tape, count, 0
        self.points: set[bytes] = set()
        self.qemu = FakeQemu(self)
        self.stub = self
        self._sent = b""
        self.resumed = 0
        self.closed = False
        tape.made += 1
        tape.open += 1

    @classmethod
    async def at(cls, tape: FakeTape, count: int) -> Self:
        assert count == tape.begin(count), "it cannot be begun there"
        return cls(tape, count)

    async def go_to(self, count: int) -> None:
        self.tape.executed += max(0, count - self.at_count)
        self.at_count = max(count, self.at_count)

    async def count(self) -> int:
        return self.at_count

    async def close(self) -> None:
        self.tape.open -= not self.closed
        self.closed = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def demand(self, request: bytes) -> None:
        assert await self.ask(request) == b"OK"

    async def ask(self, request: bytes) -> bytes:
        if request == b"g":
            return b"%x" % (self.at_count % SPAN)
        if request[:1] in b"Zz":
            change = self.points.add if request[:1] == b"Z" else self.points.discard
            change(b"Z" + request[1:])
            return b"OK"
        if request in (b"c", b"s"):
            self.resumed += 1
            assert self.resumed < 3000, "each stop costs time"
            return self._run(single=request == b"s")
        return b"answer to " + request

    def send(self, request: bytes) -> None:
        self._sent = request

    async def stopped(self) -> bytes:
        return await self.ask(self._sent)

    async def answer(self, limit_s: float | None) -> bytes:
        return await self.ask(self._sent)

    def _run(self, *, single: bool) -> bytes:
        limit = self.limit or self.tape.recording.end
        while True:
            if not single and b"Z0,%x,1" % (self.at_count % SPAN) in self.points:
                return b"T05thread:01;"
            if self.at_count >= limit:
                return b"T02thread:01;"
            written = self.at_count in self.tape.writes
            self.at_count += 1
            self.tape.executed += 1
            # QEMU 7.2 tells of the count that is reached, where it is both.
            if written and b"Z2,5000,8" in self.points and self.at_count != limit:
                return b"T05thread:01;watch:5000;"
            if single:
                return b"T05thread:01;"


class Gdb:
    """Asks what gdb asks."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, request: bytes, limit_s: float = 20) -> bytes:
        self.writer.write(b"+" + packet(request))
        return await asyncio.wait_for(receive(self.reader), limit_s)

    async def where(self) -> int:
        """Return how many instructions the guest has executed since the start."""
        return int(bytes.fromhex((await self.ask(b"qRcmd," + b"icount".hex().encode())).decode()))


def session(
    monkeypatch: pytest.MonkeyPatch,
    *requests: bytes,
    length: int = LENGTH,
    writes: frozenset[int] = frozenset(),
    checkpoints: tuple[int, ...] = (),
) -> tuple[list[tuple[bytes, int]], FakeTape]:
    """Send *requests* at the end of a recording; return each answer, and where that was.

    *checkpoints* are counted from its start.
    """
    tape = FakeTape(START + length, writes, tuple(START + each for each in checkpoints))
    monkeypatch.setattr(timetravel, "Replay", FakeReplay)

    async def talk() -> list[tuple[bytes, int]]:
        ours, theirs = socket.socketpair()
        served = await asyncio.open_connection(sock=theirs)
        travel = TimeTravel(cast(Any, FakeReplay(tape, START + length)), *served)
        serving = asyncio.create_task(travel.serve())
        gdb = Gdb(*await asyncio.open_connection(sock=ours))
        said = [(await gdb.ask(each), await gdb.where()) for each in requests]
        gdb.writer.close()
        await asyncio.wait_for(serving, 20)
        served[1].close()
        return said

    said = asyncio.run(talk())
    assert not tape.open, "a QEMU is left"
    return said, tape


def test_one_step_back_is_one_instruction(monkeypatch: pytest.MonkeyPatch) -> None:
    said, _ = session(monkeypatch, b"bs", b"bs", b"s", b"bs")
    assert [at for _, at in said] == [LENGTH - 1, LENGTH - 2, LENGTH - 1, LENGTH - 2]
    assert all(answer.startswith(b"T05") for answer, _ in said)


def test_the_previous_breakpoint_is_the_last_before(monkeypatch: pytest.MonkeyPatch) -> None:
    said, _ = session(monkeypatch, b"Z0,10,1", b"bc", b"bc", b"c", b"bc")
    last = max(at for at in range(START, START + LENGTH) if at % SPAN == 0x10) - START
    # Forward from one comes to itself at once in this machine: gdb steps away before.
    assert [at for _, at in said[1:3]] == [last, last - SPAN]


def test_a_breakpoint_that_is_taken_back_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    said, _ = session(monkeypatch, b"Z0,10,1", b"z0,10,1", b"bc")
    assert said[-1] == (b"T05replaylog:begin;", 0)


@pytest.mark.parametrize("writes", [{5}, {5, 700}, {5, 700, 39_999}, set(range(300, 900))])
def test_the_last_write_is_found_before_it_is_done(
    monkeypatch: pytest.MonkeyPatch, writes: set[int]
) -> None:
    asked = b"Z2,5000,8"
    numbers = frozenset(START + each for each in writes)
    said, _ = session(monkeypatch, asked, b"bc", b"bc", writes=numbers)
    last, *others = sorted(writes, reverse=True)
    assert b"watch:5000;" in said[1][0]
    assert said[1][1] == last
    if others:
        assert said[2][1] == others[0]
    else:
        assert said[2] == (b"T05replaylog:begin;", 0)


def test_after_the_write_is_done_it_is_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    said, _ = session(
        monkeypatch, b"Z2,5000,8", b"bc", b"s", b"bc", writes=frozenset({START + 50, START + 60})
    )
    assert [at for _, at in said[1:]] == [60, 61, 60]


@pytest.mark.parametrize("first", [0, 3000, 60_000])
def test_a_place_that_comes_all_the_time_is_found_soon(
    monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    """Each stop takes about a millisecond, so that a million of them cannot be gone through."""
    writes = frozenset(START + each for each in range(first, 65_000, 3))
    said, tape = session(monkeypatch, b"Z2,5000,8", b"bc", length=100_000, writes=writes)
    assert said[1][1] == max(writes) - START
    assert tape.made < 25


def test_the_end_is_not_run_beyond(monkeypatch: pytest.MonkeyPatch) -> None:
    said, _ = session(monkeypatch, b"c", b"bs", b"c")
    assert said[0] == (b"T05replaylog:end;", LENGTH)
    assert said[2] == (b"T05replaylog:end;", LENGTH)


def test_the_beginning_is_not_gone_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    said, _ = session(monkeypatch, b"bc", b"bs", b"s", b"bs")
    assert said[0] == (b"T05replaylog:begin;", 0)
    assert said[1] == (b"T05replaylog:begin;", 0)
    assert [at for _, at in said[2:]] == [1, 0]


def test_gdb_is_told_that_there_is_a_way_back(monkeypatch: pytest.MonkeyPatch) -> None:
    said, _ = session(monkeypatch, b"qSupported:multiprocess+;swbreak+", b"m1000,8")
    assert said[0][0].endswith(b"ReverseStep+;ReverseContinue+")
    assert b"multiprocess" not in said[0][0]
    assert said[1][0] == b"answer to m1000,8"


def test_a_step_back_begins_at_the_last_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    said, tape = session(monkeypatch, b"bs", b"bs", checkpoints=(10_000, 39_000))
    assert [at for _, at in said] == [LENGTH - 1, LENGTH - 2]
    assert tape.executed <= 2 * (LENGTH - 39_000)


@pytest.mark.parametrize("checkpoints", [(39_000,), (500, 700, 701, 39_998, 39_999), (40_000,)])
@pytest.mark.parametrize("writes", [{0}, {499}, {500}, {699, 700, 701}, {39_998}, {39_999}, set()])
def test_with_checkpoints_the_same_writes_are_found(
    monkeypatch: pytest.MonkeyPatch, writes: set[int], checkpoints: tuple[int, ...]
) -> None:
    """Also those at a checkpoint, and just before."""
    requests = [b"Z2,5000,8", *[b"bc"] * (len(writes) + 1)]
    numbers = frozenset(START + each for each in writes)
    said, _ = session(monkeypatch, *requests, writes=numbers, checkpoints=checkpoints)
    assert [at for _, at in said[1:]] == [*sorted(writes, reverse=True), 0]
    assert said[-1][0] == b"T05replaylog:begin;"


@pytest.mark.parametrize("at", [0x10, 0xF8])
def test_with_checkpoints_the_same_breakpoints_are_found(
    monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Also one that is at a checkpoint: address 0xf8 is that of instruction 10,000."""
    point = b"Z0,%x,1" % at
    plain, _ = session(monkeypatch, point, *[b"bc"] * 12, length=12_000)
    places = tuple(range(1000, 12_000, 1000))
    said, _ = session(monkeypatch, point, *[b"bc"] * 12, length=12_000, checkpoints=places)
    assert said == plain
    assert (10_000 in [where for _, where in said]) == (at == 0xF8)


def test_what_is_near_is_found_without_a_replay_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    places = tuple(range(1000, LENGTH, 1000))
    writes = frozenset({START + LENGTH - 500})
    said, tape = session(monkeypatch, b"Z2,5000,8", b"bc", writes=writes, checkpoints=places)
    assert said[1][1] == LENGTH - 500
    assert tape.executed <= 2 * 1000


def test_a_replay_that_goes_another_way_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    tape = FakeTape(START + 5000, frozenset())
    monkeypatch.setattr(timetravel, "Replay", FakeReplay)

    class Elsewhere(FakeReplay):
        async def ask(self, request: bytes) -> bytes:
            return b"elsewhere" if request == b"g" else await super().ask(request)

    async def talk() -> None:
        travel = TimeTravel(
            cast(Any, FakeReplay(tape, START + 5000)), cast(Any, None), cast(Any, None)
        )
        travel._points[b"Z0,10,1"] = None
        stop = await travel._last_stop(START, START + 5000)

        async def found(now: int) -> object:
            return stop

        await travel._spares.close()
        monkeypatch.setattr(travel, "_last_before", found)
        monkeypatch.setattr(timetravel, "Replay", Elsewhere)
        await travel._go_back()

    with pytest.raises(MachineError, match="where another one did"):
        asyncio.run(talk())
