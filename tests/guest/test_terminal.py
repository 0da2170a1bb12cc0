# SPDX-License-Identifier: GPL-2.0-only
"""The user's side of a terminal, on a pseudo-terminal and with a guest that is none."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import signal
import struct
import termios
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from harness.errors import UserError
from harness.model.events import (
    Capabilities,
    Command,
    Event,
    Exit,
    Final,
    GuestDied,
    Hello,
    How,
    KernelLog,
    Stdout,
    Window,
)
from harness.proc import signals
from harness.shell.terminal import Left, Terminal, attach

pytestmark = pytest.mark.unit
COMMAND = Command(("/bin/sh",), 60.0, bytes(32), 0, terminal=Window(24, 80))
END = Exit(0, None, False, 0.0, 0.0, 0, 0.0, True)
LIMIT_S = 20.0


class FakeGuest:
    """Plays *part* and takes note of what was typed."""

    def __init__(self, part: Callable[[FakeGuest], AsyncIterator[Event]]) -> None:
        self._part = part
        self.typed = b""
        self.windows: list[Window] = []
        self.changed = asyncio.Event()
        self.alive = True
        self.hello = Hello(0, 0, b"", "", "", "", "")
        self.boot_log = b""

    @property
    def capabilities(self) -> Capabilities:
        raise NotImplementedError

    async def run(self, command: Command) -> AsyncGenerator[Event]:
        assert command is COMMAND
        try:
            async for event in self._part(self):
                yield event
        finally:
            await self.kill()

    def feed(self, data: bytes) -> None:
        self.typed += data
        self.changed.set()

    def resize(self, window: Window) -> None:
        self.windows.append(window)
        self.changed.set()

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not done():
                self.changed.clear()
                await self.changed.wait()

    async def kill(self) -> None:
        self.alive = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.kill()


class Desk:
    """A pseudo-terminal: the user's end and the harness's."""

    def __init__(self) -> None:
        self.user, self.harness = pty.openpty()
        self.terminal = Terminal.of(self.harness, self.harness)
        self.modes = termios.tcgetattr(self.harness)
        self.log = b""

    def keep(self, data: bytes) -> None:
        self.log += data

    @property
    def restored(self) -> bool:
        return termios.tcgetattr(self.harness) == self.modes

    def read(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            data += os.read(self.user, length - len(data))
        return data


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    for fd in (desk.user, desk.harness):
        try:
            os.close(fd)
        except OSError:
            assert fd == desk.user  # a test that hangs up has closed it


def visit(desk: Desk, part: Callable[[FakeGuest], AsyncIterator[Event]]) -> tuple[Final, FakeGuest]:
    async def work() -> tuple[Final, FakeGuest]:
        guest = FakeGuest(part)
        try:
            return await attach(guest, COMMAND, desk.terminal, desk.keep), guest
        finally:
            assert not guest.alive

    return signals.run(work())


def test_keys_and_text_pass_as_they_are(desk: Desk) -> None:
    async def echo(guest: FakeGuest) -> AsyncIterator[Event]:
        assert not desk.restored
        yield Stdout(b"\x1b[1mguest\xff\n")
        yield KernelLog(b"[ 1.0] a line\n")
        # Ctrl-C, Ctrl-Z, Ctrl-D, Ctrl-S, return, a backslash, half a character
        os.write(desk.user, b"\x03\x1a\x04\x13\r\\\xc3")
        await guest.until(lambda: len(guest.typed) >= 7)
        yield END

    end, guest = visit(desk, echo)
    assert end == END
    assert guest.typed == b"\x03\x1a\x04\x13\r\\\xc3"
    # Nothing was echoed here and no line end was changed: that is the guest's business.
    assert desk.read(11) == b"\x1b[1mguest\xff\n"
    assert desk.log == b"[ 1.0] a line\n"
    assert desk.restored


def test_the_escape_leaves(desk: Desk) -> None:
    async def deaf(guest: FakeGuest) -> AsyncIterator[Event]:
        os.write(desk.user, b"ls\x1dnot for the guest")
        yield Stdout(b"hello")
        await asyncio.sleep(LIMIT_S)

    with pytest.raises(Left):
        visit(desk, deaf)
    assert desk.restored


def test_a_terminal_that_hangs_up_is_left(desk: Desk) -> None:
    async def endless(guest: FakeGuest) -> AsyncIterator[Event]:
        os.close(desk.user)
        while True:
            yield Stdout(b"x" * 100)
            await asyncio.sleep(0.01)

    with pytest.raises(Left):
        visit(desk, endless)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_the_terminal_is_what_it_was(
    desk: Desk, number: signal.Signals
) -> None:
    async def signalled(guest: FakeGuest) -> AsyncIterator[Event]:
        yield Stdout(b"hello")
        assert not desk.restored
        os.kill(os.getpid(), number)
        await asyncio.sleep(LIMIT_S)

    with pytest.raises(KeyboardInterrupt):
        visit(desk, signalled)
    assert desk.restored


def test_sighup_leaves_and_its_handler_is_what_it_was(desk: Desk) -> None:
    async def hung_up(guest: FakeGuest) -> AsyncIterator[Event]:
        yield Stdout(b"hello")
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(LIMIT_S)

    def ours(_number: int, _frame: object) -> None:
        raise AssertionError

    before = signal.signal(signal.SIGHUP, ours)
    try:
        with pytest.raises(Left):
            visit(desk, hung_up)
        assert signal.getsignal(signal.SIGHUP) is ours
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_fault_of_our_own_leaves_the_terminal_as_it_was(desk: Desk) -> None:
    async def broken(guest: FakeGuest) -> AsyncIterator[Event]:
        yield Stdout(b"hello")
        raise ValueError("a fault")

    with pytest.raises(ValueError, match="a fault"):
        visit(desk, broken)
    assert desk.restored


def test_the_guest_learns_the_size_of_the_window(desk: Desk) -> None:
    def set_size(rows: int, columns: int) -> None:
        size = struct.pack("<HHHH", rows, columns, 0, 0)
        fcntl.ioctl(desk.harness, termios.TIOCSWINSZ, size)

    async def resized(guest: FakeGuest) -> AsyncIterator[Event]:
        set_size(50, 132)
        # No terminal of this process, so the kernel does not send it.
        os.kill(os.getpid(), signal.SIGWINCH)
        await guest.until(lambda: bool(guest.windows))
        yield END

    assert desk.terminal.window() == Window(24, 80)  # that of a terminal that does not know
    _, guest = visit(desk, resized)
    assert guest.windows == [Window(50, 132)]


def test_a_death_is_told(desk: Desk) -> None:
    died = GuestDied(How.PANIC, "the kernel panicked")

    async def panic(guest: FakeGuest) -> AsyncIterator[Event]:
        yield died

    assert visit(desk, panic)[0] == died
    assert desk.restored


def test_a_file_is_no_terminal(desk: Desk) -> None:
    with Path(os.devnull).open() as null:
        for keys, screen, name in (
            (null.fileno(), desk.harness, "input"),
            (desk.harness, null.fileno(), "output"),
        ):
            with pytest.raises(UserError) as caught:
                Terminal.of(keys, screen)
            assert f"standard {name}" in str(caught.value)
            assert "--command" in str(caught.value)
