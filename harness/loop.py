# SPDX-License-Identifier: GPL-2.0-only
"""Event loops that a signal ends in an orderly way.

A signal handler that raises does so between any two instructions, and what it interrupts may have
just started a guest that nobody knows yet.  Here a signal cancels the main task instead, which
happens only where that awaits something; and what must not be left half done, such as reaping a
process that was killed, goes on to its end.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run *main* in an event loop of its own, from the main thread, and return its result.

    SIGINT or SIGTERM cancels *main* and raises KeyboardInterrupt; further ones are ignored while it
    cleans up.  A signal that is ignored (SIGINT in a background job) stays so.  Afterwards the
    handlers are those of before.
    """
    caught: list[signal.Signals] = []

    async def watched() -> T:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  this is a coroutine

        def cancel(number: signal.Signals) -> None:
            if not caught:
                caught.append(number)
                task.cancel()

        for number in before:
            loop.add_signal_handler(number, cancel, number)
        return await main

    before = {
        number: handler
        for number in _SIGNALS
        if (handler := signal.getsignal(number)) is not signal.SIG_IGN
    }
    try:
        result = asyncio.run(watched())
    except asyncio.CancelledError:
        if not caught:
            raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if caught:
        raise KeyboardInterrupt(caught[0].name)
    return result


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Await *work*, and be cancelled only when it is done."""
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
