# SPDX-License-Identifier: GPL-2.0-only
"""Event loops that end cleanly on a signal.

A signal handler that raises can do so between any two instructions, for example just after a guest
was started that is not in any list yet.  Here a signal cancels the main task instead, which takes
effect only at an await.  Work that must not be interrupted, such as reaping a killed process, runs
to its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TICK_S = 0.25


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run *main* in an event loop of its own, from the main thread, and return its result.

    SIGINT, SIGTERM or SIGHUP cancels *main* and raises KeyboardInterrupt; further ones are ignored
    while it cleans up.  A signal that is ignored (SIGINT in a background job, SIGHUP under nohup)
    stays ignored.  Afterwards the previous handlers are restored.
    """
    caught: list[signal.Signals] = []
    interrupt: list[Callable[[], object]] = []

    def note(number: int, _frame: object) -> None:
        if not caught:
            caught.append(signal.Signals(number))
            for each in interrupt:
                each()

    async def watched() -> T:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  this is a coroutine
        interrupt.append(lambda: loop.call_soon_threadsafe(task.cancel))
        if caught:
            task.cancel()
        try:
            return await main
        finally:
            interrupt.clear()

    # Not the loop's own handlers: when it closes, it puts back those that end the process.
    with _handled(note):
        try:
            result = asyncio.run(watched())
        except asyncio.CancelledError:
            if not caught:
                raise
    if caught:
        raise KeyboardInterrupt(caught[0].name)
    return result


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let each of the signals raise KeyboardInterrupt in the block, as SIGINT does anyway."""

    def interrupt(number: int, _frame: object) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    with _handled(interrupt):
        yield


class Held:
    """Signals that are recorded without effect, except inside :meth:`let_through`."""

    def __init__(self) -> None:
        self._caught: list[signal.Signals] = []
        self._armed = False

    def note(self, number: int, _frame: object) -> None:
        """Handle a signal: raise KeyboardInterrupt once, where signals are let through."""
        self._caught.append(signal.Signals(number))
        if self._armed:
            # Only once: a second one could arrive while the first is handled.
            self._armed = False
            raise KeyboardInterrupt(self._caught[0].name)

    @contextlib.contextmanager
    def let_through(self) -> Iterator[None]:
        """Let a signal raise KeyboardInterrupt in the block; one that came before does so at once.

        A signal just when the block ends may raise there, or only be recorded.
        """
        self._armed = True
        try:
            if self._caught:
                raise KeyboardInterrupt(self._caught[0].name)
            yield
        finally:
            self._armed = False


@contextlib.contextmanager
def held() -> Iterator[Held]:
    """Hold all of the signals back in the block; :func:`run` inside of it still obeys them."""
    signals = Held()
    with _handled(signals.note):
        yield signals


@contextlib.contextmanager
def _handled(handler: Callable[[int, object], None]) -> Iterator[None]:
    before = {
        number: old
        for number in _SIGNALS
        if (old := signal.getsignal(number)) is not signal.SIG_IGN
    }
    try:
        for number in before:
            signal.signal(number, handler)
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of *work*; a cancellation takes effect only when it is done."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            if task.cancelled():
                raise
            cancelled = error
        except Exception:
            break  # raised again below, unless a cancellation is due
    if cancelled is not None:
        task.exception()  # has been seen
        raise cancelled
    return task.result()


class LoopTimeout:
    """A time limit, in seconds, that runs only while the event loop does.

    A loop that was delayed, by a slow disk or a stopped process, finds the answer and the end of an
    ordinary limit at the same time, and reports the timeout.  Here the delay counts as one tick.

    *passed* returns for how many of the seconds since its last call the limit runs; without it, for
    those in which the loop did.
    """

    def __init__(self, limit_s: float, passed: Callable[[], float] | None = None) -> None:
        self._left = limit_s
        self._time = asyncio.get_running_loop().time
        self._seen = self._time()
        self._passed = passed

    async def wait(self, what: Coroutine[Any, Any, T]) -> T:
        """Return the result of *what*; TimeoutError, and *what* cancelled, at the limit."""
        task = asyncio.ensure_future(what)
        try:
            if self._time() - self._seen >= _TICK_S:
                self._count()
            while self._left > 0:
                await asyncio.wait({task}, timeout=min(_TICK_S, self._left))
                if task.done():
                    return task.result()
                self._count()
            raise TimeoutError
        finally:
            task.cancel()

    def _count(self) -> None:
        now = self._time()
        lasted, self._seen = now - self._seen, now
        self._left -= self._passed() if self._passed else min(lasted, 2 * _TICK_S)
