# SPDX-License-Identifier: GPL-2.0-only
"""An event loop in a thread of its own, for code that is not asynchronous and holds a guest.

A guest's channels have to be read between two commands as well, and its QEMU gets a signal when the
thread that started it is gone.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future, wait
from typing import Any, TypeVar

T = TypeVar("T")


class Background:
    """The loop; it starts with the first work and runs until :meth:`close`."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what *work* returns, or raise what it raises.

        An interrupt cancels it, waits for its end, and goes on: no guest is left behind.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop.run_forever, name="guests")
            self._thread.start()
        answer: Future[T] = Future()
        tasks: list[asyncio.Task[T]] = []

        def begin() -> None:
            tasks.append(self._loop.create_task(work))
            tasks[0].add_done_callback(finish)

        def finish(task: asyncio.Task[T]) -> None:
            if task.cancelled():
                answer.set_exception(CancelledError())
            elif (error := task.exception()) is not None:
                answer.set_exception(error)
            else:
                answer.set_result(task.result())

        self._loop.call_soon_threadsafe(begin)
        try:
            return answer.result()
        except KeyboardInterrupt:
            self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in tasks])
            wait([answer])
            raise

    def close(self) -> None:
        """End the loop and its thread; harmless when that was done."""
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._thread = None
        self._loop.close()
