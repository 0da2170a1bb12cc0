# SPDX-License-Identifier: GPL-2.0-only
"""Connects the user's terminal with a program in a guest.

All bytes pass unchanged, as with ssh: escape sequences from the guest have their effect on the
terminal.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import termios
import tty
from collections.abc import Callable, Iterator

import msgspec

from harness.errors import UserError
from harness.model.events import (
    Command,
    Exit,
    Final,
    Guest,
    GuestDied,
    KernelLog,
    NotStarted,
    Stdout,
    Window,
)

ESCAPE = 0x1D
"""Ctrl-], which leaves the guest, as in telnet and virsh; no character of UTF-8 has this byte."""
_READ = 4096
_DEFAULT = Window(24, 80)
_MOST = 0xFFFF


class Terminal(msgspec.Struct, frozen=True):
    """Two descriptors of one terminal."""

    keys: int
    screen: int

    @classmethod
    def of(cls, keys: int, screen: int) -> Terminal:
        """Return the terminal of two descriptors; raises UserError if one is no terminal."""
        for fd, name in ((keys, "standard input"), (screen, "standard output")):
            if not os.isatty(fd):
                raise UserError(
                    f"{name} is not a terminal",
                    why="an interactive shell needs a terminal",
                    hint="start it from a terminal, or run one command with --command 'WORDS'",
                )
        return cls(keys, screen)

    def window(self) -> Window:
        """Return its size; 24 lines of 80 columns if it reports none."""
        try:
            columns, rows = os.get_terminal_size(self.screen)
        except OSError:
            return _DEFAULT
        if not rows or not columns:
            return _DEFAULT
        return Window(min(rows, _MOST), min(columns, _MOST))

    @contextlib.contextmanager
    def raw(self) -> Iterator[None]:
        """Pass every key on unchanged in the block; restore the terminal afterwards."""
        before = termios.tcgetattr(self.keys)
        try:
            tty.setraw(self.keys, termios.TCSADRAIN)
            yield
        finally:
            # A terminal that is gone need not be restored.
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self.keys, termios.TCSADRAIN, before)

    def write(self, data: bytes) -> None:
        """Write all of *data*; raises OSError if the terminal is gone."""
        while data:
            try:
                data = data[os.write(self.screen, data) :]
            except BlockingIOError:
                # Another process on the terminal may have made it non-blocking.
                select.select([], [self.screen], [])


class Left(Exception):
    """The user has left, or the terminal is gone."""


async def attach(
    guest: Guest, command: Command, terminal: Terminal, on_log: Callable[[bytes], None]
) -> Final:
    """Run *command* in *guest* with the terminal; return how it ended.

    *command* should have a terminal.  *on_log* gets the kernel log.  Raises :class:`Left` if the
    user has typed Ctrl-] or the terminal is gone: then the guest is dead.
    """
    left = asyncio.Event()
    with terminal.raw(), _watched(guest, terminal, left):
        work = asyncio.create_task(_show(guest, command, terminal, on_log))
        leave = asyncio.create_task(left.wait())
        try:
            await asyncio.wait({work, leave}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise Left
            return work.result()
        except OSError as error:
            raise Left from error
        finally:
            for task in (work, leave):
                task.cancel()
            await asyncio.gather(work, leave, return_exceptions=True)


async def _show(
    guest: Guest, command: Command, terminal: Terminal, on_log: Callable[[bytes], None]
) -> Final:
    async with contextlib.aclosing(guest.run(command)) as events:
        async for event in events:
            match event:
                case Stdout(data):
                    terminal.write(data)
                case KernelLog(data):
                    on_log(data)
                case Exit() | NotStarted() | GuestDied() as end:
                    return end
                case _:
                    pass
    raise AssertionError("a run without an end")  # excluded by Guest.run


@contextlib.contextmanager
def _watched(guest: Guest, terminal: Terminal, left: asyncio.Event) -> Iterator[None]:
    """Pass on keys and the window's size during the block."""
    loop = asyncio.get_running_loop()

    def key() -> None:
        try:
            data = os.read(terminal.keys, _READ)
        except OSError:
            data = b""
        typed, escape, _ = data.partition(bytes([ESCAPE]))
        if typed:
            guest.feed(typed)
        if escape or not data:
            loop.remove_reader(terminal.keys)
            left.set()

    def resized() -> None:
        guest.resize(terminal.window())

    handlers: dict[signal.Signals, Callable[[], None]] = {signal.SIGWINCH: resized}
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        handlers[signal.SIGHUP] = left.set
    before = {number: signal.getsignal(number) for number in handlers}
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    loop.add_reader(terminal.keys, key)
    try:
        yield
    finally:
        loop.remove_reader(terminal.keys)
        for number, previous in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, previous)
