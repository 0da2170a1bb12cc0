# SPDX-License-Identifier: GPL-2.0-only
"""Stopping work in another thread, where it waits for a program or a lock.

A signal reaches the main thread alone, so a thread that builds has to be told.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Stopped(BaseException):
    """The work is no longer wanted; as KeyboardInterrupt, no handler of errors catches it."""


class Stop:
    """Tells work that it is no longer wanted."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        """Can be read from once the work is to stop."""
        self.wanted = False

    def set(self) -> None:
        """Stop the work at the next moment at which it waits; from any thread."""
        self.wanted = True
        os.eventfd_write(self.fd, 1)

    def check(self) -> None:
        """Raise :class:`Stopped` if the work is to stop."""
        if self.wanted:
            raise Stopped

    def close(self) -> None:
        """Free the descriptor; the work has ended."""
        os.close(self.fd)


_CURRENT: ContextVar[Stop | None] = ContextVar("stop", default=None)


def current() -> Stop | None:
    """Return what can stop the work of this thread, if anything can."""
    return _CURRENT.get()


@contextmanager
def stoppable(stop: Stop) -> Iterator[None]:
    """Let *stop* end the work in the block."""
    token = _CURRENT.set(stop)
    try:
        yield
    finally:
        _CURRENT.reset(token)
