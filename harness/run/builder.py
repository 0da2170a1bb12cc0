# SPDX-License-Identifier: GPL-2.0-only
"""One thread that builds one kernel after the other while an event loop runs tests.

It lives for as long as there is anything to build: programs that it has started get a signal when
the thread that started them is gone.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import TypeVar

from harness.proc.signals import to_the_end
from harness.proc.stop import Stop, Stopped, stoppable

T = TypeVar("T")

NICE = 10
"""The niceness of builds beside tests, which have time limits (nice(2))."""


class Builder:
    """Work in a thread of its own; with *nice*, all that it starts is so much nicer than this."""

    def __init__(self, nice: int = 0) -> None:
        self._nice = nice
        self._pool = ThreadPoolExecutor(1, "builder", self._lower)

    def _lower(self) -> None:
        if self._nice:
            # On Linux this applies to this thread and its children only.
            mine = os.getpriority(os.PRIO_PROCESS, 0)
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), mine + self._nice)

    async def do(self, work: Callable[[], T]) -> T:
        """Return what *work* returns; when this is cancelled, its programs are ended first."""
        stop = Stop()

        def run() -> T:
            with stoppable(stop):
                stop.check()
                return work()

        doing = asyncio.get_running_loop().run_in_executor(self._pool, run)
        try:
            return await asyncio.shield(doing)
        except asyncio.CancelledError:
            stop.set()
            with suppress(Exception, Stopped):
                await to_the_end(_of(doing))
            raise
        finally:
            if doing.done():
                stop.close()

    def close(self) -> None:
        """End the thread, which must be idle."""
        self._pool.shutdown()

    def __enter__(self) -> Builder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


async def _of(future: asyncio.Future[T]) -> T:
    return await future
